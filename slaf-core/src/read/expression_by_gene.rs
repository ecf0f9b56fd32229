//! A selection of a few genes from the gene-major copy of the expression matrix.

use std::ops::Range;

use arrow::array::AsArray;
use arrow::datatypes::UInt32Type;

use crate::matrix::selection::OutputPlaces;
use crate::matrix::values::{Value, column};
use crate::table::row_ranges::{RANGE_COST, read_rows};
use crate::{Csr, Dataset, Result, Selection};

impl Dataset {
    /// `cells` × `genes` from the gene-major copy, if there is one and it has far fewer
    /// rows to read than `by_cell`.
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
        let places = (!cells.is_all(n_cells)).then(|| OutputPlaces::new(cells, n_cells as usize));
        let columns = OutputPlaces::new(genes, n_genes as usize);
        let mut triplets: Vec<(i32, i32, T)> = Vec::new();
        // The gene whose rows come next, how many of them, and its last cell.
        let mut next = wanted.iter().map(|gene| (*gene, rows_of(*gene)));
        let (mut gene, mut left, mut cell) = (0, 0, 0u32);
        let rows = wanted.iter().map(|gene| rows_of(*gene));
        let rows = rows.filter(|rows| !rows.is_empty()).collect();
        read_rows(table, &["cell_delta", "value"], rows, |batch| {
            let gaps = batch
                .column(0)
                .as_primitive::<UInt32Type>()
                .values()
                .clone();
            let values = column::<T>(batch.column(1))?;
            for (gap, value) in gaps.iter().zip(values.iter()) {
                while left == 0 {
                    let Some((number, rows)) = next.next() else {
                        return Err(table.corrupt("it has rows of no gene".into()));
                    };
                    (gene, left, cell) = (number as usize, rows.end - rows.start, 0);
                }
                left -= 1;
                cell = cell.wrapping_add(*gap);
                if u64::from(cell) >= n_cells {
                    return Err(table.corrupt(format!("it holds cell {cell} of {n_cells}")));
                }
                for &column in columns.of(gene) {
                    match &places {
                        None => triplets.push((cell as i32, column, *value)),
                        Some(places) => {
                            let rows = places.of(cell as usize);
                            triplets.extend(rows.iter().map(|&row| (row, column, *value)));
                        }
                    }
                }
            }
            Ok(())
        })
        .await?;
        Ok(Some(Csr::from_triplets(
            triplets,
            (cells.len(), genes.len()),
        )))
    }
}
