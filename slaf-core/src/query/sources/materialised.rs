//! Replaces parts of a plan that have been run with tables of their results.

use std::sync::Arc;

use arrow::array::{AsArray, BooleanBufferBuilder, RecordBatch, RecordBatchOptions};
use arrow::buffer::BooleanBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::common::Column;
use datafusion::datasource::{provider_as_source, source_as_provider};
use datafusion::error::Result;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlan, Projection, TableScan};
use datafusion::physical_plan::collect;

use super::frame_provider::MemoryTable;
use super::task_context::task_context;

/// The name of the tables that replace parts of a plan.
pub(crate) const RESOLVED: &str = "_resolved";

/// A part of a plan that has been run.
pub(crate) struct Materialised {
    pub(crate) batches: Vec<RecordBatch>,
    plan: LogicalPlan,
}

impl Materialised {
    pub(crate) async fn of(plan: &LogicalPlan, state: &SessionState) -> Result<Self> {
        if let Some(batches) = held(plan) {
            return Ok(Self {
                batches,
                plan: plan.clone(),
            });
        }
        let planner = state.query_planner();
        let physical = planner.create_physical_plan(plan, state).await?;
        Ok(Self {
            batches: collect(physical, task_context(state)).await?,
            plan: plan.clone(),
        })
    }

    /// The values of `key` in all rows.
    pub(crate) fn keys(&self, key: &Expr, state: &SessionState) -> Result<Vec<Option<i64>>> {
        let key = state.create_physical_expr(key.clone(), self.plan.schema())?;
        let mut keys = vec![];
        for batch in &self.batches {
            let column = key.evaluate(batch)?.into_array(batch.num_rows())?;
            let column = cast(&column, &DataType::Int64)?;
            keys.extend(column.as_primitive::<Int64Type>());
        }
        Ok(keys)
    }

    /// The keys that are ids below `len`, as a mask of ids.
    pub(crate) fn ids(&self, key: &Expr, len: u64, state: &SessionState) -> Result<BooleanBuffer> {
        let mut ids = BooleanBufferBuilder::new(len as usize);
        ids.append_n(len as usize, false);
        for key in self.keys(key, state)?.into_iter().flatten() {
            if (0..len as i64).contains(&key) {
                ids.set_bit(key as usize, true);
            }
        }
        Ok(ids.finish())
    }

    /// A plan that scans these rows, to replace the one that computed them.
    pub(crate) fn scan(&self, plan: &LogicalPlan) -> Result<LogicalPlan> {
        table(plan, &self.batches)
    }
}

/// A scan of `batches`, with the schema of `plan`.
fn table(plan: &LogicalPlan, batches: &[RecordBatch]) -> Result<LogicalPlan> {
    let schema = numbered(plan);
    let batches = batches.iter().map(|batch| {
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let columns = batch.columns().to_vec();
        RecordBatch::try_new_with_options(Arc::clone(&schema), columns, &options)
    });
    let batches = batches.collect::<Result<Vec<_>, _>>()?;
    provided(plan, Arc::new(MemoryTable::of(schema, batches)))
}

/// The columns of `plan`, named by their numbers, because its own names may repeat.
pub(crate) fn numbered(plan: &LogicalPlan) -> SchemaRef {
    let fields = plan.schema().fields().iter().enumerate();
    let fields =
        fields.map(|(n, f)| Field::new(n.to_string(), f.data_type().clone(), f.is_nullable()));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// A scan of `provider`, whose columns are [`numbered`], with the schema of `plan`.
pub(crate) fn provided(
    plan: &LogicalPlan,
    provider: Arc<dyn TableProvider>,
) -> Result<LogicalPlan> {
    let source = provider_as_source(provider);
    let scan = TableScan::try_new(RESOLVED, source, None, vec![], None)?;
    let columns = (0..plan.schema().fields().len()).map(|index| {
        let (relation, field) = plan.schema().qualified_field(index);
        let column = Expr::Column(Column::new(Some(RESOLVED), index.to_string()));
        column.alias_qualified(relation.cloned(), field.name())
    });
    Ok(LogicalPlan::Projection(Projection::try_new_with_schema(
        columns.collect(),
        Arc::new(LogicalPlan::TableScan(scan)),
        Arc::clone(plan.schema()),
    )?))
}

/// The rows of a plan that [`provided`] made from rows in memory.
pub(crate) fn held(plan: &LogicalPlan) -> Option<Vec<RecordBatch>> {
    let LogicalPlan::Projection(Projection { input, .. }) = plan else {
        return None;
    };
    let LogicalPlan::TableScan(scan) = &**input else {
        return None;
    };
    let provider = source_as_provider(&scan.source).ok()?;
    let table = provider.downcast_ref::<MemoryTable>()?;
    (scan.table_name.table() == RESOLVED).then(|| table.batches.clone())
}
