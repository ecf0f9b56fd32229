//! What slafdb does not know and nobody misses: X once more, gene by gene, and
//! the sums of its rows and columns. They are derived from one version of
//! `expression`; beside another one they are not looked at.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use arrow::array::{
    ArrayRef, ArrowPrimitiveType, AsArray, PrimitiveArray, RecordBatch, UInt32Array,
};
use arrow::datatypes::{
    DataType, Field, Float32Type, Float64Type, Int64Type, Schema, SchemaRef, UInt16Type,
};
use futures::stream;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::dataset::{Dataset, Table};
use crate::storage::Place;
use crate::transpose::{Columns, Transposer};
use crate::write::tally::{ByGene, Tally};
use crate::write::{Progress, write_stream};
use crate::{Error, Result, runtime};

const BY_GENE: &str = "expression_by_gene.lance";
const CELL_SUMS: &str = "cell_sums.lance";
const GENE_SUMS: &str = "gene_sums.lance";

/// The companions of a dataset, open.
#[derive(Debug)]
pub struct Companions {
    /// `cell_delta` and `value`, sorted by gene and cell: the gap to the cell
    /// of the row before, in the first row of a gene the cell itself.
    pub by_gene: Option<Table>,
    /// `nnz`, `total`, `sum_of_squares`, `min` and `max`, a row a cell.
    pub cell_sums: Table,
    /// The same, a row a gene, and `gene_start_index` into `by_gene`.
    pub gene_sums: Table,
    /// Where each gene's rows begin in `by_gene`, and where the last one's end.
    starts: Vec<u64>,
}

impl Companions {
    /// Those of `dataset`, unless they are missing or belong to another
    /// version of its expression table.
    pub(crate) async fn open(dataset: &Dataset) -> Result<Option<Self>> {
        let note = dataset.config.as_json().get("slaf");
        let Some(note) = note.and_then(|slaf| slaf.get("companions")) else {
            return Ok(None);
        };
        let expression = &dataset.expression;
        if note["of"] != json!(expression.lance.version_id())
            || note["rows"] != json!(expression.rows)
        {
            return Ok(None);
        }
        let open = async |name: &str, folder: &str| {
            let pin = note["versions"][folder].as_u64();
            Table::open(name, folder.to_owned(), pin, dataset.place.clone()).await
        };
        let opened = async {
            let by_gene = async {
                Ok(match note["versions"].get(BY_GENE) {
                    Some(_) => Some(open("expression_by_gene", BY_GENE).await?),
                    None => None,
                })
            };
            let (cell_sums, gene_sums, by_gene) = tokio::try_join!(
                open("cell_sums", CELL_SUMS),
                open("gene_sums", GENE_SUMS),
                by_gene
            )?;
            let mut starts = vec![];
            if let Some(table) = &by_gene {
                let column = gene_sums.read(&["gene_start_index"]).await?;
                let column = column.column(0).as_primitive::<Int64Type>();
                starts = column.values().iter().map(|s| *s as u64).collect();
                starts.push(table.rows);
            }
            Ok(Self {
                by_gene,
                cell_sums,
                gene_sums,
                starts,
            })
        };
        match opened.await {
            Ok(companions) => Ok(Some(companions)),
            // They can be done without.
            Err(Error::Corrupt { .. } | Error::Unknown { .. }) => Ok(None),
            Err(other) => Err(other),
        }
    }

    pub(crate) fn tables(&self) -> impl Iterator<Item = &Table> {
        [&self.cell_sums, &self.gene_sums]
            .into_iter()
            .chain(&self.by_gene)
    }

    /// The gene-major copy, and where the rows of each gene lie in it.
    pub(crate) fn by_gene(&self) -> Option<(&Table, impl Fn(u64) -> Range<u64>)> {
        let rows = |gene: u64| self.starts[gene as usize]..self.starts[gene as usize + 1];
        Some((self.by_gene.as_ref()?, rows))
    }
}

/// Companions that were just written: folder → Lance version.
pub(crate) struct Written {
    pub(crate) versions: BTreeMap<String, u64>,
}

impl Written {
    /// For `config.json`: what they were made of.
    pub(crate) fn note(&self, expression: &lance::Dataset, rows: u64) -> Value {
        json!({ "of": expression.version_id(), "rows": rows, "versions": self.versions })
    }
}

/// Writes the companions that `tally` has the numbers for.
pub(crate) async fn write(place: &Place, tally: &Tally, progress: &Progress) -> Result<Written> {
    let mut versions = BTreeMap::new();
    for (folder, sums) in [
        (CELL_SUMS, tally.cell_sums()?),
        (GENE_SUMS, tally.gene_sums()?),
    ] {
        let schema = sums.schema();
        let version = write_stream(place, folder, &schema, stream::iter([Ok(sums)])).await?;
        versions.insert(folder.to_owned(), version);
    }
    let version = match &tally.by_gene {
        None => return Ok(Written { versions }),
        Some(ByGene::U16(t)) => write_by_gene::<UInt16Type>(place, t, progress).await,
        Some(ByGene::F32(t)) => write_by_gene::<Float32Type>(place, t, progress).await,
        Some(ByGene::F64(t)) => write_by_gene::<Float64Type>(place, t, progress).await,
    };
    versions.insert(BY_GENE.to_owned(), version?);
    Ok(Written { versions })
}

async fn write_by_gene<T: ArrowPrimitiveType>(
    place: &Place,
    transposer: &Transposer<T::Native>,
    progress: &Progress,
) -> Result<u64> {
    let schema: SchemaRef = Arc::new(Schema::new(vec![
        Field::new("cell_delta", DataType::UInt32, false),
        Field::new("value", T::DATA_TYPE, false),
    ]));
    let total: u64 = transposer.counts().iter().sum();
    progress.total.store(total, Relaxed);
    let (batches, queue) = mpsc::channel(1);
    let rows = stream::unfold(queue, |mut queue| async move {
        Some((Ok(queue.recv().await?), queue))
    });
    let write = {
        let (place, schema) = (place.clone(), Arc::clone(&schema));
        async move { write_stream(&place, BY_GENE, &schema, rows).await }
    };
    let writing = runtime::spawn(write);
    let (mut first, mut done) = (0, 0);
    while let Some(columns) = transposer.collect(first)? {
        first = columns.columns.end;
        done += columns.values.len() as u64;
        let batch = deltas::<T>(columns, &schema)?;
        if batch.num_rows() > 0 && batches.send(batch).await.is_err() {
            break;
        }
        progress.done.store(done, Relaxed);
    }
    drop(batches);
    writing.await.unwrap_or(Err(Error::Interrupted))
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
