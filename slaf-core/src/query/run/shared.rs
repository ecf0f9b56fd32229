//! Statements whose aggregates over `expression` are computed by several processes.

use super::explain::explain;
use super::prepare_query::{Prepared, prepare};
use crate::query::catalog::Catalog;
use crate::query::language::params::Params;
use crate::query::language::parse::{Command, Parsed, parse};
use crate::query::request::{Answer, Options};
use crate::query::sources::shares::Shares;
use crate::{Error, Result};

/// A statement, and what other processes have computed of it.
pub struct Shared {
    prepared: Prepared,
    catalog: Catalog,
    options: Options,
    /// For EXPLAIN, whether it also runs.
    explained: Option<bool>,
    shares: Shares,
    taken: usize,
}

impl Shared {
    /// `None` if `sql` is no query.
    pub async fn of(
        catalog: Catalog,
        sql: &str,
        params: &Params,
        options: Options,
    ) -> Result<Option<Self>> {
        let Parsed { command, query, .. } = parse(sql)?;
        let explained = match command {
            Command::Explain(analyze) => Some(analyze),
            Command::ShowTables | Command::Describe(_) | Command::Summarize => return Ok(None),
            _ => None,
        };
        let Some(query) = query else { return Ok(None) };
        let prepared = prepare(&catalog, query, params, &options).await?;
        // If planning has read values, each process would read them.
        let shares = match options.reading.rows().0 {
            0 => shares(&prepared)?,
            _ => Shares::none(),
        };
        shares.leave_to_others();
        Ok(Some(Self {
            prepared,
            catalog,
            options,
            explained,
            shares,
            taken: 0,
        }))
    }

    /// The number of parts that have to be taken before it runs.
    pub fn parts(&self) -> usize {
        match self.explained {
            Some(false) => 0,
            _ => self.shares.parts(),
        }
    }

    /// Takes the next part, as [`part`] returns it.
    pub fn take(&mut self, state: &[u8]) -> Result<()> {
        let taken = self.shares.take(self.taken, state);
        self.taken += 1;
        taken.map_err(|e| self.prepared.planned.failure(&e))
    }

    pub async fn run(self) -> Result<Answer> {
        if self.taken != self.parts() {
            return Err(Error::Engine {
                message: format!(
                    "Only {} of {} parts have arrived.",
                    self.taken,
                    self.parts()
                ),
            });
        }
        match self.explained {
            Some(analyze) => explain(self.prepared, analyze, &self.options).await,
            None => self.prepared.run(&self.catalog, &self.options).await,
        }
    }
}

/// A part of the statement `sql`, for [`Shared::take`] in another process.
pub async fn part(
    catalog: &Catalog,
    sql: &str,
    params: &Params,
    options: &Options,
    number: usize,
) -> Result<Vec<u8>> {
    let Some(query) = parse(sql)?.query else {
        return Err(Error::Engine {
            message: "The statement is not a query.".into(),
        });
    };
    let prepared = prepare(catalog, query, params, options).await?;
    let state = shares(&prepared)?.part(number).await;
    state.map_err(|e| prepared.planned.failure(&e))
}

fn shares(prepared: &Prepared) -> Result<Shares> {
    Shares::of(&prepared.planned.plan).map_err(|e| prepared.planned.failure(&e))
}
