//! Properties of plans by which we choose the executor and what is read as a whole.

use datafusion::common::tree_node::TreeNode;
use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::{Filter, LogicalPlan, Projection, Sort, SubqueryAlias, TableScan};

use super::named_columns::is_column;
use crate::query::sources::expression::{CELL, GENE};
use crate::query::sources::frame_provider::MemoryTable;
use crate::query::sources::materialised::RESOLVED;
use crate::query::sources::metadata::Metadata;
use crate::query::sources::plan_facts::expression_of;

/// Whether `plan`, which is not a table, works on values and is read as a whole.
pub(super) fn is_of_values(plan: &LogicalPlan) -> bool {
    plan.inputs().into_iter().any(|input| match input {
        LogicalPlan::Aggregate(_) => false,
        LogicalPlan::TableScan(scan) => expression_of(scan).is_some(),
        other => is_of_values(other),
    })
}

/// Whether `plan` returns the rows of a table.
fn is_of_rows(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(Projection { input, .. })
        | LogicalPlan::Filter(Filter { input, .. })
        | LogicalPlan::SubqueryAlias(SubqueryAlias { input, .. }) => is_of_rows(input),
        LogicalPlan::TableScan(scan) => scan.table_name.table() != RESOLVED,
        _ => false,
    }
}

/// Whether `plan` has window functions; they depend on the order of rows.
pub(super) fn has_windows(plan: &LogicalPlan) -> bool {
    plan.exists(|node| Ok(matches!(node, LogicalPlan::Window(_))))
        .unwrap_or(true)
}

/// Whether `plan` is an input with its columns in some order.
pub(super) fn is_passed_on(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(Projection { expr, input, .. }) => {
            expr.iter().all(is_column) && is_passed_on(input)
        }
        LogicalPlan::SubqueryAlias(SubqueryAlias { input, .. }) => is_passed_on(input),
        LogicalPlan::TableScan(_) => true,
        LogicalPlan::Aggregate(_) | LogicalPlan::Join(_) => is_of_values(plan),
        _ => false,
    }
}

/// Whether `plan` sorts a table and takes the first rows.
pub(super) fn is_of_first_rows(plan: &LogicalPlan) -> bool {
    let found = plan.exists(|node| {
        Ok(match node {
            LogicalPlan::Sort(Sort { fetch, input, .. }) => fetch.is_some() && is_of_rows(input),
            _ => false,
        })
    });
    found.unwrap_or(false)
}

/// Whether all rows of a scan differ in the columns at `places`.
pub(super) fn tells_rows_apart(scan: &TableScan, places: &[usize]) -> bool {
    let Ok(provider) = source_as_provider(&scan.source) else {
        return false;
    };
    let columns = scan.projected_schema.as_arrow();
    let names: Vec<&String> = places.iter().map(|p| columns.field(*p).name()).collect();
    if let Some(held) = provider.downcast_ref::<MemoryTable>() {
        let mut keys = held.schema.fields()[..held.keys].iter();
        return held.keys > 0 && keys.all(|key| names.contains(&key.name()));
    }
    provider.is::<Metadata>() && names.iter().any(|name| *name == CELL || *name == GENE)
}
