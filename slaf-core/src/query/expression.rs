//! The `expression` table as SQL reads it: only the rows of the cells or genes
//! that a query asks for, from the order in which they are fewer, on all cores.
//! `cell_integer_id` is not read where the rows tell it.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, RecordBatchOptions,
    UInt32Array,
};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{cast, filter_record_batch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, UInt32Type};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::{Column, DFSchema, Statistics, ToDFSchema};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
};
use futures::{StreamExt, TryStreamExt, stream};

use super::Reading;
use crate::dataset::{Dataset, Table};
use crate::matrix::{Rows, first_of, read_stream};
use crate::{Result as OurResult, Selection};

pub(crate) const CELL: &str = "cell_integer_id";
pub(crate) const GENE: &str = "gene_integer_id";
pub(crate) const VALUE: &str = "value";

/// What the start of a range costs, in rows.
const RANGE_COST: u64 = 2048;

/// Positions of an axis that are wanted; none: all.
pub(crate) type Mask = Option<BooleanBuffer>;

/// The cells and genes whose values are wanted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    pub(crate) cells: Mask,
    pub(crate) genes: Mask,
}

impl Wanted {
    pub(crate) fn of(cells: &Selection, genes: &Selection, shape: (u64, u64)) -> Self {
        let mask = |selection: &Selection, len: u64| {
            (!selection.is_all(len)).then(|| {
                let mut wanted = vec![false; len as usize];
                selection.iter().for_each(|i| wanted[i as usize] = true);
                BooleanBuffer::from(wanted)
            })
        };
        Self {
            cells: mask(cells, shape.0),
            genes: mask(genes, shape.1),
        }
    }

    pub(crate) fn and(&self, other: &Self) -> Self {
        Self {
            cells: both(&self.cells, &other.cells),
            genes: both(&self.genes, &other.genes),
        }
    }
}

fn both(a: &Mask, b: &Mask) -> Mask {
    match (a, b) {
        (Some(a), Some(b)) => Some(a & b),
        (one, None) | (None, one) => one.clone(),
    }
}

/// `expression`, or the part of it that is `wanted`.
#[derive(Debug, Clone)]
pub(crate) struct Expression {
    pub(crate) dataset: Dataset,
    pub(crate) wanted: Wanted,
    pub(crate) reading: Arc<Reading>,
}

impl Expression {
    fn table(&self) -> &Table {
        &self.dataset.expression
    }

    /// The part of it that satisfies conditions on the ids alone.
    pub(crate) fn restricted(&self, filters: &[Expr], session: &dyn Session) -> Result<Self> {
        let mut wanted = self.wanted.clone();
        let (cells, genes) = self.dataset.shape();
        for filter in filters {
            let met = |name: &str, len: u64| {
                let dtype = self
                    .table()
                    .schema
                    .field_with_name(name)?
                    .data_type()
                    .clone();
                satisfying(filter, name, &dtype, len, session)
            };
            match axis(filter) {
                Some(CELL) => wanted.cells = both(&wanted.cells, &Some(met(CELL, cells)?)),
                Some(_) => wanted.genes = both(&wanted.genes, &Some(met(GENE, genes)?)),
                None => {
                    let text = format!("the condition {filter} is not on ids");
                    return Err(DataFusionError::Internal(text));
                }
            }
        }
        Ok(Self {
            wanted,
            ..self.clone()
        })
    }

    /// How its rows are best read.
    pub(crate) async fn path(&self) -> OurResult<Path> {
        let starts = Arc::clone(&self.dataset.offsets().await?.starts);
        let all = self.dataset.expression.rows;
        let by_cell: Vec<Range<u64>> = match &self.wanted.cells {
            None => vec![0..all],
            Some(cells) => cells
                .set_slices()
                .map(|(from, to)| starts[from]..starts[to])
                .filter(|rows| !rows.is_empty())
                .collect(),
        };
        let by_cell_cost: u64 = by_cell.iter().map(cost).sum();
        if let Some(genes) = &self.wanted.genes
            && let Some(companions) = self.dataset.companions().await?
            && let Some((_, rows_of)) = companions.by_gene()
        {
            let by_gene: Vec<(u32, Range<u64>)> = genes
                .set_indices()
                .map(|gene| (gene as u32, rows_of(gene as u64)))
                .filter(|(_, rows)| !rows.is_empty())
                .collect();
            if by_gene.iter().map(|(_, rows)| cost(rows)).sum::<u64>() < by_cell_cost {
                return Ok(Path::ByGene { genes: by_gene });
            }
        }
        Ok(Path::ByCell {
            rows: by_cell.into_iter().filter(|r| !r.is_empty()).collect(),
            starts,
        })
    }

    pub(crate) async fn plan(
        &self,
        projection: Option<&Vec<usize>>,
        partitions: usize,
        limit: Option<usize>,
    ) -> Result<ExpressionScan> {
        let path = self.path().await.map_err(external)?;
        let table = &self.table().schema;
        let schema = match projection {
            Some(columns) => Arc::new(table.project(columns)?),
            None => Arc::clone(table),
        };
        Ok(ExpressionScan::new(
            self.clone(),
            schema,
            path,
            partitions,
            limit,
        ))
    }
}

fn cost(rows: &Range<u64>) -> u64 {
    rows.end - rows.start + RANGE_COST
}

pub(crate) fn external(error: crate::Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// The only id that a condition is about.
fn axis(filter: &Expr) -> Option<&'static str> {
    let columns = filter.column_refs();
    let mut names = columns.iter().map(|c| c.name.as_str());
    let first = [CELL, GENE]
        .into_iter()
        .find(|id| columns.iter().any(|c| c.name == *id))?;
    (names.all(|name| name == first) && !filter.is_volatile()).then_some(first)
}

/// The ids below `len` that satisfy a condition.
fn satisfying(
    filter: &Expr,
    name: &str,
    dtype: &DataType,
    len: u64,
    session: &dyn Session,
) -> Result<BooleanBuffer> {
    let schema = Arc::new(Schema::new(vec![Field::new(name, dtype.clone(), false)]));
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..len as i64));
    let batch = RecordBatch::try_new(Arc::clone(&schema), vec![cast(&ids, dtype)?])?;
    let bare = strip_relations(filter.clone())?;
    let schema: DFSchema = schema.to_dfschema()?;
    let met = session
        .create_physical_expr(bare, &schema)?
        .evaluate(&batch)?;
    let met = met.into_array(batch.num_rows())?;
    let met = met.as_boolean();
    Ok(match met.nulls() {
        Some(nulls) => met.values() & nulls.inner(),
        None => met.values().clone(),
    })
}

pub(crate) fn strip_relations(expr: Expr) -> Result<Expr> {
    use datafusion::common::tree_node::{Transformed, TreeNode};
    let stripped = expr.transform(|expr| {
        Ok(match expr {
            Expr::Column(column) if column.relation.is_some() => {
                Transformed::yes(Expr::Column(Column::new_unqualified(column.name)))
            }
            other => Transformed::no(other),
        })
    })?;
    Ok(stripped.data)
}

#[async_trait]
impl TableProvider for Expression {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.table().schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        let told = |filter: &&Expr| match axis(filter) {
            Some(_) => TableProviderFilterPushDown::Exact,
            None => TableProviderFilterPushDown::Unsupported,
        };
        Ok(filters.iter().map(told).collect())
    }

    fn statistics(&self) -> Option<Statistics> {
        let rows = self.table().rows as usize;
        let mut statistics = Statistics::new_unknown(&self.schema());
        statistics.num_rows = Precision::Inexact(rows);
        Some(statistics)
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let part = self.restricted(filters, session)?;
        let partitions = session.config().target_partitions();
        Ok(Arc::new(part.plan(projection, partitions, limit).await?))
    }
}

/// Where the wanted rows lie.
#[derive(Debug, Clone)]
pub(crate) enum Path {
    /// In `expression`, sorted by cell.
    ByCell {
        rows: Vec<Range<u64>>,
        starts: Arc<[u64]>,
    },
    /// In the gene-major copy.
    ByGene { genes: Vec<(u32, Range<u64>)> },
}

impl Path {
    /// Rows that will be read.
    pub(crate) fn rows(&self) -> u64 {
        let len = |rows: &Range<u64>| rows.end - rows.start;
        match self {
            Self::ByCell { rows, .. } => rows.iter().map(len).sum(),
            Self::ByGene { genes } => genes.iter().map(|(_, rows)| len(rows)).sum(),
        }
    }

    /// The first `n` rows in the order of cells.
    fn first(self, n: u64) -> Self {
        match self {
            Self::ByCell { rows, starts } => Self::ByCell {
                rows: first_of(&mut rows.into(), n),
                starts,
            },
            by_gene @ Self::ByGene { .. } => by_gene,
        }
    }

    /// About equal parts, each in order.
    fn split(self, parts: usize) -> Vec<Self> {
        let each = self.rows().div_ceil(parts.max(1) as u64).max(1 << 16);
        let (mut done, mut room) = (vec![], each);
        match self {
            Self::ByCell { rows, starts } => {
                let mut part = vec![];
                let mut end = |part: &mut Vec<Range<u64>>| {
                    let rows = std::mem::take(part);
                    done.push(Self::ByCell {
                        rows,
                        starts: Arc::clone(&starts),
                    });
                };
                for mut range in rows {
                    while range.end - range.start > room {
                        let cut = range.start + room;
                        part.push(range.start..cut);
                        end(&mut part);
                        (range.start, room) = (cut, each);
                    }
                    room -= range.end - range.start;
                    part.push(range);
                }
                if !part.is_empty() {
                    end(&mut part);
                }
            }
            // A gene's cells are told by the gaps from its first row on.
            Self::ByGene { genes } => {
                let mut part = vec![];
                for (gene, rows) in genes {
                    let len = rows.end - rows.start;
                    part.push((gene, rows));
                    if len >= room {
                        done.push(Self::ByGene {
                            genes: std::mem::take(&mut part),
                        });
                        room = each;
                    } else {
                        room -= len;
                    }
                }
                if !part.is_empty() {
                    done.push(Self::ByGene { genes: part });
                }
            }
        }
        done
    }
}

/// Reads the wanted rows of `expression`.
#[derive(Debug, Clone)]
pub(crate) struct ExpressionScan {
    source: Expression,
    schema: SchemaRef,
    parts: Vec<Path>,
    rows: u64,
    /// Whether none of them is left out afterwards.
    exact: bool,
    limit: Option<usize>,
    properties: Arc<PlanProperties>,
}

impl ExpressionScan {
    fn new(
        source: Expression,
        schema: SchemaRef,
        path: Path,
        partitions: usize,
        limit: Option<usize>,
    ) -> Self {
        let rows = path.rows();
        let whole = matches!(path, Path::ByCell { .. }) && source.wanted.genes.is_none();
        // What a few rows are wanted of is read until there are as many.
        let partitions = if limit.is_some() { 1 } else { partitions };
        let (path, rows) = match limit {
            Some(n) if whole => (path.first(n as u64), rows.min(n as u64)),
            _ => (path, rows),
        };
        let exact = match &path {
            Path::ByCell { .. } => source.wanted.genes.is_none(),
            Path::ByGene { .. } => source.wanted.cells.is_none(),
        };
        let parts = path.split(partitions);
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&schema)),
            Partitioning::UnknownPartitioning(parts.len().max(1)),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Self {
            source,
            schema,
            parts,
            rows,
            exact,
            limit,
            properties: Arc::new(properties),
        }
    }

    /// Rows that will be read, of how many.
    pub(crate) fn rows(&self) -> (u64, u64) {
        (self.rows, self.source.dataset.expression.rows)
    }

    /// Bytes on disk that will be read, about: each row's share of its columns.
    pub(crate) async fn bytes(&self) -> OurResult<u64> {
        let by_gene = matches!(self.parts.first(), Some(Path::ByGene { .. }));
        let companions = self.source.dataset.companions().await?;
        let by_gene = companions.filter(|_| by_gene).and_then(|c| c.by_gene());
        let table = by_gene.map_or(&self.source.dataset.expression, |(table, _)| table);
        let read = |name: &str| match name {
            "cell_delta" => true,
            CELL => false,
            name => self.schema.index_of(name).is_ok(),
        };
        let bytes: u64 = table
            .column_bytes()
            .await?
            .into_iter()
            .filter(|(name, _)| read(name))
            .map(|(_, bytes)| bytes)
            .sum();
        Ok((bytes as f64 * self.rows as f64 / table.rows.max(1) as f64) as u64)
    }
}

impl DisplayAs for ExpressionScan {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let order = match self.parts.first() {
            Some(Path::ByGene { .. }) => "by gene",
            _ => "by cell",
        };
        let columns: Vec<&str> = self
            .schema
            .fields()
            .iter()
            .map(|f| f.name().as_str())
            .collect();
        let table = &self.source.dataset.expression;
        write!(
            f,
            "ExpressionScan: {order}, {} of {} rows, columns=[{}]",
            self.rows,
            table.rows,
            columns.join(", ")
        )
    }
}

impl ExecutionPlan for ExpressionScan {
    fn name(&self) -> &str {
        "ExpressionScan"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![]
    }

    fn with_new_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn partition_statistics(&self, partition: Option<usize>) -> Result<Arc<Statistics>> {
        if partition.is_some() {
            return Ok(Arc::new(Statistics::new_unknown(&self.schema)));
        }
        let mut statistics = Statistics::new_unknown(&self.schema);
        let rows = self.rows as usize;
        statistics.num_rows = match self.exact && self.limit.is_none() {
            true => Precision::Exact(rows),
            false => Precision::Inexact(rows),
        };
        Ok(Arc::new(statistics))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        // Operators look up between batches whether they are still wanted.
        let morsel = context.session_config().batch_size();
        let batches = self.read(partition).flat_map(move |batch| {
            let pieces: Vec<Result<RecordBatch>> = match batch {
                Ok(batch) => (0..batch.num_rows())
                    .step_by(morsel)
                    .map(|at| Ok(batch.slice(at, morsel.min(batch.num_rows() - at))))
                    .collect(),
                Err(error) => vec![Err(error)],
            };
            stream::iter(pieces)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            self.schema(),
            batches,
        )))
    }
}

impl ExpressionScan {
    /// The rows of a partition, in batches as large as they are decoded.
    pub(crate) fn read(&self, partition: usize) -> Batches {
        let Some(path) = self.parts.get(partition) else {
            return stream::empty().boxed();
        };
        self.source.reading.expect_rows(path.rows());
        let read = read(self.source.clone(), Arc::clone(&self.schema), path.clone());
        let batches = stream::once(read).try_flatten();
        let limited = batches.scan(self.limit.unwrap_or(usize::MAX), |left, batch| {
            let batch = batch.map(|batch| batch.slice(0, batch.num_rows().min(*left)));
            if *left == 0 {
                return futures::future::ready(None);
            }
            *left -= batch.as_ref().map_or(*left, RecordBatch::num_rows);
            futures::future::ready(Some(batch))
        });
        limited.boxed()
    }
}

pub(crate) type Batches = stream::BoxStream<'static, Result<RecordBatch>>;

async fn read(source: Expression, schema: SchemaRef, path: Path) -> Result<Batches> {
    match path {
        Path::ByCell { rows, starts } => by_cell(source, schema, rows, starts).await,
        Path::ByGene { genes } => by_gene(source, schema, genes).await,
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
        reading.add_rows(batch.num_rows() as u64);
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

/// Batches without columns: how many rows there are is known.
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
    // The gene whose rows come next, how many of them, and its last cell.
    let mut next = genes.into_iter();
    let (mut gene, mut left, mut cell) = (0, 0, 0u32);
    let batches = rows.map(move |rows| {
        let batch = rows.map_err(external)?.batch;
        let n = batch.num_rows();
        reading.add_rows(n as u64);
        let gaps = batch.column_by_name("cell_delta");
        let gaps = gaps.map(|gaps| gaps.as_primitive::<UInt32Type>().values().clone());
        let (mut genes, mut cells) = (Vec::with_capacity(n), Vec::with_capacity(n));
        while genes.len() < n {
            if left == 0 {
                let (number, rows) = next.next().ok_or_else(missing)?;
                (gene, left, cell) = (number, (rows.end - rows.start) as usize, 0);
            }
            let run = left.min(n - genes.len());
            if let Some(gaps) = &gaps {
                for gap in &gaps[genes.len()..genes.len() + run] {
                    cell = cell.wrapping_add(*gap);
                    cells.push(cell);
                }
            }
            genes.resize(genes.len() + run, gene);
            left -= run;
        }
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
