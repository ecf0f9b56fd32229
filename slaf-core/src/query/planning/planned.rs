//! A planned statement: names and types are resolved, and filters are pushed down.

use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::error::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use datafusion::sql::parser::Statement as DfStatement;
use sqlparser::ast::{Query, Statement, Visit, Visitor};

use super::datafusion_errors::explain;
use super::known_plans::Question;
use super::tables::register;
use crate::query::catalog::Catalog;
use crate::query::dialect::session;
use crate::query::request::Options;
use crate::query::sources::reduce_reads::reduce_reads;
use crate::{Error, Result};

/// A planned statement, which is the input of both executors. Names and types are
/// resolved, and filters and projections are pushed down.
pub(crate) struct Planned {
    pub(crate) state: SessionState,
    pub(crate) schema: SchemaRef,
    pub(crate) plan: LogicalPlan,
    uri: String,
}

/// Plans `statement`, which must be a query. Small tables that it joins to `expression`
/// are read here. Joins are hash joins, or, with `sorted_joins`, merge joins, which are slower
/// but can spill.
pub(crate) async fn plan(
    catalog: &Catalog,
    statement: Statement,
    options: &Options,
    sorted_joins: bool,
) -> Result<Planned> {
    let uri = catalog.uri();
    let outcome = async {
        let state = session::begin(options.memory, sorted_joins, is_recursive(&statement))?;
        register(&state, catalog, &options.reading)?;
        let question = Question::of(catalog, &statement, options.limit);
        let known = match &question {
            Some(question) => question.recall(catalog, &state).await?,
            None => None,
        };
        if let Some((schema, plan)) = known {
            let plan = reduce_reads(plan, &state).await?;
            return Ok((state, schema, plan));
        }
        let statement = DfStatement::Statement(Box::new(statement));
        let plan = state.statement_to_plan(statement).await?;
        let schema: SchemaRef = Arc::new(plan.schema().as_arrow().clone());
        let plan = match options.limit {
            Some(rows) => LogicalPlanBuilder::from(plan)
                .limit(0, Some(rows))?
                .build()?,
            None => plan,
        };
        let optimized = state.optimize(&plan)?;
        if let Some(question) = question {
            question
                .keep(catalog, &state, &plan, &schema, &optimized)
                .await?;
        }
        let plan = reduce_reads(optimized, &state).await?;
        Ok((state, schema, plan))
    };
    let (state, schema, plan) = outcome
        .await
        .map_err(|e: DataFusionError| explain(&e, &uri))?;
    Ok(Planned {
        state,
        schema,
        plan,
        uri,
    })
}

impl Planned {
    /// Converts DataFusion's error to ours.
    pub(crate) fn failure(&self, error: &DataFusionError) -> Error {
        explain(error, &self.uri)
    }
}

fn is_recursive(statement: &Statement) -> bool {
    struct Recursive;
    impl Visitor for Recursive {
        type Break = ();
        fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
            match query.with.as_ref().is_some_and(|with| with.recursive) {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        }
    }
    statement.visit(&mut Recursive).is_break()
}
