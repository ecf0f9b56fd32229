//! `expression` as a DataFusion table: which filters it accepts, and the operator
//! that reads the rest.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::{Statistics, project_schema};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;

use super::scan::ExpressionScan;
use super::source::{Expression, axis};
use crate::query::sources::errors::external;

impl Expression {
    /// The operator that reads some columns, in any order of rows.
    pub(crate) async fn operator_in_any_order(
        &self,
        columns: &Vec<usize>,
        partitions: usize,
    ) -> Result<ExpressionScan> {
        let schema = project_schema(&self.table().schema, Some(columns))?;
        let path = self.path_in_any_order(&schema).await.map_err(external)?;
        let scan = ExpressionScan::new(self.clone(), schema, path, partitions, None);
        Ok(scan)
    }

    /// The operator that reads the table.
    pub(crate) async fn operator(
        &self,
        projection: Option<&Vec<usize>>,
        partitions: usize,
        limit: Option<usize>,
    ) -> Result<ExpressionScan> {
        let path = self.path().await.map_err(external)?;
        let table = &self.table().schema;
        let schema = project_schema(table, projection)?;
        Ok(ExpressionScan::new(
            self.clone(),
            schema,
            path,
            partitions,
            limit,
        ))
    }
}

#[async_trait]
impl TableProvider for Expression {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.table().schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        let support = |filter: &&Expr| match axis(filter) {
            Some(_) => TableProviderFilterPushDown::Exact,
            None => TableProviderFilterPushDown::Unsupported,
        };
        Ok(filters.iter().map(support).collect())
    }

    fn statistics(&self) -> Option<Statistics> {
        let rows = self.table().rows as usize;
        Some(Statistics::new_unknown(&self.schema()).with_num_rows(Precision::Inexact(rows)))
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let part = self.restricted(filters, session)?;
        let partitions = session.config().target_partitions();
        Ok(Arc::new(
            part.operator(projection, partitions, limit).await?,
        ))
    }
}
