//! Rows of `expression` as batches, from the table sorted by cell or by gene.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::{cast, filter_record_batch};
use arrow::datatypes::{DataType, Schema, SchemaRef, UInt32Type};
use datafusion::error::{DataFusionError, Result};
use futures::{StreamExt, stream};

use super::requested_ids::{CELL, GENE, VALUE};
use super::rows_per_core::RowPath;
use super::source::Expression;
use crate::Result as OurResult;
use crate::query::sources::errors::external;
use crate::table::row_ranges::{Rows, first_of, read_stream};

pub(crate) type Batches = stream::BoxStream<'static, Result<RecordBatch>>;

pub(crate) async fn read(source: Expression, schema: SchemaRef, path: RowPath) -> Result<Batches> {
    match path {
        RowPath::ByCell { rows, starts } => by_cell(source, schema, rows, starts).await,
        RowPath::ByGene { genes } => by_gene(source, schema, genes).await,
    }
}

async fn by_cell(
    source: Expression,
    schema: SchemaRef,
    ranges: Vec<Range<u64>>,
    starts: Arc<[u64]>,
) -> Result<Batches> {
    let mut names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
    if source.wanted.genes.is_some() && !names.contains(&GENE) {
        names.push(GENE);
    }
    let stored: Vec<&str> = names.iter().copied().filter(|name| *name != CELL).collect();
    let (cells, genes) = (names.contains(&CELL), source.wanted.genes.clone());
    let table = source.dataset.expression.clone();
    let rows = if stored.is_empty() {
        nothing_of(ranges)
    } else {
        read_stream(&table, &stored, ranges).map_err(external)?
    };
    let reading = source.reading;
    let batches = rows.map(move |rows| {
        let Rows { spans, batch } = rows.map_err(external)?;
        reading.add(&batch);
        let cells = cells.then(|| cells_of(&spans, batch.num_rows(), &starts));
        let column = |name: &str| match (&cells, name) {
            (Some(cells), CELL) => Some(Arc::clone(cells)),
            _ => batch.column_by_name(name).cloned(),
        };
        let whole = assemble(&schema, batch.num_rows(), column)?;
        match &genes {
            None => Ok(whole),
            Some(wanted) => {
                let genes = batch.column_by_name(GENE).cloned();
                let genes = cast(&genes.ok_or_else(missing)?, &DataType::UInt32)?;
                let genes = genes.as_primitive::<UInt32Type>().values();
                let kept = genes
                    .iter()
                    .map(|g| (*g as usize) < wanted.len() && wanted.value(*g as usize));
                Ok(filter_record_batch(
                    &whole,
                    &BooleanArray::from_iter(kept.map(Some)),
                )?)
            }
        }
    });
    Ok(batches.boxed())
}

/// Batches without columns, if only the number of rows is needed.
fn nothing_of(ranges: Vec<Range<u64>>) -> stream::BoxStream<'static, OurResult<Rows>> {
    let mut left: VecDeque<Range<u64>> = ranges.into();
    let batches = std::iter::from_fn(move || {
        let spans = first_of(&mut left, 1 << 18);
        let rows: u64 = spans.iter().map(|span| span.end - span.start).sum();
        let options = RecordBatchOptions::new().with_row_count(Some(rows as usize));
        let schema = Arc::new(Schema::empty());
        let batch = RecordBatch::try_new_with_options(schema, vec![], &options);
        (rows > 0).then(|| {
            Ok(Rows {
                spans,
                batch: batch?,
            })
        })
    });
    stream::iter(batches).boxed()
}

/// The cell of each row.
fn cells_of(spans: &[Range<u64>], rows: usize, starts: &[u64]) -> ArrayRef {
    let mut cells: Vec<u32> = Vec::with_capacity(rows);
    for span in spans {
        let mut cell = starts.partition_point(|start| *start <= span.start) - 1;
        let mut row = span.start;
        while row < span.end {
            let end = starts
                .get(cell + 1)
                .copied()
                .unwrap_or(u64::MAX)
                .min(span.end);
            cells.resize(cells.len() + (end - row) as usize, cell as u32);
            (row, cell) = (end, cell + 1);
        }
    }
    Arc::new(UInt32Array::from(cells))
}

async fn by_gene(
    source: Expression,
    schema: SchemaRef,
    genes: Vec<(u32, Range<u64>)>,
) -> Result<Batches> {
    let companions = source.dataset.companions().await.map_err(external)?;
    let (table, _) = companions.and_then(|c| c.by_gene()).ok_or_else(missing)?;
    let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
    let mut stored = vec![];
    if names.contains(&CELL) || source.wanted.cells.is_some() {
        stored.push("cell_delta");
    }
    if names.contains(&VALUE) || stored.is_empty() {
        stored.push(VALUE);
    }
    let ranges = genes.iter().map(|(_, rows)| rows.clone()).collect();
    let rows = read_stream(table, &stored, ranges).map_err(external)?;
    let wanted = source.wanted.cells;
    let reading = source.reading;
    let mut ids = GeneIds {
        next: genes.into_iter(),
        gene: 0,
        left: 0,
        cell: 0,
    };
    let batches = rows.map(move |rows| {
        let batch = rows.map_err(external)?.batch;
        let n = batch.num_rows();
        reading.add(&batch);
        let (genes, cells) = ids.take(&batch)?;
        let kept = wanted.as_ref().map(|wanted| {
            let kept = cells
                .iter()
                .map(|c| (*c as usize) < wanted.len() && wanted.value(*c as usize));
            BooleanArray::from_iter(kept.map(Some))
        });
        let genes: ArrayRef = Arc::new(UInt32Array::from(genes));
        let cells: ArrayRef = Arc::new(UInt32Array::from(cells));
        let column = |name: &str| match name {
            CELL => Some(Arc::clone(&cells)),
            GENE => Some(Arc::clone(&genes)),
            _ => batch.column_by_name(name).cloned(),
        };
        let whole = assemble(&schema, n, column)?;
        match kept {
            None => Ok(whole),
            Some(kept) => Ok(filter_record_batch(&whole, &kept)?),
        }
    });
    Ok(batches.boxed())
}

/// Computes the ids of rows of the gene-major copy.
struct GeneIds<N> {
    next: N,
    /// The current gene, the number of its rows that are left, and the last cell.
    gene: u32,
    left: usize,
    cell: u32,
}

impl<N: Iterator<Item = (u32, Range<u64>)>> GeneIds<N> {
    /// The gene and cell of each row. Without a cell column in the batch, there are no
    /// cells.
    fn take(&mut self, batch: &RecordBatch) -> Result<(Vec<u32>, Vec<u32>)> {
        let n = batch.num_rows();
        let gaps = batch.column_by_name("cell_delta");
        let gaps = gaps.map(|gaps| gaps.as_primitive::<UInt32Type>().values());
        let (mut genes, mut cells) = (Vec::with_capacity(n), Vec::with_capacity(n));
        while genes.len() < n {
            if self.left == 0 {
                let (gene, rows) = self.next.next().ok_or_else(missing)?;
                (self.gene, self.left, self.cell) = (gene, (rows.end - rows.start) as usize, 0);
            }
            let run = self.left.min(n - genes.len());
            if let Some(gaps) = gaps {
                for gap in &gaps[genes.len()..genes.len() + run] {
                    self.cell = self.cell.wrapping_add(*gap);
                    cells.push(self.cell);
                }
            }
            genes.resize(genes.len() + run, self.gene);
            self.left -= run;
        }
        Ok((genes, cells))
    }
}

fn assemble(
    schema: &SchemaRef,
    rows: usize,
    column: impl Fn(&str) -> Option<ArrayRef>,
) -> Result<RecordBatch> {
    let columns = schema.fields().iter().map(|field| {
        let column = column(field.name()).ok_or_else(missing)?;
        Ok(cast(&column, field.data_type())?)
    });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(
        Arc::clone(schema),
        columns,
        &options,
    )?)
}

fn missing() -> DataFusionError {
    DataFusionError::Internal("a column of the expression is missing".into())
}
