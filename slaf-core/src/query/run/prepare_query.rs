//! Prepares a query: binds and plans it, and chooses its executor.

use sqlparser::ast::Statement;

use crate::query::catalog::Catalog;
use crate::query::datafusion::Running;
use crate::query::language::bind_names::bind_names;
use crate::query::language::params::{self, Params};
use crate::query::language::{join_using, rewrite};
use crate::query::planning::planned::{Planned, plan};
use crate::query::polars::Leaves;
use crate::query::request::{Answer, Engine, Options};
use crate::{Error, Result};

/// A query that is ready to run.
pub(super) struct Prepared {
    pub(super) planned: Planned,
    /// The inputs of the plan in Polars; `None` if DataFusion runs it.
    pub(super) leaves: Option<Leaves>,
    pub(super) reason: String,
    pub(super) warnings: Vec<String>,
    /// The statement, to plan it again with other joins.
    pub(super) statement: Statement,
}

pub(super) async fn prepare(
    catalog: &Catalog,
    mut statement: Statement,
    params: &Params,
    options: &Options,
) -> Result<Prepared> {
    params::bind(&mut statement, params)?;
    let warnings = bind_names(&mut statement, catalog)?;
    join_using::write_out(&mut statement, catalog)?;
    rewrite::for_datafusion(&mut statement)?;
    let planned = plan(catalog, statement.clone(), options, false).await?;
    let lowered = match options.engine {
        Some(Engine::DataFusion) => Err("asked for".to_owned()),
        _ => Leaves::of(&planned).await,
    };
    let (leaves, reason) = match (lowered, options.engine) {
        (Ok(leaves), Some(_)) => (Some(leaves), "asked for".to_owned()),
        (Ok(leaves), None) => match leaves.slower() {
            None => (Some(leaves), "it answers right".to_owned()),
            Some(reason) => (None, reason.to_owned()),
        },
        (Err(reason), Some(Engine::Polars)) => {
            return Err(Error::Sql {
                message: format!("Polars does not run this statement: {reason}."),
                hint: Some("Leave out the engine, so that one is chosen.".into()),
            });
        }
        (Err(reason), _) => (None, reason),
    };
    Ok(Prepared {
        planned,
        leaves,
        reason,
        warnings,
        statement,
    })
}

impl Prepared {
    pub(super) fn engine(&self) -> Engine {
        match self.leaves {
            Some(_) => Engine::Polars,
            None => Engine::DataFusion,
        }
    }

    pub(super) async fn run(self, catalog: &Catalog, options: &Options) -> Result<Answer> {
        let Self {
            planned,
            leaves,
            mut reason,
            warnings,
            statement,
        } = self;
        let mut found = None;
        if let Some(leaves) = leaves {
            match leaves.run(&planned, options.memory).await? {
                Ok(answered) => found = Some(answered),
                // DataFusion runs the statement instead. If the statement is wrong, its
                // error says why.
                Err(failure) => reason = failure,
            }
        }
        let engine = match found {
            Some(_) => Engine::Polars,
            None => Engine::DataFusion,
        };
        let (schema, batches) = match found {
            Some(answered) => answered,
            None => match Running::of(planned).await?.run(options.memory).await {
                Err(Error::Memory { .. }) => {
                    let planned = plan(catalog, statement, options, true).await?;
                    Running::of(planned).await?.run(options.memory).await?
                }
                answered => answered?,
            },
        };
        Ok(Answer {
            schema,
            batches,
            engine,
            reason,
            warnings,
        })
    }
}
