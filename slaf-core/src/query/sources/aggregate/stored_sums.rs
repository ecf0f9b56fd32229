//! Aggregates that the stored sums of cells or genes answer.

use arrow::array::AsArray;
use arrow::datatypes::{Float64Type, Int64Type};
use datafusion::error::{DataFusionError, Result};

use super::accumulator::Sum;
use super::aggregate_functions::{Kind, Measure};
use super::group_of_id::Axis;
use super::star_join::Side;
use crate::query::sources::errors::external;
use crate::query::sources::expression::Expression;

/// Whether stored sums are enough for a measure.
pub(crate) fn of_stored_sums(measure: &Measure) -> bool {
    let summed = match measure.kind {
        Kind::Count => measure.argument.is_none() || measure.of_value,
        // For floats, subtracting the squared mean from the mean of the squares is
        // inexact.
        Kind::Spread { .. } => measure.of_value && measure.integer,
        _ => measure.of_value,
    };
    summed && measure.filter.is_none()
}

/// The axis whose stored sums can be used, because all values of its ids count.
pub(crate) async fn stored_sums(
    fact: &Expression,
    cells: &Axis,
    genes: &Axis,
    measures: &[Measure],
) -> Result<Option<Side>> {
    let companions = fact.dataset.companions().await.map_err(external)?;
    let Some(companions) = companions else {
        return Ok(None);
    };
    let side = if cells.plain && fact.wanted.cells.is_none() && companions.by_gene().is_some() {
        Side::Genes
    } else if genes.plain && fact.wanted.genes.is_none() {
        Side::Cells
    } else {
        return Ok(None);
    };
    let extremes = measures
        .iter()
        .any(|m| matches!(m.kind, Kind::Min | Kind::Max));
    if extremes && !Sums::of(fact, side).await?.are_extremes_complete() {
        return Ok(None);
    }
    Ok(Some(side))
}

/// The stored sums of an axis, and the number of rows of each id.
pub(crate) struct Sums {
    rows: Vec<u64>,
    nnz: Vec<i64>,
    total: Vec<f64>,
    squares: Vec<f64>,
    min: Vec<f64>,
    max: Vec<f64>,
}

impl Sums {
    pub(crate) async fn of(fact: &Expression, side: Side) -> Result<Self> {
        let none = || DataFusionError::Internal("the sums are gone".into());
        let companions = fact
            .dataset
            .companions()
            .await
            .map_err(external)?
            .ok_or_else(none)?;
        let (table, rows) = match side {
            Side::Cells => {
                let starts = &fact
                    .dataset
                    .cell_offsets
                    .whole()
                    .await
                    .map_err(external)?
                    .starts;
                let rows = starts.windows(2).map(|s| s[1] - s[0]).collect();
                (&companions.cell_sums, rows)
            }
            Side::Genes => {
                let (_, rows_of) = companions.by_gene().ok_or_else(none)?;
                let genes = 0..fact.dataset.shape().1;
                let rows = genes.map(rows_of).map(|rows| rows.end - rows.start);
                (&companions.gene_sums, rows.collect())
            }
        };
        let read = table
            .read(&["nnz", "total", "sum_of_squares", "min", "max"])
            .await
            .map_err(external)?;
        let floats = |column: usize| {
            read.column(column)
                .as_primitive::<Float64Type>()
                .values()
                .to_vec()
        };
        Ok(Self {
            rows,
            nnz: read.column(0).as_primitive::<Int64Type>().values().to_vec(),
            total: floats(1),
            squares: floats(2),
            min: floats(3),
            max: floats(4),
        })
    }

    /// The sums of one id.
    pub(crate) fn of_id(&self, id: usize) -> Sum {
        Sum {
            n: self.rows[id],
            total: self.total[id],
            squares: self.squares[id],
            min: self.min[id],
            max: self.max[id],
        }
    }

    /// Whether the stored minimum and maximum are those of all rows: they leave out
    /// stored zeros and NaN.
    fn are_extremes_complete(&self) -> bool {
        let rows = self.rows.iter().zip(&self.nnz);
        rows.fold(true, |all, (rows, nnz)| all & (*rows == *nnz as u64))
            && self.total.iter().all(|total| total.is_finite())
    }
}
