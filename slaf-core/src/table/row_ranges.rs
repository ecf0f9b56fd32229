//! Reads ranges of rows of a table in stored order: one fragment after the other,
//! decoded on all threads.

use std::collections::VecDeque;
use std::ops::Range;

use arrow::array::{RecordBatch, UInt64Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::Schema;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use lance::dataset::fragment::{FileFragment, FragReadConfig};

use super::lance_table::Table;
use crate::{Error, Result, Selection};

/// The cost of starting a range, in rows.
pub(crate) const RANGE_COST: u64 = 2048;
/// Rows per batch of a decode task.
const BATCH: u32 = 1 << 18;
/// Number of decode tasks that run ahead.
const AHEAD: usize = 4;

impl Table {
    /// Reads `columns` of the rows of a selection, in its order, as one batch.
    pub async fn read_at(&self, columns: &[&str], rows: &Selection) -> Result<RecordBatch> {
        self.check(columns)?;
        rows.check("row", self.rows)?;
        let plan = rows.read_order();
        let mut batches = vec![];
        read_rows(self, columns, plan.runs, |batch| {
            batches.push(batch);
            Ok(())
        })
        .await?;
        let fields = columns
            .iter()
            .map(|name| self.schema.field_with_name(name).cloned());
        let schema = Schema::new(fields.collect::<Result<Vec<_>, _>>()?);
        let schema = batches.first().map_or(schema.into(), RecordBatch::schema);
        let read = concat_batches(&schema, &batches)?;
        self.with_nulls(match plan.order {
            None => read,
            Some(order) => {
                let order = UInt64Array::from_iter_values(order.iter().map(|at| *at as u64));
                take_record_batch(&read, &order)?
            }
        })
    }
}

/// Reads `columns` of ascending row ranges, and calls `take` with each batch in row
/// order.
pub(crate) async fn read_rows(
    table: &Table,
    columns: &[&str],
    rows: Vec<Range<u64>>,
    mut take: impl FnMut(RecordBatch) -> Result<()>,
) -> Result<()> {
    let mut batches = read_stream(table, columns, rows)?;
    while let Some(rows) = batches.next().await {
        take(rows?.batch)?;
    }
    Ok(())
}

/// A batch of rows, and their row numbers in the table.
pub(crate) struct Rows {
    pub(crate) spans: Vec<Range<u64>>,
    pub(crate) batch: RecordBatch,
}

/// Reads `columns` of ascending row ranges, batch by batch in row order.
pub(crate) fn read_stream(
    table: &Table,
    columns: &[&str],
    rows: Vec<Range<u64>>,
) -> Result<BoxStream<'static, Result<Rows>>> {
    let projection = table.lance.schema().project(columns);
    let projection = projection.map_err(|e| table.unreadable(&e))?;
    let parts = by_fragment(table, &rows)?;
    let (opening, decoding) = (table.clone(), table.clone());
    let batches = stream::iter(parts)
        .then(move |(fragment, ranges)| {
            let (projection, table) = (projection.clone(), opening.clone());
            async move {
                let unreadable = |e: lance::Error| table.unreadable(&e);
                let reader = fragment.open(&projection, FragReadConfig::default());
                let reader = reader.await.map_err(unreadable)?;
                let tasks = reader.read_ranges(ranges.into(), BATCH);
                Ok::<_, Error>(decoded(tasks.await.map_err(unreadable)?).map(Ok::<_, Error>))
            }
        })
        .try_flatten();
    let mut left: VecDeque<Range<u64>> = rows.into();
    let batches = batches.map(move |batch| {
        let batch = batch?.map_err(|e| decoding.corrupt(e.to_string()))?;
        let batch = batch.map_err(|e| decoding.unreadable(&e))?;
        let spans = first_of(&mut left, batch.num_rows() as u64);
        Ok(Rows { spans, batch })
    });
    Ok(batches.boxed())
}

/// Removes the first `n` rows from `ranges`, and returns them.
pub(crate) fn first_of(ranges: &mut VecDeque<Range<u64>>, mut n: u64) -> Vec<Range<u64>> {
    let mut spans = vec![];
    while n > 0
        && let Some(range) = ranges.front_mut()
    {
        let end = range.end.min(range.start + n);
        n -= end - range.start;
        spans.push(range.start..end);
        range.start = end;
        if range.is_empty() {
            ranges.pop_front();
        }
    }
    spans
}

type Decoded = Result<lance::Result<RecordBatch>, tokio::task::JoinError>;

/// Decodes on all threads of the pool, a few batches ahead.
fn decoded(
    tasks: BoxStream<'static, BoxFuture<'static, lance::Result<RecordBatch>>>,
) -> BoxStream<'static, Decoded> {
    tasks.map(tokio::spawn).buffered(AHEAD).boxed()
}

/// Splits row ranges of the table at the borders of fragments.
fn by_fragment(table: &Table, rows: &[Range<u64>]) -> Result<Vec<(FileFragment, Vec<Range<u64>>)>> {
    let mut parts = Vec::new();
    let mut first = 0;
    for fragment in table.lance.get_fragments() {
        let metadata = fragment.metadata();
        let Some(len) = metadata
            .physical_rows
            .filter(|_| metadata.deletion_file.is_none())
        else {
            return Err(table.corrupt("rows have been deleted from it".into()));
        };
        let span = first..first + len as u64;
        let inside: Vec<_> = rows
            .iter()
            .map(|r| r.start.max(span.start)..r.end.min(span.end))
            .filter(|r| r.start < r.end)
            .map(|r| r.start - span.start..r.end - span.start)
            .collect();
        if !inside.is_empty() {
            parts.push((fragment, inside));
        }
        first = span.end;
    }
    Ok(parts)
}
