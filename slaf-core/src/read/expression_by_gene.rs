//! Reads a selection of a few genes from the gene-major copy of the expression
//! matrix.

use std::ops::Range;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::UInt32Type;

use crate::matrix::selection::OutputPlaces;
use crate::matrix::values::{Value, column};
use crate::table::row_ranges::{RANGE_COST, read_rows};
use crate::{Csr, Dataset, Result, Selection, Table};

impl Dataset {
    /// `cells` × `genes` from the gene-major copy, if it exists and has far
    /// fewer rows to read than `by_cell`.
    pub(super) async fn csr_by_gene<T: Value>(
        &self,
        cells: &Selection,
        genes: &Selection,
        by_cell: &[Range<u64>],
    ) -> Result<Option<Csr>> {
        let (n_cells, n_genes) = self.shape();
        let cost = |rows: Range<u64>| rows.end - rows.start + RANGE_COST;
        let limit: u64 = by_cell.iter().cloned().map(cost).sum();
        if genes.is_all(n_genes) || genes.is_empty() || genes.len() as u64 * RANGE_COST >= limit {
            return Ok(None);
        }
        let Some(companions) = self.companions().await? else {
            return Ok(None);
        };
        let Some((table, rows_of)) = companions.by_gene() else {
            return Ok(None);
        };
        let wanted: Vec<u64> = genes.read_order().runs.into_iter().flatten().collect();
        if wanted.iter().map(|gene| cost(rows_of(*gene))).sum::<u64>() >= limit {
            return Ok(None);
        }
        let mut rows_of_genes = GeneRows::<T, _> {
            table,
            // If all cells are selected, each keeps its position.
            cells: (!cells.is_all(n_cells)).then(|| OutputPlaces::new(cells, n_cells as usize)),
            n_cells,
            genes: OutputPlaces::new(genes, n_genes as usize),
            triplets: vec![],
            next: wanted.iter().map(|gene| (*gene, rows_of(*gene))),
            gene: 0,
            left: 0,
            cell: 0,
        };
        let rows = wanted.iter().map(|gene| rows_of(*gene));
        let rows = rows.filter(|rows| !rows.is_empty()).collect();
        read_rows(table, &["cell_delta", "value"], rows, |batch| {
            rows_of_genes.take(&batch)
        })
        .await?;
        let shape = (cells.len(), genes.len());
        Ok(Some(Csr::from_triplets(rows_of_genes.triplets, shape)))
    }
}

/// Adds rows of the gene-major copy to a matrix.
struct GeneRows<'a, T, N> {
    table: &'a Table,
    cells: Option<OutputPlaces>,
    n_cells: u64,
    genes: OutputPlaces,
    triplets: Vec<(i32, i32, T)>,
    /// The genes whose rows come next.
    next: N,
    /// The current gene, how many of its rows are left, and the last cell.
    gene: usize,
    left: u64,
    cell: u32,
}

impl<T: Value, N: Iterator<Item = (u64, Range<u64>)>> GeneRows<'_, T, N> {
    fn take(&mut self, batch: &RecordBatch) -> Result<()> {
        let gaps = batch.column(0).as_primitive::<UInt32Type>().values();
        let values = column::<T>(batch.column(1))?;
        for (gap, value) in gaps.iter().zip(values.iter()) {
            while self.left == 0 {
                let Some((gene, rows)) = self.next.next() else {
                    return Err(self.table.corrupt("it has rows of no gene".into()));
                };
                (self.gene, self.left, self.cell) = (gene as usize, rows.end - rows.start, 0);
            }
            self.left -= 1;
            self.cell = self.cell.wrapping_add(*gap);
            if u64::from(self.cell) >= self.n_cells {
                let (cell, all) = (self.cell, self.n_cells);
                let reason = format!("it holds cell {cell} of {all}");
                return Err(self.table.corrupt(reason));
            }
            for &column in self.genes.of(self.gene) {
                match &self.cells {
                    None => self.triplets.push((self.cell as i32, column, *value)),
                    Some(cells) => {
                        let rows = cells.of(self.cell as usize);
                        self.triplets
                            .extend(rows.iter().map(|&row| (row, column, *value)));
                    }
                }
            }
        }
        Ok(())
    }
}
