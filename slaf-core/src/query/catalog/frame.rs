//! Frames of the session: in memory, read on demand, or Lance tables.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchReader};
use arrow::datatypes::SchemaRef;

use super::comparison::Comparison;
use crate::{Place, Result, Table};

/// Opens a frame. The arguments are the names of the columns, and conditions that the
/// rows must meet; the result may contain more rows than those.
pub type Open = Arc<
    dyn Fn(&[String], &[Comparison]) -> Result<Box<dyn RecordBatchReader + Send>> + Send + Sync,
>;

/// A frame, with the name of its variable.
#[derive(Clone)]
pub struct Frame {
    pub name: String,
    pub schema: SchemaRef,
    pub rows: FrameRows,
}

/// The rows of a frame.
#[derive(Clone)]
pub enum FrameRows {
    InMemory(Vec<RecordBatch>),
    Elsewhere(Open),
    Lance(Box<Table>),
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frame {}: {:?}", self.name, self.schema)
    }
}

impl Frame {
    /// The number of rows, if they are in memory.
    pub(crate) fn count(&self) -> Option<i64> {
        match &self.rows {
            FrameRows::InMemory(batches) => {
                Some(batches.iter().map(RecordBatch::num_rows).sum::<usize>() as i64)
            }
            FrameRows::Elsewhere(_) => None,
            FrameRows::Lance(table) => Some(table.rows as i64),
        }
    }

    /// The Lance table at `uri`. Fails if there is no such table.
    pub async fn lance(name: String, uri: &str) -> Result<Self> {
        let uri = uri.trim_end_matches('/');
        let (parent, folder) = uri.rsplit_once('/').unwrap_or((".", uri));
        let place = Place::new(parent, HashMap::new()).await?;
        let table = Table::open(folder, folder.to_owned(), None, place).await?;
        Ok(Self {
            name,
            schema: Arc::clone(&table.schema),
            rows: FrameRows::Lance(Box::new(table)),
        })
    }
}
