//! Builds an IVF index for a column of vectors.

use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::Float32Type;
use async_trait::async_trait;
use lance::index::DatasetIndexExt;
use lance::index::vector::VectorIndexParams;
use lance_index::IndexType;
use lance_index::progress::IndexBuildProgress;
use serde_json::json;

use crate::dataset::config::slaf_entries;
use crate::dataset::manifest::Manifest;
use crate::search::embeddings::vectors_of;
use crate::search::ivf_index::{ask, name_of};
use crate::search::{Metric, Question, VectorIndex};
use crate::{Dataset, Error, Progress, Random, Result, Revision, Selection};

/// Number of queries for measuring the recall, and of neighbours of each.
const SAMPLE: usize = 200;
const SAMPLE_K: usize = 10;

/// Builds an IVF index of a column of vectors, publishes it as a new version of
/// the dataset, and measures its recall. Progress counts units of each step, such as
/// partitions or rows.
pub async fn index_vectors(
    dataset: &Dataset,
    table: &str,
    column: &str,
    metric: Metric,
    partitions: Option<usize>,
    progress: Arc<Progress>,
) -> Result<(Manifest, VectorIndex)> {
    let rows = dataset.table(table)?.rows as usize;
    vectors_of(dataset.table(table)?, column)?;
    let partitions = partitions
        .unwrap_or_else(|| (rows as f64).sqrt() as usize)
        .clamp(1, rows.max(1));
    if rows < 2 * partitions {
        return Err(Error::Engine {
            message: format!("{rows} vectors are too few for {partitions} partitions."),
        });
    }
    let mut revision = Revision::new(dataset).await?;
    let params = VectorIndexParams::ivf_flat(partitions, metric.lance());
    let indexed = revision
        .change(table, async |lance| {
            let columns = [column];
            let mut index = lance
                .create_index_builder(&columns, IndexType::Vector, &params)
                .replace(true)
                .progress(Arc::new(Steps(progress)));
            index = index.name(name_of(column));
            index.await?;
            Ok(())
        })
        .await?;
    let mut made = VectorIndex {
        metric,
        partitions,
        visited: (partitions / 16).max(8).min(partitions),
        recall: 0.0,
    };
    made.recall = recall(dataset, table, column, &indexed, &made).await?;
    let mut config = dataset.config.as_json().clone();
    let notes = slaf_entries(&mut config);
    let notes = notes.entry("vectors").or_insert_with(|| json!({}));
    notes[format!("{table}/{column}")] = json!({
        "metric": metric.name(),
        "partitions": made.partitions,
        "visited": made.visited,
        "recall": made.recall,
    });
    let manifest = revision.publish(config, "index vectors").await?;
    Ok((manifest, made))
}

/// The fraction of the exact neighbours of some rows that the index finds.
async fn recall(
    dataset: &Dataset,
    table: &str,
    column: &str,
    indexed: &lance::Dataset,
    index: &VectorIndex,
) -> Result<f64> {
    let source = dataset.table(table)?;
    let width = vectors_of(source, column)?;
    let mut rows: Vec<u64> = (0..source.rows).collect();
    Random::of(&[source.rows]).draw(&mut rows, SAMPLE);
    rows.truncate(SAMPLE);
    let read = source.read_at(&[column], &Selection::List(rows)).await?;
    let list = read.column(0).as_fixed_size_list();
    let question = Question {
        queries: list
            .values()
            .as_primitive::<Float32Type>()
            .values()
            .to_vec(),
        width,
        k: SAMPLE_K,
        metric: index.metric,
        among: None,
    };
    let exact = dataset.nearest(table, column, &question).await?;
    let found = ask(source, indexed, column, &question, index.visited).await?;
    let pairs = exact.rows.chunks(SAMPLE_K).zip(found.rows.chunks(SAMPLE_K));
    let hits: usize = pairs
        .map(|(exact, found)| {
            exact
                .iter()
                .filter(|row| **row >= 0 && found.contains(row))
                .count()
        })
        .sum();
    let all = exact.rows.iter().filter(|row| **row >= 0).count();
    Ok(hits as f64 / all.max(1) as f64)
}

/// Passes on the progress of Lance.
#[derive(Debug)]
struct Steps(Arc<Progress>);

#[async_trait]
impl IndexBuildProgress for Steps {
    async fn stage_start(&self, _: &str, total: Option<u64>, _: &str) -> lance::Result<()> {
        self.0.begin(total.unwrap_or_default());
        Ok(())
    }

    async fn stage_progress(&self, _: &str, completed: u64) -> lance::Result<()> {
        self.0.add(completed.saturating_sub(self.0.so_far().0));
        Ok(())
    }

    async fn stage_complete(&self, _: &str) -> lance::Result<()> {
        Ok(())
    }
}
