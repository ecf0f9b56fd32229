//! Where each cell's rows begin in `expression`. `cell_start_index` is a CSR
//! matrix's indptr, if it can be trusted: slafdb derives it from an obs column
//! such as `n_genes` when there is one, and restarts it for each appended file.
//! So a sample of what slafdb wrote is verified, and a wrong index is counted
//! anew from the ids.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use futures::TryStreamExt;

use crate::dataset::{Dataset, Table};
use crate::{Error, Result};

/// How many cells are compared with the ids stored in their rows.
const SAMPLE: usize = 48;

#[derive(Debug)]
pub(crate) struct Offsets {
    /// One entry a cell and the end of the last: row numbers of `expression`.
    pub(crate) starts: Arc<[u64]>,
    /// What was wrong with the stored index.
    pub(crate) defect: Option<String>,
}

impl Offsets {
    pub(crate) async fn load(dataset: &Dataset) -> Result<Self> {
        let expression = &dataset.expression;
        let defect = match stored(&dataset.cells, expression.rows).await? {
            Ok(starts) if dataset.config.is_ours() => {
                return Ok(Self {
                    starts: starts.into(),
                    defect: None,
                });
            }
            Ok(starts) => match verify(expression, &starts).await? {
                None => {
                    return Ok(Self {
                        starts: starts.into(),
                        defect: None,
                    });
                }
                Some(defect) => defect,
            },
            Err(defect) => defect,
        };
        let starts = count(expression, dataset.shape().0 as usize).await?;
        Ok(Self {
            starts: starts.into(),
            defect: Some(defect),
        })
    }
}

/// The stored index with the table's end appended, or why it cannot be right.
async fn stored(cells: &Table, rows: u64) -> Result<Result<Vec<u64>, String>> {
    if cells.schema.field_with_name("cell_start_index").is_err() {
        return Ok(Err("the cells table has no `cell_start_index`".into()));
    }
    let batch = cells.read(&["cell_start_index"]).await?;
    let column = cast(batch.column(0), &DataType::Int64)?;
    if column.null_count() > 0 {
        return Ok(Err("`cell_start_index` has missing values".into()));
    }
    let mut starts: Vec<u64> = Vec::with_capacity(column.len() + 1);
    starts.extend(
        column
            .as_primitive::<Int64Type>()
            .values()
            .iter()
            .map(|v| *v as u64),
    );
    starts.push(rows);
    if starts[0] != 0 {
        return Ok(Err("`cell_start_index` does not begin at 0".into()));
    }
    Ok(match starts.windows(2).position(|pair| pair[0] > pair[1]) {
        Some(cell) => Err(format!("`cell_start_index` decreases after cell {cell}")),
        None => Ok(starts),
    })
}

/// Compares the ids at both ends of a sample of cells, the last one included.
async fn verify(expression: &Table, starts: &[u64]) -> Result<Option<String>> {
    let cells: Vec<usize> = (0..starts.len() - 1)
        .filter(|&c| starts[c] < starts[c + 1])
        .collect();
    let step = cells.len().div_ceil(SAMPLE).max(1);
    let sample = cells
        .iter()
        .copied()
        .step_by(step)
        .chain(cells.last().copied());
    let mut expected: Vec<(u64, u64)> = sample
        .flat_map(|c| [(starts[c], c as u64), (starts[c + 1] - 1, c as u64)])
        .collect();
    expected.dedup();
    if expected.is_empty() {
        return Ok(None);
    }
    let rows: Vec<u64> = expected.iter().map(|(row, _)| *row).collect();
    let schema = expression
        .lance
        .schema()
        .project(&["cell_integer_id"])
        .map_err(|e| expression.unreadable(&e))?;
    let batch = expression
        .lance
        .take(&rows, schema)
        .await
        .map_err(|e| expression.unreadable(&e))?;
    let found = ids(&batch)?;
    let wrong = expected
        .iter()
        .zip(found)
        .find(|((_, cell), id)| cell != id);
    Ok(wrong.map(|((row, cell), id)| {
        format!("`cell_start_index` gives row {row} to cell {cell}, and the row says cell {id}")
    }))
}

/// Counts the rows of every cell; the ids must ascend.
async fn count(expression: &Table, cells: usize) -> Result<Vec<u64>> {
    let unreadable = |e: lance::Error| expression.unreadable(&e);
    let mut scanner = expression.lance.scan();
    scanner
        .project(&["cell_integer_id"])
        .map_err(unreadable)?
        .scan_in_order(true);
    let mut stream = scanner.try_into_stream().await.map_err(unreadable)?;
    let mut starts = vec![0u64; cells + 1];
    let mut last = 0;
    while let Some(batch) = stream.try_next().await.map_err(unreadable)? {
        for id in ids(&batch)? {
            if id >= cells as u64 {
                return Err(expression.corrupt(format!("it holds cell {id} of {cells}")));
            }
            if id < last {
                return Err(expression.corrupt(format!(
                    "its rows are not in cell order (cell {id} follows cell {last})"
                )));
            }
            last = id;
            starts[id as usize + 1] += 1;
        }
    }
    for cell in 0..cells {
        starts[cell + 1] += starts[cell];
    }
    Ok(starts)
}

fn ids(batch: &RecordBatch) -> Result<Vec<u64>> {
    let column = cast(batch.column(0), &DataType::Int64)?;
    if column.null_count() > 0 {
        return Err(Error::Engine {
            message: "The expression table has rows without a cell id.".into(),
        });
    }
    Ok(column
        .as_primitive::<Int64Type>()
        .values()
        .iter()
        .map(|v| *v as u64)
        .collect())
}
