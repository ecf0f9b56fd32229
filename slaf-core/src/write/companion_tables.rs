//! Writes the companion tables of X: the gene-major copy, and the sums of cells and
//! genes.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, ArrowPrimitiveType, PrimitiveArray, RecordBatch, UInt32Array};
use arrow::datatypes::{DataType, Float32Type, Float64Type, Schema, SchemaRef, UInt16Type};
use futures::stream;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::expression_stats::{ByGene, ExpressionStats};
use super::lance_rows::{packed, write_stream};
use crate::dataset::companions::{BY_GENE, CELL_SUMS, GENE_SUMS};
use crate::matrix::transposer::{Columns, Transposer};
use crate::{Place, Progress, Result, runtime};

/// The companion tables that were just written: folder → Lance version.
pub(crate) struct CompanionTables {
    pub(crate) versions: BTreeMap<String, u64>,
}

impl CompanionTables {
    /// Their entry in `config.json`: what they were made from.
    pub(crate) fn note(&self, expression: &lance::Dataset, rows: u64) -> Value {
        json!({ "of": expression.version_id(), "rows": rows, "versions": self.versions })
    }
}

/// Writes the companion tables for which `stats` has the numbers.
pub(crate) async fn write(
    place: &Place,
    stats: &ExpressionStats,
    progress: &Progress,
) -> Result<CompanionTables> {
    let mut versions = BTreeMap::new();
    for (folder, sums) in [
        (CELL_SUMS, stats.cell_sums()?),
        (GENE_SUMS, stats.gene_sums()?),
    ] {
        let schema = sums.schema();
        let version = write_stream(place, folder, &schema, stream::iter([Ok(sums)])).await?;
        versions.insert(folder.to_owned(), version);
    }
    let version = match &stats.by_gene {
        None => return Ok(CompanionTables { versions }),
        Some(ByGene::U16(t)) => write_by_gene::<UInt16Type>(place, t, progress).await,
        Some(ByGene::F32(t)) => write_by_gene::<Float32Type>(place, t, progress).await,
        Some(ByGene::F64(t)) => write_by_gene::<Float64Type>(place, t, progress).await,
    };
    versions.insert(BY_GENE.to_owned(), version?);
    Ok(CompanionTables { versions })
}

async fn write_by_gene<T: ArrowPrimitiveType>(
    place: &Place,
    transposer: &Transposer<T::Native>,
    progress: &Progress,
) -> Result<u64> {
    let schema: SchemaRef = Arc::new(Schema::new(vec![
        packed("cell_delta", DataType::UInt32, false),
        packed("value", T::DATA_TYPE, false),
    ]));
    let total: u64 = transposer.counts().iter().sum();
    progress.begin(total);
    let (batches, queue) = mpsc::channel(1);
    let rows = stream::unfold(queue, |mut queue| async move {
        Some((Ok(queue.recv().await?), queue))
    });
    let write = {
        let (place, schema) = (place.clone(), Arc::clone(&schema));
        async move { write_stream(&place, BY_GENE, &schema, rows).await }
    };
    let writing = runtime::spawn(write);
    let mut first = 0;
    while let Some(columns) = transposer.collect(first)? {
        first = columns.columns.end;
        let values = columns.values.len() as u64;
        let batch = deltas::<T>(columns, &schema)?;
        if batch.num_rows() > 0 && batches.send(batch).await.is_err() {
            break;
        }
        progress.add(values);
    }
    drop(batches);
    runtime::result_of(writing).await
}

fn deltas<T: ArrowPrimitiveType>(
    mut columns: Columns<T::Native>,
    schema: &SchemaRef,
) -> Result<RecordBatch> {
    for span in columns.indptr.windows(2) {
        let cells = &mut columns.rows[span[0] as usize..span[1] as usize];
        let mut before = 0;
        for cell in cells {
            let gap = *cell - before;
            before = *cell;
            *cell = gap;
        }
    }
    let cells: ArrayRef = Arc::new(UInt32Array::from(columns.rows));
    let values = PrimitiveArray::<T>::new(columns.values.into(), None);
    Ok(RecordBatch::try_new(
        Arc::clone(schema),
        vec![cells, Arc::new(values)],
    )?)
}
