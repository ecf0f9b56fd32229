//! The IVF index. It divides vectors into partitions around centroids, and a query
//! visits the nearest partitions. Lance stores it with the table; it belongs to the
//! version of the dataset in which it was published.

use arrow::array::{AsArray, Float32Array, RecordBatch};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType, Float32Type, Int64Type};
use futures::{StreamExt, TryStreamExt, stream};
use lance::index::DatasetIndexExt;
use lance::io::RecordBatchStream;
use serde_json::Value;

use super::embeddings::vectors_of;
use super::input_and_result::{Neighbours, Question};
use super::metric::Metric;
use crate::{Dataset, Result, Table};

/// Searches that run at the same time.
const AT_ONCE: usize = 8;

/// The description of an index in a dataset's configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct VectorIndex {
    pub metric: Metric,
    pub partitions: usize,
    /// Partitions that a search visits by default.
    pub visited: usize,
    /// The fraction of the 10 nearest rows that a search finds, measured when
    /// the index was built.
    pub recall: f64,
}

fn note_of<'a>(dataset: &'a Dataset, table: &str, column: &str) -> Option<&'a Value> {
    let slaf = dataset.config.as_json().get("slaf")?;
    slaf.get("vectors")?.get(format!("{table}/{column}"))
}

/// The index of a column of vectors, if it belongs to this version.
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

pub(crate) fn name_of(column: &str) -> String {
    format!("slaf_{column}")
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
        ask(table, &table.lance, column, question, visited).await
    }
}

/// Searches with the index of `lance`, a version of `table`.
pub(crate) async fn ask(
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
    let of_one = |query: &[f32]| {
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
    let searches: Vec<_> = question.queries().map(of_one).collect();
    let answers: Vec<RecordBatch> = stream::iter(searches)
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
            // Lance returns the squared distance, or 1 minus the product.
            Metric::L2 => f64::from(*lance).sqrt(),
            Metric::Cosine => f64::from(*lance),
            Metric::Dot => f64::from(*lance) - 1.0,
        };
        distances.extend(found.iter().take(k).map(distance));
        distances.extend(std::iter::repeat_n(f64::INFINITY, missing));
    }
    Ok(Neighbours { k, rows, distances })
}
