//! Encodes the rows of `expression` on a thread beside their reader, fragment by
//! fragment. Nothing is committed before the end. After each fragment, a checkpoint
//! can be stored, from which a killed conversion continues.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use futures::{Stream, stream};
use lance::dataset::transaction::{Operation, Transaction};
use lance::dataset::{CommitBuilder, InsertBuilder, WriteMode};
use lance::table::format::Fragment;
use lance_file::version::LanceFileVersion;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::checkpoint::Checkpoint;
use super::lance_rows::{failed, stream_of, write_params};
use crate::{Error, Place, Result, runtime};

/// Blocks that can wait for the encoder; this limits memory.
const AHEAD: usize = 2;

pub(crate) const EXPRESSION: &str = "expression.lance";

enum Step {
    Rows(RecordBatch),
    /// The fragment ends here, after this many complete cells.
    EndOfFragment(u64),
}

pub(crate) struct Encoder {
    steps: mpsc::Sender<Step>,
    task: JoinHandle<Result<Vec<Fragment>>>,
}

impl Encoder {
    /// Encodes rows of `schema` for the expression table of `place`, or for
    /// `base`, which already has rows.
    pub(crate) fn start(
        place: &Place,
        schema: &SchemaRef,
        base: Option<Arc<lance::Dataset>>,
        checkpoint: Option<Checkpoint>,
    ) -> Self {
        let (steps, queue) = mpsc::channel(AHEAD);
        let work = encode(place.clone(), Arc::clone(schema), base, checkpoint, queue);
        Self {
            steps,
            task: runtime::spawn(work),
        }
    }

    /// `false` if the encoder has stopped; [`Self::finish`] returns the reason.
    pub(crate) fn rows(&self, batch: RecordBatch) -> bool {
        self.steps.blocking_send(Step::Rows(batch)).is_ok()
    }

    pub(crate) fn end_fragment(&self, cells: u64) -> bool {
        self.steps.blocking_send(Step::EndOfFragment(cells)).is_ok()
    }

    /// The fragments, not yet committed.
    pub(crate) async fn finish(self) -> Result<Vec<Fragment>> {
        drop(self.steps);
        runtime::result_of(self.task).await
    }

    pub(crate) fn abort(&self) {
        self.task.abort();
    }
}

async fn encode(
    place: Place,
    schema: SchemaRef,
    base: Option<Arc<lance::Dataset>>,
    mut checkpoint: Option<Checkpoint>,
    mut steps: mpsc::Receiver<Step>,
) -> Result<Vec<Fragment>> {
    let mut fragments = vec![];
    while let Some(step) = steps.recv().await {
        let Step::Rows(first) = step else { continue };
        let (rows, queue) = mpsc::channel(1);
        let forward = async {
            let mut next = Some(first);
            loop {
                if let Some(batch) = next.take()
                    && rows.send(batch).await.is_err()
                {
                    break;
                }
                match steps.recv().await {
                    Some(Step::Rows(batch)) => next = Some(batch),
                    Some(Step::EndOfFragment(cells)) => {
                        drop(rows);
                        return Some(cells);
                    }
                    None => break,
                }
            }
            drop(rows);
            None
        };
        let stream = stream::unfold(queue, |mut queue| async move {
            Some((Ok(queue.recv().await?), queue))
        });
        let write = uncommitted(&place, base.clone(), &schema, stream);
        let (cells, written) = tokio::join!(forward, write);
        let written = written?;
        if let Some(checkpoint) = &mut checkpoint {
            checkpoint.fragments.extend(written.iter().cloned());
        }
        fragments.extend(written);
        if let (Some(cells), Some(checkpoint)) = (cells, &mut checkpoint) {
            checkpoint.cells = cells;
            checkpoint.write(&place).await?;
        }
    }
    Ok(fragments)
}

async fn uncommitted(
    place: &Place,
    base: Option<Arc<lance::Dataset>>,
    schema: &SchemaRef,
    rows: impl Stream<Item = datafusion::error::Result<RecordBatch>> + Send + 'static,
) -> Result<Vec<Fragment>> {
    let uri = place.table_uri(EXPRESSION);
    let mode = if base.is_some() {
        WriteMode::Append
    } else {
        WriteMode::Overwrite
    };
    let params = write_params(place, mode);
    let insert = match base {
        Some(base) => InsertBuilder::new(base),
        None => InsertBuilder::new(uri.as_str()),
    };
    let transaction = insert
        .with_params(&params)
        .execute_uncommitted_stream(stream_of(schema, rows))
        .await
        .map_err(|e| failed(place, EXPRESSION, &e))?;
    match transaction.operation {
        Operation::Append { fragments } | Operation::Overwrite { fragments, .. } => Ok(fragments),
        other => Err(Error::Engine {
            message: format!("The encoder made {other} of new rows."),
        }),
    }
}

/// Commits `fragments` as the rows of the expression table of `place`, after
/// those of `base`.
pub(crate) async fn commit(
    place: &Place,
    schema: &SchemaRef,
    base: Option<Arc<lance::Dataset>>,
    fragments: Vec<Fragment>,
) -> Result<lance::Dataset> {
    let outcome = async {
        let Some(base) = base else {
            let uri = place.table_uri(EXPRESSION);
            let mut transaction = InsertBuilder::new(uri.as_str())
                // If a conversion was killed more than once, the table already exists.
                .with_params(&write_params(place, WriteMode::Overwrite))
                .execute_uncommitted_stream(stream_of(schema, stream::empty()))
                .await?;
            if let Operation::Overwrite {
                fragments: none, ..
            } = &mut transaction.operation
            {
                *none = fragments;
            }
            return CommitBuilder::new(uri.as_str())
                .with_store_params(place.params())
                .with_session(place.session())
                .with_storage_format(LanceFileVersion::V2_2)
                .enable_v2_manifest_paths(true)
                .execute(transaction)
                .await;
        };
        let mut base = (*base).clone();
        if base.latest_version_id().await? != base.version_id() {
            // A writer was killed after this commit and before the dataset's.
            base.restore().await?;
        }
        let version = base.version_id();
        CommitBuilder::new(Arc::new(base))
            .execute(Transaction::new(
                version,
                Operation::Append { fragments },
                None,
            ))
            .await
    };
    outcome.await.map_err(|e| failed(place, EXPRESSION, &e))
}
