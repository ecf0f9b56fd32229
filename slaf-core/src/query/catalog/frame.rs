//! Frames of the session: in memory, read on demand, or Lance tables.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchReader};
use arrow::datatypes::SchemaRef;

use super::comparison::Comparison;
use crate::{Place, Result, Table};

/// Opens a frame for some of its columns, by their names, and for the rows of which
/// all that it is told is true, or more.
pub type Open = Arc<
    dyn Fn(&[String], &[Comparison]) -> Result<Box<dyn RecordBatchReader + Send>> + Send + Sync,
>;

/// A frame under the name of the variable that holds it.
#[derive(Clone)]
pub struct Frame {
    pub name: String,
    pub schema: SchemaRef,
    pub rows: FrameRows,
}

/// Where its rows are.
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
    /// Its rows, if they are here.
    pub(crate) fn count(&self) -> Option<i64> {
        match &self.rows {
            FrameRows::InMemory(batches) => {
                Some(batches.iter().map(RecordBatch::num_rows).sum::<usize>() as i64)
            }
            FrameRows::Elsewhere(_) => None,
            FrameRows::Lance(table) => Some(table.rows as i64),
        }
    }

    /// The Lance table at `uri`.
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
