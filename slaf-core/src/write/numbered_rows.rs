//! Rows of a metadata table, with the integer ids that the format adds.

use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch, RecordBatchReader};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::error::DataFusionError;
use futures::{Stream, stream};
use tokio::sync::mpsc;

use crate::{Error, Result, runtime};

/// The rows as they arrive.
pub(crate) struct NumberedRows {
    rows: Box<dyn RecordBatchReader + Send>,
    schema: SchemaRef,
    starts: Option<Int64Array>,
    done: usize,
    /// The number of rows that must arrive.
    total: usize,
}

impl NumberedRows {
    pub(crate) fn new(rows: Box<dyn RecordBatchReader + Send>, id: &str, total: u64) -> Self {
        Self {
            schema: with_field(&rows.schema(), id),
            rows,
            starts: None,
            done: 0,
            total: total as usize,
        }
    }

    /// Adds the row offset of each cell.
    pub(crate) fn with_starts(mut self, starts: Int64Array) -> Self {
        self.schema = with_field(&self.schema, "cell_start_index");
        self.starts = Some(starts);
        self
    }

    pub(crate) fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// The batches. They are made in a thread beside the pool, because rows may come from
    /// Python, which may itself wait for the pool.
    pub(crate) fn stream(
        self,
    ) -> impl Stream<Item = datafusion::error::Result<RecordBatch>> + Send + 'static {
        let (batches, queue) = mpsc::channel(1);
        let reading = runtime::spawn_blocking(move || {
            for batch in self {
                if batches.blocking_send(batch).is_err() {
                    break;
                }
            }
            Ok(())
        });
        stream::unfold((queue, Some(reading)), |(mut queue, mut reading)| async {
            let batch = match queue.recv().await {
                Some(batch) => batch,
                // All batches were received, or the thread has panicked.
                None => Err(runtime::result_of(reading.take()?).await.err()?),
            };
            let batch = batch.map_err(|error| DataFusionError::External(Box::new(error)));
            Some((batch, (queue, reading)))
        })
    }

    fn number(&mut self, batch: &RecordBatch) -> Result<RecordBatch> {
        let (first, rows) = (self.done, batch.num_rows());
        self.done += rows;
        if self.done > self.total {
            return Err(self.wrong());
        }
        let mut columns = batch.columns().to_vec();
        let ids = first as i64..self.done as i64;
        columns.push(Arc::new(Int64Array::from_iter_values(ids)));
        if let Some(starts) = &self.starts {
            columns.push(Arc::new(starts.slice(first, rows)));
        }
        Ok(RecordBatch::try_new(self.schema(), columns)?)
    }

    fn wrong(&self) -> Error {
        let (done, total) = (self.done, self.total);
        Error::bad_matrix(format!("{done} rows of metadata for {total} of X"))
    }
}

impl Iterator for NumberedRows {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.rows.next() {
            Some(batch) => Some(batch.map_err(Error::from).and_then(|b| self.number(&b))),
            None if self.done < self.total => {
                let wrong = self.wrong();
                self.done = self.total;
                Some(Err(wrong))
            }
            None => None,
        }
    }
}

fn with_field(schema: &Schema, name: &str) -> SchemaRef {
    let mut fields: Vec<_> = schema.fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new(name, DataType::Int64, false)));
    Arc::new(Schema::new(fields))
}
