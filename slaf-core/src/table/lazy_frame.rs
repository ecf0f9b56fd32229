//! A Lance table as a Polars `LazyFrame`. Lance applies the projection, and as much
//! of the predicate as it understands. Polars then applies the whole predicate to
//! the rows that come back, so that its meaning decides.

use std::any::Any;
use std::sync::Arc;

use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef as ArrowSchemaRef;
use datafusion::logical_expr::Expr as Filter;
use datafusion::prelude::{Column as FilterColumn, lit};
use futures::TryStreamExt;
use lance::io::RecordBatchStream;
use polars::error::PolarsResult;
use polars::prelude::{
    AnonymousScan, AnonymousScanArgs, AnyValue, DataFrame, Expr, IntoLazy, LazyFrame, Operator,
    PolarsError, ScanArgsAnonymous, SchemaRef,
};

use super::lance_table::Table;
use crate::ground::arrow_polars::to_polars;
use crate::{Error, Result, runtime};

/// The table as a `LazyFrame`. Nothing is read until it is collected.
pub fn lazy_frame(table: &Table) -> Result<LazyFrame> {
    let empty = arrow::array::RecordBatch::new_empty(Arc::clone(&table.schema));
    let schema: SchemaRef = Arc::clone(to_polars(&empty)?.schema());
    let args = ScanArgsAnonymous {
        schema: Some(schema),
        name: "LANCE SCAN",
        ..ScanArgsAnonymous::default()
    };
    Ok(LazyFrame::anonymous_scan(
        Arc::new(LanceScan(table.clone())),
        args,
    )?)
}

struct LanceScan(Table);

impl AnonymousScan for LanceScan {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn allows_predicate_pushdown(&self) -> bool {
        true
    }

    fn allows_projection_pushdown(&self) -> bool {
        true
    }

    fn scan(&self, args: AnonymousScanArgs) -> PolarsResult<DataFrame> {
        let columns = args
            .with_columns
            .map(|names| names.iter().map(|n| n.to_string()).collect());
        let predicate = args.predicate.and_then(evaluable);
        let filter = predicate.as_ref().and_then(pushable);
        let limit = args.n_rows.filter(|_| predicate.is_none());
        let read = read(self.0.clone(), columns, filter, limit);
        let frame = runtime::wait(read, || false)
            .map_err(|e| PolarsError::ComputeError(e.for_people().into()))?;
        match predicate {
            Some(predicate) => frame.lazy().filter(predicate).collect(),
            None => Ok(frame),
        }
    }
}

async fn read(
    table: Table,
    columns: Option<Vec<String>>,
    filter: Option<Filter>,
    limit: Option<usize>,
) -> Result<DataFrame> {
    let batches = async {
        let mut scanner = table.lance.scan();
        if let Some(columns) = &columns {
            scanner.project(columns)?;
        }
        if let Some(filter) = filter {
            scanner.filter_expr(filter);
        }
        scanner.limit(limit.map(|n| n as i64), None)?;
        let stream = scanner.try_into_stream().await?;
        let schema: ArrowSchemaRef = stream.schema();
        Ok((schema, stream.try_collect::<Vec<_>>().await?))
    };
    let (schema, batches) = batches
        .await
        .map_err(|e: lance::Error| table.unreadable(&e))?;
    let read = concat_batches(&schema, &batches).map_err(Error::from)?;
    to_polars(&table.with_nulls(read)?)
}

/// The predicate without the hints that the optimizer adds for ORDER BY … LIMIT, which
/// cannot be evaluated here and may be ignored.
fn evaluable(predicate: Expr) -> Option<Expr> {
    match predicate {
        Expr::BinaryExpr {
            left,
            op: Operator::And,
            right,
        } => {
            let (left, right) = (evaluable((*left).clone()), evaluable((*right).clone()));
            match (left, right) {
                (Some(left), Some(right)) => Some(left.and(right)),
                (one, other) => one.or(other),
            }
        }
        other => {
            let hint = other.into_iter().any(|e| matches!(e, Expr::Display { .. }));
            (!hint).then_some(other)
        }
    }
}

/// The conditions of a conjunction that Lance can evaluate.
fn pushable(predicate: &Expr) -> Option<Filter> {
    let Expr::BinaryExpr { left, op, right } = predicate else {
        return None;
    };
    if *op == Operator::And {
        return match (pushable(left), pushable(right)) {
            (Some(left), Some(right)) => Some(left.and(right)),
            (one, other) => one.or(other),
        };
    }
    if *op == Operator::Or {
        return Some(pushable_whole(left)?.or(pushable_whole(right)?));
    }
    let (Expr::Column(name), Expr::Literal(value)) = (&**left, &**right) else {
        return None;
    };
    let column = Filter::Column(FilterColumn::from_name(name.as_str()));
    let value = match value.to_any_value()? {
        AnyValue::String(text) => lit(text.to_owned()),
        AnyValue::StringOwned(text) => lit(text.to_string()),
        AnyValue::Boolean(value) => lit(value),
        AnyValue::Int32(value) => lit(i64::from(value)),
        AnyValue::Int64(value) => lit(value),
        AnyValue::Int128(value) => lit(i64::try_from(value).ok()?),
        AnyValue::Float64(value) => lit(value),
        _ => return None,
    };
    match op {
        Operator::Eq => Some(column.eq(value)),
        Operator::NotEq => Some(column.not_eq(value)),
        Operator::Lt => Some(column.lt(value)),
        Operator::LtEq => Some(column.lt_eq(value)),
        Operator::Gt => Some(column.gt(value)),
        Operator::GtEq => Some(column.gt_eq(value)),
        _ => None,
    }
}

/// A side of an OR, which can be pushed down only as a whole.
fn pushable_whole(predicate: &Expr) -> Option<Filter> {
    match predicate {
        Expr::BinaryExpr {
            left,
            op: Operator::And,
            right,
        } => Some(pushable_whole(left)?.and(pushable_whole(right)?)),
        other => pushable(other),
    }
}
