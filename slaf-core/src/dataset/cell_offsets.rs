//! Row offsets of cells in `expression`. The column `cell_start_index` is the
//! indptr of a CSR matrix, but it can be wrong in datasets that slafdb wrote:
//! slafdb derives it from an obs column such as `n_genes` if there is one, and
//! restarts it for each appended file. We check a sample of it, and count it again
//! from the cell ids if it is wrong. In datasets that we wrote, a read of a few
//! cells loads only their entries.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use futures::TryStreamExt;
use tokio::sync::OnceCell;

use crate::table::row_ranges::read_rows;
use crate::{Error, Result, Table};

/// How many cells are checked against the ids in their rows.
const SAMPLE: usize = 48;
/// Limits for reading only some entries: at most this many runs, this many
/// cells in total, and this many times. After that, the whole index is read and
/// kept.
const FEW_RUNS: usize = 8;
const FEW_CELLS: u64 = 1 << 12;
const FEW_TIMES: u32 = 8;

/// The row offsets of a dataset, read as far as they are needed.
#[derive(Debug)]
pub(crate) struct CellOffsets {
    cells: Table,
    expression: Table,
    /// Whether we wrote the stored index.
    trusted: bool,
    whole: OnceCell<Offsets>,
    few_reads: AtomicU32,
}

#[derive(Debug)]
pub(crate) struct Offsets {
    /// Row numbers of `expression`: the first row of each cell, and the end of
    /// the last.
    pub(crate) starts: Arc<[u64]>,
    /// What was wrong with the stored index.
    pub(crate) defect: Option<String>,
}

impl CellOffsets {
    pub(crate) fn new(cells: &Table, expression: &Table, trusted: bool) -> Self {
        Self {
            cells: cells.clone(),
            expression: expression.clone(),
            trusted,
            whole: OnceCell::new(),
            few_reads: AtomicU32::new(0),
        }
    }

    /// The offsets of all cells: verified, and repaired if slafdb stored them
    /// wrongly.
    pub(crate) async fn whole(&self) -> Result<&Offsets> {
        let load = || Offsets::load(&self.cells, &self.expression, self.trusted);
        self.whole.get_or_try_init(load).await
    }

    /// For each run of cells, their first rows, and the end of the last cell.
    /// Runs ascend.
    pub(crate) async fn of_runs(&self, runs: &[Range<u64>]) -> Result<Vec<Cow<'_, [u64]>>> {
        let cells = runs.iter().map(|run| run.end - run.start).sum::<u64>();
        let few = runs.len() <= FEW_RUNS && cells <= FEW_CELLS && self.trusted;
        if few
            && !self.whole.initialized()
            && self.few_reads.fetch_add(1, Relaxed) < FEW_TIMES
            && let Some(found) = stored_of(&self.cells, &self.expression, runs).await?
        {
            return Ok(found.into_iter().map(Cow::Owned).collect());
        }
        let starts = &self.whole().await?.starts;
        let of = |run: &Range<u64>| Cow::Borrowed(&starts[run.start as usize..=run.end as usize]);
        Ok(runs.iter().map(of).collect())
    }
}

/// The stored entries of a few runs, unless they are invalid.
async fn stored_of(
    cells: &Table,
    expression: &Table,
    runs: &[Range<u64>],
) -> Result<Option<Vec<Vec<u64>>>> {
    let n = cells.rows;
    if cells.schema.field_with_name("cell_start_index").is_err() {
        return Ok(None);
    }
    let rows = runs.iter().map(|run| run.start..(run.end + 1).min(n));
    let mut read: Vec<i64> = vec![];
    read_rows(cells, &["cell_start_index"], rows.collect(), |batch| {
        let column = cast(batch.column(0), &DataType::Int64)?;
        read.extend(column.as_primitive::<Int64Type>().iter().flatten());
        Ok(())
    })
    .await?;
    let mut left = read.into_iter().map(|start| start as u64);
    let mut found = vec![];
    for run in runs {
        let stored = (run.end + 1).min(n) - run.start;
        let mut starts: Vec<u64> = left.by_ref().take(stored as usize).collect();
        if run.end == n {
            starts.push(expression.rows);
        }
        let last = starts.last().copied().unwrap_or(u64::MAX);
        let whole = starts.len() as u64 == run.end - run.start + 1;
        if !whole || !starts.is_sorted() || last > expression.rows {
            return Ok(None);
        }
        found.push(starts);
    }
    Ok(Some(found))
}

impl Offsets {
    async fn load(cells: &Table, expression: &Table, trusted: bool) -> Result<Self> {
        let defect = match stored(cells, expression.rows).await? {
            Ok(starts) if trusted => {
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
        let starts = count(expression, cells.rows as usize).await?;
        Ok(Self {
            starts: starts.into(),
            defect: Some(defect),
        })
    }
}

/// The stored index with the table's end appended, or why it is invalid.
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

/// Checks the ids at both ends of a sample of cells, including the last one.
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
