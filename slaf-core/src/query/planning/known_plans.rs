//! Plans of earlier statements. A plan depends on the columns of the tables, not on their
//! rows. So it is kept without the tables, and uses those of the session that runs the
//! statement again.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::datasource::provider_as_source;
use datafusion::error::Result;
use datafusion::execution::SessionState;
use datafusion::logical_expr::logical_plan::builder::LogicalTableSource;
use datafusion::logical_expr::{Expr, LogicalPlan, TableScan, TableSource, Volatility};
use datafusion::sql::TableReference;
use quick_cache::sync::Cache;
use sqlparser::ast::Statement;

use crate::query::catalog::Catalog;

static PLANS: LazyLock<Cache<Question, Arc<Known>>> = LazyLock::new(|| Cache::new(MOST));
const MOST: usize = 256;

/// The key of a kept plan: the statement, and the handles that it can name.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Question {
    /// The statement with all names resolved and all values inserted.
    statement: Statement,
    limit: Option<usize>,
    handles: Vec<String>,
    default: Option<usize>,
}

struct Known {
    /// The schemas of the tables of all handles.
    tables: Vec<SchemaRef>,
    /// The schema of the answer.
    schema: SchemaRef,
    plan: LogicalPlan,
}

impl Question {
    /// `None` if a table exists only for this statement, so that its plan cannot be kept.
    pub(super) fn of(
        catalog: &Catalog,
        statement: &Statement,
        limit: Option<usize>,
    ) -> Option<Self> {
        let lasting = catalog.frames.is_empty() && catalog.handles.iter().all(|h| h.is_whole());
        lasting.then(|| Self {
            statement: statement.clone(),
            limit,
            handles: catalog.handles.iter().map(|h| h.name.clone()).collect(),
            default: catalog.default,
        })
    }

    /// The schema of the answer and the optimized plan over the tables of `state`.
    pub(super) async fn recall(
        &self,
        catalog: &Catalog,
        state: &SessionState,
    ) -> Result<Option<(SchemaRef, LogicalPlan)>> {
        let Some(known) = PLANS.get(self) else {
            return Ok(None);
        };
        let (before, now) = (&known.tables, schemas(catalog));
        if before.len() != now.len() || !before.iter().zip(&now).all(|(a, b)| Arc::ptr_eq(a, b)) {
            return Ok(None);
        }
        let Some(tables) = sources(&known.plan, state).await? else {
            return Ok(None);
        };
        let plan = with_sources(&known.plan, |scan| Arc::clone(&tables[&scan.table_name]))?;
        Ok(Some((Arc::clone(&known.schema), plan)))
    }

    /// Keeps the `optimized` plan, unless that depends on the time at which it was made.
    pub(super) async fn keep(
        self,
        catalog: &Catalog,
        state: &SessionState,
        plan: &LogicalPlan,
        schema: &SchemaRef,
        optimized: &LogicalPlan,
    ) -> Result<()> {
        if !is_the_same_each_time(plan)? || sources(optimized, state).await?.is_none() {
            return Ok(());
        }
        let known = Known {
            tables: schemas(catalog),
            schema: Arc::clone(schema),
            plan: with_sources(optimized, |scan| {
                Arc::new(LogicalTableSource::new(scan.source.schema()))
            })?,
        };
        PLANS.insert(self, Arc::new(known));
        Ok(())
    }
}

fn schemas(catalog: &Catalog) -> Vec<SchemaRef> {
    let tables = catalog.handles.iter().flat_map(|h| h.dataset.tables());
    tables.map(|table| Arc::clone(&table.schema)).collect()
}

/// The tables that `plan` scans, by their names; `None` if a table has no lasting name.
async fn sources(
    plan: &LogicalPlan,
    state: &SessionState,
) -> Result<Option<HashMap<TableReference, Arc<dyn TableSource>>>> {
    let mut names = vec![];
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            names.push(scan.table_name.clone());
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    let mut found = HashMap::new();
    for name in names {
        let Ok(schema) = state.schema_for_ref(name.clone()) else {
            return Ok(None);
        };
        let Some(table) = schema.table(name.table()).await? else {
            return Ok(None);
        };
        found.insert(name, provider_as_source(table));
    }
    Ok(Some(found))
}

fn with_sources(
    plan: &LogicalPlan,
    source: impl Fn(&TableScan) -> Arc<dyn TableSource>,
) -> Result<LogicalPlan> {
    let replaced = plan.clone().transform_up_with_subqueries(|node| {
        Ok(match node {
            LogicalPlan::TableScan(mut scan) => {
                scan.source = source(&scan);
                Transformed::yes(LogicalPlan::TableScan(scan))
            }
            other => Transformed::no(other),
        })
    })?;
    Ok(replaced.data)
}

/// Whether no function of `plan` depends on the time (`now()`) or on chance.
fn is_the_same_each_time(plan: &LogicalPlan) -> Result<bool> {
    let varies = |expr: &Expr| {
        Ok(match expr {
            Expr::ScalarFunction(call) => call.func.signature().volatility != Volatility::Immutable,
            _ => false,
        })
    };
    let mut same = true;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            same &= !expr.exists(varies)?;
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    Ok(same)
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::Schema;
    use datafusion::datasource::empty::EmptyTable;
    use datafusion::functions::expr_fn::{now, random};
    use datafusion::logical_expr::{LogicalPlanBuilder, lit};

    use super::*;

    #[test]
    fn a_plan_is_kept_without_its_tables() -> Result<()> {
        let table = Arc::new(EmptyTable::new(Arc::new(Schema::empty())));
        let alive = Arc::downgrade(&table);
        let plan = LogicalPlanBuilder::scan("cells", provider_as_source(table), None)?.build()?;
        let kept = with_sources(&plan, |scan| {
            Arc::new(LogicalTableSource::new(scan.source.schema()))
        })?;
        drop(plan);
        assert!(alive.upgrade().is_none());
        assert_eq!(kept.to_string(), "TableScan: cells");
        Ok(())
    }

    #[test]
    fn a_plan_with_a_clock_is_not_the_same_each_time() -> Result<()> {
        for (expr, same) in [(lit(1), true), (now(), false), (random() + lit(1), false)] {
            let plan = LogicalPlanBuilder::empty(true).project([expr])?.build()?;
            assert_eq!(is_the_same_each_time(&plan)?, same);
        }
        Ok(())
    }
}
