//! Groups cells or genes by columns with few values. The codes of the columns are
//! kept, so the group of a row is looked up, without hashing.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::cast;
use datafusion::common::ToDFSchema;
use datafusion::error::Result;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan};
use tokio::task::JoinSet;

use super::accumulator::Accumulator;
use super::aggregate_functions::{Call, Measure};
use super::group_states::{GroupStates, MORSEL};
use super::key_codes::KeyCodes;
use crate::Table;
use crate::query::sources::errors::external;
use crate::query::sources::expression::Mask;
use crate::query::sources::frame_provider::MemoryTable;
use crate::query::sources::materialised::{numbered, provided};
use crate::query::sources::metadata_rows::MetadataRows;
use crate::query::sources::plan_facts::has_subquery;
use crate::runtime::task_error;

/// Maximum bytes of groups per thread; with more, hashing is faster.
const ROOM: usize = 4 << 20;
/// Minimum number of rows per thread.
const MANY: usize = 1 << 18;

/// Replaces `aggregate` by its result, or returns it unchanged.
pub(crate) async fn by_codes(aggregate: Aggregate, state: &SessionState) -> Result<LogicalPlan> {
    let work = Grouping::of(&aggregate, state).await?;
    let plan = LogicalPlan::Aggregate(aggregate);
    let Some(work) = work else {
        return Ok(plan);
    };
    let (about, keys) = (work.about(), work.keys.columns());
    let threads = state.config().target_partitions();
    let groups = Arc::new(work).groups(&plan, threads).await?;
    let table = MemoryTable {
        schema: groups.schema(),
        batches: vec![groups],
        about,
        keys,
    };
    provided(&plan, Arc::new(table))
}

/// An aggregate that is ready to be computed.
struct Grouping {
    /// The names of the group columns, for EXPLAIN.
    by: String,
    keys: KeyCodes,
    table: Table,
    /// The columns that arguments use, with all rows.
    rows: RecordBatch,
    /// The rows that count; `None` for all rows.
    left: Mask,
    measures: Vec<Measure>,
}

impl Grouping {
    /// `None` if groups, functions or rows are not of this form.
    async fn of(aggregate: &Aggregate, state: &SessionState) -> Result<Option<Self>> {
        let Some(rows) = MetadataRows::of(&aggregate.input)? else {
            return Ok(None);
        };
        let look_up = |expr: &Expr| rows.look_up(expr, &aggregate.input);
        let keys = aggregate.group_expr.iter().map(|key| {
            Ok(match key {
                Expr::GroupingSet(_) => None,
                key => match look_up(key)? {
                    Expr::Column(column) => Some(column.name),
                    _ => None,
                },
            })
        });
        let Some(keys) = keys.collect::<Result<Option<Vec<_>>>>()? else {
            return Ok(None);
        };
        let calls = aggregate.aggr_expr.iter().map(|e| Call::of(e, look_up));
        let Some(calls) = calls.collect::<Result<Option<Vec<_>>>>()? else {
            return Ok(None);
        };
        let arguments = calls
            .iter()
            .flat_map(|c| c.argument.iter().chain(&c.filter));
        let arguments: Vec<&Expr> = arguments.collect();
        let mut parts = arguments.iter().copied().chain(&rows.filters);
        if keys.is_empty() || parts.any(|expr| has_subquery(expr) || expr.is_volatile()) {
            return Ok(None);
        }
        let table = &rows.metadata.table;
        let by: Vec<&str> = keys.iter().map(String::as_str).collect();
        let Some(keys) = KeyCodes::of(table, &by).await? else {
            return Ok(None);
        };
        let columns = arguments.iter().flat_map(|expr| expr.column_refs());
        let used: BTreeSet<&str> = columns.map(|column| column.name.as_str()).collect();
        let used: Vec<&str> = used.into_iter().collect();
        let columns = table.cached(&used).await.map_err(external)?;
        let batch = table.batch(&used, columns, table.rows as usize);
        let batch = batch.map_err(external)?;
        let names = batch.schema().to_dfschema()?;
        let measures = calls.iter().map(|call| call.measure(&names, state));
        let Some(measures) = measures.collect::<Result<Option<Vec<_>>>>()? else {
            return Ok(None);
        };
        let found = Self {
            by: by.join(", "),
            keys,
            table: table.clone(),
            rows: batch,
            left: rows.left(state).await?,
            measures,
        };
        Ok(found.fits().then_some(found))
    }

    fn fits(&self) -> bool {
        let each: usize = self.measures.iter().map(Accumulator::size).sum();
        self.keys.groups().saturating_mul(each + size_of::<u64>()) <= ROOM
    }

    fn about(&self) -> String {
        let table = &self.table.name;
        format!(
            "groups of {table} by {}, from the codes that are kept",
            self.by
        )
    }

    /// The rows of all groups. The columns are those of `plan`, named by number.
    async fn groups(self: Arc<Self>, plan: &LogicalPlan, threads: usize) -> Result<RecordBatch> {
        let rows = self.rows.num_rows();
        let threads = (rows / MANY).clamp(1, threads);
        let part = rows.div_ceil(threads);
        let mut parts = JoinSet::new();
        for first in (part..rows).step_by(part.max(1)) {
            let work = Arc::clone(&self);
            parts.spawn(async move { work.add(first, part.min(rows - first)).await });
        }
        let mut states = self.add(0, part.min(rows)).await?;
        while let Some(part) = parts.join_next().await {
            states.merge(&part.map_err(|e| external(task_error(e)))??);
        }
        self.finish(&states, plan)
    }

    /// Aggregates `len` rows, starting at row `first`.
    async fn add(&self, first: usize, len: usize) -> Result<GroupStates> {
        let mut states = GroupStates::new(self.keys.groups(), &self.measures);
        let (mut at, end) = (first, first + len);
        while at < end {
            let morsel = MORSEL.min(end - at);
            self.place(at, morsel, &mut states.slots);
            states.add(&self.rows.slice(at, morsel), None, &self.measures)?;
            at += morsel;
            tokio::task::yield_now().await;
        }
        Ok(states)
    }

    /// Finds the group of each row. Rows that do not count get an extra slot.
    fn place(&self, at: usize, rows: usize, slots: &mut Vec<u32>) {
        slots.clear();
        slots.extend(self.keys.of_rows(at..at + rows));
        if let Some(left) = &self.left {
            let no_group = self.keys.groups() as u32;
            for (slot, left) in slots.iter_mut().zip(&left.slice(at, rows)) {
                *slot = if left { *slot } else { no_group };
            }
        }
    }

    fn finish(&self, states: &GroupStates, plan: &LogicalPlan) -> Result<RecordBatch> {
        let kept = states.with_rows();
        let schema = numbered(plan);
        let mut columns = self.keys.values(&kept)?;
        let fields = &schema.fields()[columns.len()..];
        columns.extend(states.results(&kept, fields)?);
        let columns = columns.iter().zip(schema.fields());
        let columns = columns.map(|(column, field)| cast(column, field.data_type()));
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        Ok(RecordBatch::try_new(schema, columns)?)
    }
}
