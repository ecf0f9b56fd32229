//! Finds parts of plans that are rows of `cells` or `genes` in the order of their
//! table.

use datafusion::common::Column;
use datafusion::datasource::source_as_provider;
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, Filter, LogicalPlan, Projection, SubqueryAlias};

use super::metadata::Metadata;
use super::plan_facts::in_terms_of;

/// Rows of `cells` or `genes`, some of them, with computed columns.
pub(crate) struct MetadataRows {
    pub(crate) metadata: Metadata,
    /// Each column in terms of those of the table.
    columns: Vec<Expr>,
    pub(crate) filters: Vec<Expr>,
}

impl MetadataRows {
    /// None: `plan` does something else.
    pub(crate) fn of(plan: &LogicalPlan) -> Result<Option<Self>> {
        match plan {
            LogicalPlan::TableScan(scan) => {
                let provider = source_as_provider(&scan.source)?;
                let schema = scan.projected_schema.as_arrow();
                let metadata = provider.downcast_ref::<Metadata>();
                let metadata = metadata.filter(|m| scan.fetch.is_none() && m.fits(schema));
                let columns = schema.fields().iter();
                let columns = columns.map(|f| Expr::Column(Column::new_unqualified(f.name())));
                Ok(metadata.map(|metadata| Self {
                    metadata: metadata.clone(),
                    columns: columns.collect(),
                    filters: vec![],
                }))
            }
            LogicalPlan::SubqueryAlias(SubqueryAlias { input, .. }) => Self::of(input),
            LogicalPlan::Projection(Projection { input, expr, .. }) => {
                let Some(mut rows) = Self::of(input)? else {
                    return Ok(None);
                };
                let columns = expr.iter().map(|e| rows.look_up(e, input));
                rows.columns = columns.collect::<Result<_>>()?;
                Ok(Some(rows))
            }
            LogicalPlan::Filter(Filter {
                input, predicate, ..
            }) => {
                let Some(mut rows) = Self::of(input)? else {
                    return Ok(None);
                };
                rows.filters.push(rows.look_up(predicate, input)?);
                Ok(Some(rows))
            }
            _ => Ok(None),
        }
    }

    /// `expr`, whose columns are those of `plan`, in terms of those of the table.
    pub(crate) fn look_up(&self, expr: &Expr, plan: &LogicalPlan) -> Result<Expr> {
        in_terms_of(&self.columns, expr, plan.schema())
    }

    /// The names of the columns in the table, if they are whole columns of it.
    pub(crate) fn whole_columns(&self) -> Option<Vec<String>> {
        let names = self.columns.iter().map(|column| match column {
            Expr::Column(column) => Some(column.name.clone()),
            _ => None,
        });
        let whole = self.filters.is_empty() && self.metadata.wanted.is_none();
        names.collect::<Option<_>>().filter(|_| whole)
    }
}
