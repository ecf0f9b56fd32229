//! Reads a selection of the expression matrix as CSR. `cell_start_index` is the
//! indptr of the whole matrix, so a selection of cells is a few row ranges, and the
//! column `cell_integer_id` is never read.

use std::ops::Range;

use super::csr_assembly::CsrAssembly;
use crate::matrix::selection::OutputPlaces;
use crate::matrix::values::{Value, column};
use crate::table::row_ranges::read_rows;
use crate::{Csr, Dataset, Result, Selection, ValueType};

impl Dataset {
    /// The counts of `cells` × `genes`, in the requested order, as `dtype`.
    pub async fn csr(&self, cells: &Selection, genes: &Selection, dtype: ValueType) -> Result<Csr> {
        let (n_cells, n_genes) = self.shape();
        cells.check("cell", n_cells)?;
        genes.check("gene", n_genes)?;
        match dtype {
            ValueType::U16 => self.csr_of::<u16>(cells, genes).await,
            ValueType::I32 => self.csr_of::<i32>(cells, genes).await,
            ValueType::I64 => self.csr_of::<i64>(cells, genes).await,
            ValueType::F32 => self.csr_of::<f32>(cells, genes).await,
            ValueType::F64 => self.csr_of::<f64>(cells, genes).await,
        }
    }

    async fn csr_of<T: Value>(&self, cells: &Selection, genes: &Selection) -> Result<Csr> {
        // If all cells are selected, a gene is read without the row offsets of cells.
        let whole = cells.is_all(self.shape().0);
        if whole
            && let all = [0..self.expression.rows]
            && let Some(by_gene) = self.csr_by_gene::<T>(cells, genes, &all).await?
        {
            return Ok(by_gene);
        }
        let plan = cells.read_order();
        let starts = self.cell_offsets.of_runs(&plan.runs).await?;
        let rows: Vec<Range<u64>> = starts
            .iter()
            .filter_map(|run| Some(*run.first()?..*run.last()?))
            .filter(|rows| !rows.is_empty())
            .collect();
        if !whole && let Some(by_gene) = self.csr_by_gene::<T>(cells, genes, &rows).await? {
            return Ok(by_gene);
        }
        let lengths: Vec<usize> = starts
            .iter()
            .flat_map(|run| run.windows(2))
            .map(|cell| (cell[1] - cell[0]) as usize)
            .collect();
        let n_genes = self.shape().1;
        let columns = (!genes.is_all(n_genes)).then(|| OutputPlaces::new(genes, n_genes as usize));
        let mut assembly = CsrAssembly::<T>::new(lengths, columns);
        read_rows(
            &self.expression,
            &["gene_integer_id", "value"],
            rows,
            |batch| {
                let ids = column::<i32>(batch.column(0))?;
                let values = column::<T>(batch.column(1))?;
                if let Some(gene) = ids.iter().find(|g| !(0..n_genes as i32).contains(*g)) {
                    return Err(self
                        .expression
                        .corrupt(format!("it holds gene {gene} of {n_genes}")));
                }
                assembly.extend(&ids, &values);
                Ok(())
            },
        )
        .await?;
        Ok(assembly.finish(plan.order, genes.len()))
    }
}
