//! The IVF index: vectors in partitions around centroids, of which a question
//! visits the nearest. Lance keeps it with the table, and it belongs to the
//! version of the dataset that it was published in.

use arrow::array::{AsArray, Float32Array, RecordBatch};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType, Float32Type, Int64Type};
use futures::{StreamExt, TryStreamExt, stream};
use lance::index::DatasetIndexExt;
use lance::index::vector::VectorIndexParams;
use lance::io::RecordBatchStream;
use lance_index::IndexType;
use serde_json::{Value, json};

use super::{Metric, Neighbours, Question, vectors_of};
use crate::dataset::{Dataset, Table};
use crate::random::Random;
use crate::versions::Manifest;
use crate::write::{Revision, ours};
use crate::{Error, Result, Selection};

/// Questions that are asked at once.
const AT_ONCE: usize = 8;
/// Queries that the recall is measured with, and neighbours of each.
const SAMPLE: usize = 200;
const SAMPLE_K: usize = 10;

/// What a dataset's configuration says of an index.
#[derive(Debug, Clone, PartialEq)]
pub struct VectorIndex {
    pub metric: Metric,
    pub partitions: usize,
    /// Partitions that a question visits, unless it says otherwise.
    pub visited: usize,
    /// The part of the 10 nearest that a question finds, measured when the
    /// index was made.
    pub recall: f64,
}

fn note_of<'a>(dataset: &'a Dataset, table: &str, column: &str) -> Option<&'a Value> {
    let slaf = dataset.config.as_json().get("slaf")?;
    slaf.get("vectors")?.get(format!("{table}/{column}"))
}

/// The index of a column of vectors, if it has one that belongs to this
/// version.
pub async fn vector_index(
    dataset: &Dataset,
    table: &str,
    column: &str,
) -> Result<Option<VectorIndex>> {
    let Some(note) = note_of(dataset, table, column) else {
        return Ok(None);
    };
    let table = dataset.table(table)?;
    let indices = table
        .lance
        .load_indices()
        .await
        .map_err(|e| table.unreadable(&e))?;
    if !indices.iter().any(|index| index.name == name_of(column)) {
        return Ok(None);
    }
    let number = |key: &str| note[key].as_u64().map(|n| n as usize);
    Ok(note["metric"]
        .as_str()
        .and_then(Metric::from_name)
        .and_then(|metric| {
            Some(VectorIndex {
                metric,
                partitions: number("partitions")?,
                visited: number("visited")?,
                recall: note["recall"].as_f64()?,
            })
        }))
}

fn name_of(column: &str) -> String {
    format!("slaf_{column}")
}

/// Makes an IVF index of a column of vectors, publishes it as a new version of
/// the dataset, and measures how much of the exact answers it finds.
pub async fn index_vectors(
    dataset: &Dataset,
    table: &str,
    column: &str,
    metric: Metric,
    partitions: Option<usize>,
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
            let name = Some(name_of(column));
            lance
                .create_index(&columns, IndexType::Vector, name, &params, true)
                .await?;
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
    let notes = ours(&mut config);
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

/// The part of the exact neighbours of some rows that the index finds.
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
    let found = asked(source, indexed, column, &question, index.visited).await?;
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

impl Dataset {
    /// The nearest rows that the column's index finds in `visited` partitions.
    pub async fn nearest_by_index(
        &self,
        table: &str,
        column: &str,
        question: &Question,
        visited: usize,
    ) -> Result<Neighbours> {
        let table = self.table(table)?;
        question.check(vectors_of(table, column)?, table.rows as usize)?;
        asked(table, &table.lance, column, question, visited).await
    }
}

async fn asked(
    table: &Table,
    lance: &lance::Dataset,
    column: &str,
    question: &Question,
    visited: usize,
) -> Result<Neighbours> {
    let id = if table.name == "genes" {
        "gene_integer_id"
    } else {
        "cell_integer_id"
    };
    let ask = |query: &[f32]| {
        let query = Float32Array::from(query.to_vec());
        async move {
            let mut scanner = lance.scan();
            scanner.nearest(column, &query, question.k)?;
            scanner
                .nprobes(visited.max(1))
                .distance_metric(question.metric.lance())
                .project(&[id, "_distance"])?;
            let stream = scanner.try_into_stream().await?;
            let schema = stream.schema();
            let batches: Vec<RecordBatch> = stream.try_collect().await?;
            Ok(concat_batches(&schema, &batches)?)
        }
    };
    let asked: Vec<_> = question.queries().map(ask).collect();
    let answers: Vec<RecordBatch> = stream::iter(asked)
        .buffered(AT_ONCE)
        .try_collect()
        .await
        .map_err(|e: lance::Error| table.unreadable(&e))?;
    let k = question.k;
    let (mut rows, mut distances) = (vec![], vec![]);
    for answer in answers {
        let ids = cast(answer.column(0), &DataType::Int64)?;
        let ids = ids.as_primitive::<Int64Type>().values();
        let found = answer.column(1).as_primitive::<Float32Type>().values();
        let missing = k - ids.len().min(k);
        rows.extend(ids.iter().take(k));
        rows.extend(std::iter::repeat_n(-1, missing));
        let distance = |lance: &f32| match question.metric {
            // Lance's is squared, and 1 less the product.
            Metric::L2 => f64::from(*lance).sqrt(),
            Metric::Cosine => f64::from(*lance),
            Metric::Dot => f64::from(*lance) - 1.0,
        };
        distances.extend(found.iter().take(k).map(distance));
        distances.extend(std::iter::repeat_n(f64::INFINITY, missing));
    }
    Ok(Neighbours { k, rows, distances })
}
