//! Runs what was planned: reads the values on all cores, each into
//! slots of its own, and adds them up; or adds up the sums that are stored.

use std::fmt;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions, UInt32Array,
};
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, SchemaRef, UInt32Type};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Statistics;
use datafusion::common::stats::Precision;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
};
use futures::{StreamExt, stream};
use tokio::task::JoinSet;

use super::accumulator::Accumulator;
use super::axis::Axis;
use super::measure::Measure;
use super::star::Side;
use super::stored_sums::{Sums, of_stored_sums, stored_sums};
use crate::query::sources::expression::{CELL, Expression, ExpressionScan, GENE, VALUE};

/// Rows that are taken at once: they and their groups stay in a core's cache.
const MORSEL: usize = 1 << 14;

/// An aggregate over `expression`, as a table.
#[derive(Debug, Clone)]
pub(crate) struct DenseScan(Arc<Work>);

#[derive(Debug)]
struct Work {
    fact: Expression,
    cells: Axis,
    genes: Axis,
    /// The axis of each group column.
    sides: Vec<Side>,
    measures: Vec<Measure>,
    filters: Vec<Arc<dyn PhysicalExpr>>,
    /// Of the columns that arguments and filters are made of.
    arguments: SchemaRef,
    schema: SchemaRef,
    /// The axis whose stored sums answer.
    sums: Option<Side>,
    scan: ExpressionScan,
}

impl DenseScan {
    #[expect(
        clippy::too_many_arguments,
        reason = "it is what the planner found out"
    )]
    pub(crate) async fn plan(
        fact: Expression,
        cells: Axis,
        genes: Axis,
        sides: Vec<Side>,
        measures: Vec<Measure>,
        filters: Vec<Arc<dyn PhysicalExpr>>,
        arguments: SchemaRef,
        schema: SchemaRef,
        threads: usize,
    ) -> Result<Self> {
        let of_values = filters.is_empty() && measures.iter().all(of_stored_sums);
        let mut sums = None;
        if of_values {
            sums = stored_sums(&fact, &cells, &genes, &measures).await?;
        }
        // A column is read only if something depends on it.
        let table = &fact.dataset.expression.schema;
        let needed = |name: &str| match name {
            CELL => !cells.plain || !cells.columns.is_empty() || arguments.index_of("#c").is_ok(),
            GENE => !genes.plain || !genes.columns.is_empty() || arguments.index_of("#g").is_ok(),
            VALUE => arguments.index_of("#v").is_ok(),
            _ => false,
        };
        let columns: Vec<usize> = (0..table.fields().len())
            .filter(|i| needed(table.field(*i).name()))
            .collect();
        let scan = fact.operator(Some(&columns), threads, None).await?;
        Ok(Self(Arc::new(Work {
            fact,
            cells,
            genes,
            sides,
            measures,
            filters,
            arguments,
            schema,
            sums,
            scan,
        })))
    }
}

#[async_trait]
impl TableProvider for DenseScan {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.0.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn statistics(&self) -> Option<Statistics> {
        let mut statistics = Statistics::new_unknown(&self.0.schema);
        statistics.num_rows = Precision::Inexact(self.0.groups());
        Some(statistics)
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = match projection {
            Some(columns) => Arc::new(self.0.schema.project(columns)?),
            None => Arc::clone(&self.0.schema),
        };
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Final,
            Boundedness::Bounded,
        );
        Ok(Arc::new(DenseAggregate {
            work: Arc::clone(&self.0),
            projection: projection.cloned(),
            properties: Arc::new(properties),
        }))
    }
}

#[derive(Debug)]
pub(crate) struct DenseAggregate {
    work: Arc<Work>,
    projection: Option<Vec<usize>>,
    properties: Arc<PlanProperties>,
}

impl DenseAggregate {
    /// What it reads, unless sums answer.
    pub(crate) fn scan(&self) -> Option<&ExpressionScan> {
        self.work.sums.is_none().then_some(&self.work.scan)
    }
}

impl DisplayAs for DenseAggregate {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let work = &self.work;
        write!(f, "DenseAggregate: ")?;
        match (work.cells.groups, work.genes.groups) {
            (1, 1) => write!(f, "one group")?,
            (groups, 1) => write!(f, "{groups} groups of cells")?,
            (1, groups) => write!(f, "{groups} groups of genes")?,
            (cells, genes) => write!(f, "{cells} × {genes} groups of cells and genes")?,
        }
        match work.sums {
            Some(Side::Cells) => write!(f, ", from the stored sums of the cells"),
            Some(Side::Genes) => write!(f, ", from the stored sums of the genes"),
            None => {
                write!(f, "; ")?;
                work.scan.fmt_as(DisplayFormatType::Default, f)
            }
        }
    }
}

impl ExecutionPlan for DenseAggregate {
    fn name(&self) -> &str {
        "DenseAggregate"
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

    fn execute(&self, _: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let (work, projection) = (Arc::clone(&self.work), self.projection.clone());
        let batch = async move {
            let batch = work.run().await?;
            match projection {
                Some(columns) => Ok(batch.project(&columns)?),
                None => Ok(batch),
            }
        };
        let schema = Arc::clone(self.properties.eq_properties.schema());
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            schema,
            stream::once(batch),
        )))
    }
}

impl Work {
    fn groups(&self) -> usize {
        self.cells.groups * self.genes.groups
    }

    async fn run(self: Arc<Self>) -> Result<RecordBatch> {
        let mut groups = Groups::new(&self);
        if let Some(side) = self.sums {
            self.add_sums(side, &mut groups).await?;
            return self.finish(&groups);
        }
        let mut threads = JoinSet::new();
        for part in 0..self.scan.properties().partitioning.partition_count() {
            let work = Arc::clone(&self);
            threads.spawn(async move {
                let mut groups = Groups::new(&work);
                let mut batches = work.scan.read(part);
                while let Some(batch) = batches.next().await {
                    work.add(&batch?, &mut groups)?;
                    tokio::task::yield_now().await;
                }
                Ok::<_, DataFusionError>(groups)
            });
        }
        while let Some(part) = threads.join_next().await {
            groups.merge(part.map_err(|e| DataFusionError::External(Box::new(e)))??);
        }
        self.finish(&groups)
    }

    async fn add_sums(&self, side: Side, groups: &mut Groups) -> Result<()> {
        let sums = Sums::of(&self.fact, side).await?;
        let codes = if side == Side::Cells {
            &self.cells.codes
        } else {
            &self.genes.codes
        };
        for (id, code) in codes
            .iter()
            .enumerate()
            .filter(|(_, code)| **code != u32::MAX)
        {
            let (group, sum) = (*code as usize, sums.of_id(id));
            groups.rows[group] += sum.n;
            for measure in &mut groups.measures {
                measure.take_sum(group, &sum);
            }
        }
        Ok(())
    }

    fn add(&self, batch: &RecordBatch, groups: &mut Groups) -> Result<()> {
        let mut at = 0;
        while at < batch.num_rows() {
            let rows = MORSEL.min(batch.num_rows() - at);
            self.add_morsel(&batch.slice(at, rows), groups)?;
            at += rows;
        }
        Ok(())
    }

    fn add_morsel(&self, batch: &RecordBatch, groups: &mut Groups) -> Result<()> {
        let rows = batch.num_rows();
        let ids = |name: &str| {
            let column = batch.column_by_name(name);
            column.map(|c| {
                Ok::<_, DataFusionError>(
                    cast(c, &DataType::UInt32)?
                        .as_primitive::<UInt32Type>()
                        .clone(),
                )
            })
        };
        let (cells, genes) = (ids(CELL).transpose()?, ids(GENE).transpose()?);
        let mut slots = std::mem::take(&mut groups.slots);
        self.place(cells.as_ref(), genes.as_ref(), rows, &mut slots);
        let arguments = self.arguments(batch, cells.as_ref(), genes.as_ref())?;
        for filter in &self.filters {
            let kept = filter.evaluate(&arguments)?.into_array(rows)?;
            let kept = kept.as_boolean();
            for (row, slot) in slots.iter_mut().enumerate() {
                if !(kept.is_valid(row) && kept.value(row)) {
                    *slot = self.groups() as u32;
                }
            }
        }
        for slot in &slots {
            groups.rows[*slot as usize] += 1;
        }
        for (measure, accumulator) in self.measures.iter().zip(&mut groups.measures) {
            let values = measure.argument.as_ref();
            let values = values.map(|v| v.evaluate(&arguments)?.into_array(rows));
            let values = values.transpose()?;
            let kept = measure.filter.as_ref();
            let kept = kept.map(|f| f.evaluate(&arguments)?.into_array(rows));
            let kept = kept.transpose()?;
            let kept: Option<&BooleanArray> = kept.as_ref().map(|kept| kept.as_boolean());
            accumulator.update(&slots, values.as_ref(), kept)?;
        }
        groups.slots = slots;
        Ok(())
    }

    /// The group of each row; rows of none go to one more slot.
    fn place(
        &self,
        cells: Option<&UInt32Array>,
        genes: Option<&UInt32Array>,
        rows: usize,
        slots: &mut Vec<u32>,
    ) {
        let (trash, width) = (self.groups() as u32, self.genes.groups as u32);
        slots.clear();
        match (
            cells.filter(|_| !self.cells.plain),
            genes.filter(|_| !self.genes.plain),
        ) {
            (None, None) => slots.resize(rows, 0),
            (None, Some(genes)) => slots.extend(
                genes
                    .values()
                    .iter()
                    .map(|gene| self.genes.codes[*gene as usize].min(trash)),
            ),
            (Some(cells), None) => slots.extend(
                cells
                    .values()
                    .iter()
                    .map(|cell| self.cells.codes[*cell as usize].min(trash)),
            ),
            (Some(cells), Some(genes)) => {
                let pairs = cells.values().iter().zip(genes.values());
                slots.extend(pairs.map(|(cell, gene)| {
                    let cell = self.cells.codes[*cell as usize];
                    let gene = self.genes.codes[*gene as usize];
                    if cell == u32::MAX || gene == u32::MAX {
                        trash
                    } else {
                        cell * width + gene
                    }
                }));
            }
        }
    }

    /// The columns that arguments and filters are made of.
    fn arguments(
        &self,
        batch: &RecordBatch,
        cells: Option<&UInt32Array>,
        genes: Option<&UInt32Array>,
    ) -> Result<RecordBatch> {
        let missing = || DataFusionError::Internal("an argument's column is missing".into());
        let stored = |name: &str| batch.column_by_name(name).cloned().ok_or_else(missing);
        let columns = self
            .arguments
            .fields()
            .iter()
            .map(|field| match field.name().as_str() {
                "#c" => stored(CELL),
                "#g" => stored(GENE),
                "#v" => stored(VALUE),
                name => {
                    let of_axis =
                        |axis: &Axis, ids: Option<&UInt32Array>| -> Option<Result<ArrayRef>> {
                            let column = axis.columns.get(name)?;
                            Some(take(column, ids?, None).map_err(DataFusionError::from))
                        };
                    of_axis(&self.cells, cells)
                        .or_else(|| of_axis(&self.genes, genes))
                        .ok_or_else(missing)?
                }
            });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        Ok(RecordBatch::try_new_with_options(
            Arc::clone(&self.arguments),
            columns,
            &options,
        )?)
    }

    fn finish(&self, groups: &Groups) -> Result<RecordBatch> {
        // Without GROUP BY there is one row, of nothing if need be.
        let kept: Vec<usize> = (0..self.groups())
            .filter(|g| self.sides.is_empty() || groups.rows[*g] > 0)
            .collect();
        let width = self.genes.groups;
        let of_side = |side: Side| {
            let group = |g: &usize| match side {
                Side::Cells => (g / width) as u32,
                Side::Genes => (g % width) as u32,
            };
            UInt32Array::from_iter_values(kept.iter().map(group))
        };
        let mut columns = vec![];
        let (mut cells, mut genes) = (self.cells.keys.iter(), self.genes.keys.iter());
        for side in &self.sides {
            let keys = if *side == Side::Cells {
                cells.next()
            } else {
                genes.next()
            };
            let keys =
                keys.ok_or_else(|| DataFusionError::Internal("a group has no key".into()))?;
            columns.push(take(keys, &of_side(*side), None)?);
        }
        for (place, measure) in groups.measures.iter().enumerate() {
            let field = self.schema.field(self.sides.len() + place);
            columns.push(measure.finish(&kept, field.data_type())?);
        }
        let columns = columns.iter().zip(self.schema.fields());
        let columns = columns.map(|(column, field)| cast(column, field.data_type()));
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(kept.len()));
        Ok(RecordBatch::try_new_with_options(
            Arc::clone(&self.schema),
            columns,
            &options,
        )?)
    }
}

/// The state of all groups, and of one more for the rows of none.
struct Groups {
    rows: Vec<u64>,
    measures: Vec<Accumulator>,
    /// The groups of a morsel's rows.
    slots: Vec<u32>,
}

impl Groups {
    fn new(work: &Work) -> Self {
        let groups = work.groups() + 1;
        Self {
            rows: vec![0; groups],
            measures: work
                .measures
                .iter()
                .map(|m| Accumulator::new(m, groups))
                .collect(),
            slots: vec![],
        }
    }

    fn merge(&mut self, other: Self) {
        for (a, b) in self.rows.iter_mut().zip(other.rows) {
            *a += b;
        }
        for (a, b) in self.measures.iter_mut().zip(other.measures) {
            a.merge(b);
        }
    }
}
