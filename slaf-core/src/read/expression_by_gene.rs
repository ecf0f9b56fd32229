//! Reads a selection of a few genes from the gene-major copy of the expression
//! matrix.

use std::ops::Range;

use arrow::array::AsArray;
use arrow::datatypes::UInt32Type;

use super::gene_rows::GeneRows;
use crate::matrix::selection::OutputPlaces;
use crate::matrix::values::{Value, column};
use crate::table::row_ranges::{RANGE_COST, read_rows};
use crate::{Csr, Dataset, Result, Selection};

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
        // If all cells are selected in order, no position has to be looked up.
        let places = (!cells.is_all(n_cells)).then(|| OutputPlaces::new(cells, n_cells as usize));
        let columns = OutputPlaces::new(genes, n_genes as usize);
        let next = wanted.iter().map(|gene| (*gene as usize, rows_of(*gene)));
        let mut genes_of = GeneRows::new(n_cells, next);
        let mut triplets = vec![];
        let rows = wanted.iter().map(|gene| rows_of(*gene));
        let rows = rows.filter(|rows| !rows.is_empty()).collect();
        read_rows(table, &["cell_delta", "value"], rows, |batch| {
            let gaps = batch.column(0).as_primitive::<UInt32Type>().values();
            let values = column::<T>(batch.column(1))?;
            let split = genes_of.split(gaps, |gene, cells, rows| {
                for &column in columns.of(gene) {
                    for (&cell, &value) in cells.iter().zip(&values[rows.clone()]) {
                        match &places {
                            None => triplets.push((cell as i32, column, value)),
                            Some(places) => {
                                let rows = places.of(cell as usize).iter();
                                triplets.extend(rows.map(|&row| (row, column, value)));
                            }
                        }
                    }
                }
            });
            split.map_err(|reason| table.corrupt(reason))
        })
        .await?;
        let shape = (cells.len(), genes.len());
        Ok(Some(Csr::from_triplets(triplets, shape)))
    }
}
