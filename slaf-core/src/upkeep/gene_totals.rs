//! A part of the gene-major copy: the totals of some genes.

use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray, Float64Array, RecordBatch};
use arrow::datatypes::{Float64Type, UInt32Type};
use futures::StreamExt;

use crate::ground::ipc::{from_bytes, to_bytes};
use crate::matrix::values::column;
use crate::table::row_ranges::read_stream;
use crate::write::expression_part::{part_of, parts_of};
use crate::{Companions, Error, Result};

/// The total of each gene, or `None` if a cell of it does not exist.
pub(super) struct GeneTotals(pub(super) Vec<Option<f64>>);

impl GeneTotals {
    /// The number of parts of the copy.
    pub(super) fn parts(companions: &Companions) -> u64 {
        let rows = companions.by_gene().map_or(0, |(table, _)| table.rows);
        parts_of(rows)
    }

    /// The genes whose first row is in part `number`, of a matrix of that shape.
    pub(super) async fn read(
        companions: &Companions,
        number: u64,
        (cells, genes): (u64, u64),
    ) -> Result<Self> {
        let Some((table, rows_of)) = companions.by_gene() else {
            return Ok(Self(vec![]));
        };
        // Genes without values at the end are of the last part.
        let last = Self::parts(companions).saturating_sub(1);
        let here = (0..genes)
            .map(rows_of)
            .filter(|rows| part_of(rows.start).min(last) == number);
        let spans: Vec<_> = here.collect();
        let ranges = spans
            .iter()
            .filter(|rows| !rows.is_empty())
            .cloned()
            .collect();
        let mut batches = read_stream(table, &["cell_delta", "value"], ranges)?;
        let mut totals = vec![Some(0.0); spans.len()];
        let (mut gene, mut row, mut cell) = (0, 0, 0u64);
        while let Some(rows) = batches.next().await {
            let batch = rows?.batch;
            let gaps = batch.column(0).as_primitive::<UInt32Type>();
            let values = column::<f64>(batch.column(1))?;
            for (gap, value) in gaps.values().iter().zip(values.iter()) {
                while row == spans[gene].end.saturating_sub(spans[gene].start) {
                    (gene, row, cell) = (gene + 1, 0, 0);
                }
                cell += u64::from(*gap);
                totals[gene] = totals[gene]
                    .filter(|_| cell < cells)
                    .map(|total| total + value);
                row += 1;
            }
        }
        Ok(Self(totals))
    }

    pub(super) fn to_bytes(&self) -> Result<Vec<u8>> {
        let totals = self.0.iter().map(|total| total.unwrap_or_default());
        let right = self.0.iter().map(Option::is_some).collect::<Vec<bool>>();
        let columns: [(&str, Arc<dyn Array>); 2] = [
            ("total", Arc::new(Float64Array::from_iter_values(totals))),
            ("right", Arc::new(BooleanArray::from(right))),
        ];
        to_bytes(&[RecordBatch::try_from_iter(columns)?])
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let batches = from_bytes(bytes)?;
        let [batch] = batches.as_slice() else {
            return Err(Error::Engine {
                message: "A part of the gene-major copy is incomplete.".into(),
            });
        };
        let totals = batch.column(0).as_primitive::<Float64Type>().values();
        let right = batch.column(1).as_boolean().values();
        let totals = totals.iter().zip(right);
        Ok(Self(
            totals
                .map(|(total, right)| right.then_some(*total))
                .collect(),
        ))
    }
}
