//! Finds parts of plans that are rows of `cells` or `genes` in the order of their
//! table.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::buffer::BooleanBuffer;
use datafusion::common::{Column, ToDFSchema};
use datafusion::datasource::source_as_provider;
use datafusion::error::Result;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Expr, Filter, LogicalPlan, Projection, SubqueryAlias};

use super::errors::external;
use super::expression::{Mask, both};
use super::metadata::Metadata;
use super::plan_facts::in_terms_of;

/// Some rows of `cells` or `genes`, with computed columns.
pub(crate) struct MetadataRows {
    pub(crate) metadata: Metadata,
    /// Each column of the plan as an expression of the table's columns.
    columns: Vec<Expr>,
    pub(crate) filters: Vec<Expr>,
}

impl MetadataRows {
    /// `None` if `plan` is not of this form.
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

    /// Rewrites `expr`, an expression of the columns of `plan`, to one of the table's
    /// columns.
    pub(crate) fn look_up(&self, expr: &Expr, plan: &LogicalPlan) -> Result<Expr> {
        in_terms_of(&self.columns, expr, plan.schema())
    }

    /// The names of the columns in the table, if all are columns of it without
    /// computation.
    pub(crate) fn whole_columns(&self) -> Option<Vec<String>> {
        let names = self.columns.iter().map(|column| match column {
            Expr::Column(column) => Some(column.name.clone()),
            _ => None,
        });
        let whole = self.filters.is_empty() && self.metadata.wanted.is_none();
        names.collect::<Option<_>>().filter(|_| whole)
    }

    /// The rows that meet the filters; `None` for all rows.
    pub(crate) async fn left(&self, state: &SessionState) -> Result<Mask> {
        let mut left = self.metadata.wanted.clone();
        for filter in &self.filters {
            let kept = match self.kept_of_codes(filter, state).await? {
                Some(kept) => kept,
                None => {
                    let columns = filter.column_refs().into_iter();
                    let names: Vec<&str> = columns.map(|c| c.name.as_str()).collect();
                    let columns = self.metadata.table.cached(&names).await;
                    let rows = self.metadata.table.rows as usize;
                    self.kept(filter, &names, columns.map_err(external)?, rows, state)?
                }
            };
            left = both(&left, &Some(kept));
        }
        Ok(left)
    }

    /// The rows that meet `filter`, from the codes of its only column.
    async fn kept_of_codes(
        &self,
        filter: &Expr,
        state: &SessionState,
    ) -> Result<Option<BooleanBuffer>> {
        let columns: Vec<&Column> = filter.column_refs().into_iter().collect();
        let [column] = columns.as_slice() else {
            return Ok(None);
        };
        let (name, table) = (column.name.as_str(), &self.metadata.table);
        if !table.schema.field_with_name(name)?.data_type().is_string() {
            return Ok(None);
        }
        let codes = table.codes(&[name]).await.map_err(external)?;
        let Some(codes) = codes.as_ref().and_then(|codes| codes.first()) else {
            return Ok(None);
        };
        let values = Arc::clone(&codes.values);
        let rows = values.len();
        let kept = self.kept(filter, &[name], vec![values], rows, state)?;
        let of_rows = codes
            .codes
            .iter()
            .map(|code| kept.value(usize::from(*code)));
        Ok(Some(of_rows.collect()))
    }

    /// The rows of `columns` that meet `filter`.
    fn kept(
        &self,
        filter: &Expr,
        names: &[&str],
        columns: Vec<ArrayRef>,
        rows: usize,
        state: &SessionState,
    ) -> Result<BooleanBuffer> {
        let batch = self.metadata.table.batch(names, columns, rows);
        let batch = batch.map_err(external)?;
        let names = batch.schema().to_dfschema()?;
        let filter = state.create_physical_expr(filter.clone(), &names)?;
        let kept = filter.evaluate(&batch)?.into_array(rows)?;
        let kept = kept.as_boolean();
        Ok(match kept.nulls() {
            Some(known) => kept.values() & known.inner(),
            None => kept.values().clone(),
        })
    }
}
