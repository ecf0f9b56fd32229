//! Joins in Polars, if they cannot multiply rows: Polars runs a join as a whole,
//! and nothing can interrupt it.

use datafusion::common::{JoinType, NullEquality};
use datafusion::logical_expr::{
    Aggregate, Distinct, Expr, Filter, Join, LogicalPlan, Projection, Sort, SubqueryAlias,
};
use polars::prelude::{JoinArgs, JoinCoalesce, JoinType as PlJoinType, LazyFrame, PlSmallStr, col};

use super::named_columns::{FreshNames, Part, Scope};
use super::plan_shapes::tells_rows_apart;
use super::types::is_float;
use super::unsupported::{Lowered, refuse};
use crate::query::sources::plan_facts::plain_column;

/// The Polars type of a join; refuses joins that may multiply rows.
pub(super) fn kind(join: &Join) -> Lowered<PlJoinType> {
    let Join {
        left,
        right,
        on,
        filter,
        join_type,
        join_constraint: _,
        schema: _,
        null_equality: _,
        null_aware,
    } = join;
    if *null_aware {
        return refuse("NOT IN with a subquery");
    }
    let kind = match join_type {
        JoinType::Inner => PlJoinType::Inner,
        JoinType::Left => PlJoinType::Left,
        JoinType::Right => PlJoinType::Right,
        JoinType::Full => PlJoinType::Full,
        JoinType::LeftSemi | JoinType::RightSemi => PlJoinType::Semi,
        JoinType::LeftAnti | JoinType::RightAnti => PlJoinType::Anti,
        JoinType::LeftMark | JoinType::RightMark => return refuse("EXISTS beside OR"),
    };
    if on.is_empty() {
        return refuse("a join without equal keys");
    }
    if filter.is_some() && kind != PlJoinType::Inner {
        return refuse("an outer join with another condition");
    }
    let (of_left, of_right) = keys(join);
    if !looks_up(&kind) && !is_unique(left, &of_left) && !is_unique(right, &of_right) {
        return refuse("a join that may make many rows");
    }
    Ok(kind)
}

fn keys(join: &Join) -> (Vec<&Expr>, Vec<&Expr>) {
    join.on.iter().map(|(l, r)| (l, r)).unzip()
}

fn looks_up(kind: &PlJoinType) -> bool {
    matches!(kind, PlJoinType::Semi | PlJoinType::Anti)
}

/// Joins the rows of both sides.
pub(super) fn joined(
    fresh: &mut FreshNames,
    join: &Join,
    kind: PlJoinType,
    l: Part,
    r: Part,
) -> Lowered<Part> {
    let (left, right) = (l.scope(&join.left), r.scope(&join.right));
    for (of_left, of_right) in &join.on {
        let dtypes = (left.dtype(of_left)?, right.dtype(of_right)?);
        if dtypes.0 != dtypes.1 || is_float(&dtypes.0) || dtypes.0.is_nested() {
            return refuse("a join of keys of two types, or of floats");
        }
    }
    let (of_left, of_right) = keys(join);
    let (left_frame, left_on) = keyed(fresh, &l, &left, &of_left)?;
    let (right_frame, right_on) = keyed(fresh, &r, &right, &of_right)?;
    let looks_up = looks_up(&kind);
    let mut args = JoinArgs::new(kind);
    args.nulls_equal = join.null_equality == NullEquality::NullEqualsNull;
    args.coalesce = JoinCoalesce::KeepColumns;
    let from_right = matches!(join.join_type, JoinType::RightSemi | JoinType::RightAnti);
    let by = |names: Vec<PlSmallStr>| names.into_iter().map(col).collect::<Vec<_>>();
    let frame = match from_right {
        true => right_frame.join(left_frame, by(right_on), by(left_on), args),
        false => left_frame.join(right_frame, by(left_on), by(right_on), args),
    };
    let names = match (looks_up, from_right) {
        (true, true) => r.names,
        (true, false) => l.names,
        _ => [l.names, r.names].concat(),
    };
    let mut part = Part { frame, names };
    if let Some(filter) = &join.filter {
        let scope = Scope {
            schema: &join.schema,
            names: &part.names,
        };
        let filter = scope.expr(filter)?;
        part.frame = part.frame.filter(filter);
    }
    Ok(part)
}

/// The frame, with its keys added as columns.
fn keyed(
    fresh: &mut FreshNames,
    part: &Part,
    scope: &Scope<'_>,
    keys: &[&Expr],
) -> Lowered<(LazyFrame, Vec<PlSmallStr>)> {
    let names: Vec<PlSmallStr> = keys.iter().map(|_| fresh.next()).collect();
    let columns = keys.iter().zip(&names);
    let columns = columns.map(|(key, name)| Ok(scope.expr(key)?.alias(name.clone())));
    let columns = columns.collect::<Lowered<Vec<_>>>()?;
    Ok((part.frame.clone().with_columns(columns), names))
}

/// Whether all rows of `plan` have different `keys`.
fn is_unique(plan: &LogicalPlan, keys: &[&Expr]) -> bool {
    let places: Option<Vec<usize>> = keys
        .iter()
        .map(|key| plan.schema().maybe_index_of_column(&plain_column(key)?))
        .collect();
    places.is_some_and(|places| has_unique(plan, &places))
}

fn has_unique(plan: &LogicalPlan, places: &[usize]) -> bool {
    match plan {
        LogicalPlan::SubqueryAlias(SubqueryAlias { input, .. })
        | LogicalPlan::Filter(Filter { input, .. })
        | LogicalPlan::Sort(Sort { input, .. }) => has_unique(input, places),
        LogicalPlan::Projection(Projection { expr, input, .. }) => {
            let below: Option<Vec<usize>> = places
                .iter()
                .filter_map(|place| plain_column(&expr[*place]))
                .map(|column| input.schema().maybe_index_of_column(&column))
                .collect();
            below.is_some_and(|below| !below.is_empty() && has_unique(input, &below))
        }
        LogicalPlan::Aggregate(Aggregate { group_expr, .. }) => {
            (0..group_expr.len()).all(|key| places.contains(&key))
        }
        LogicalPlan::Distinct(Distinct::All(input)) => {
            (0..input.schema().fields().len()).all(|key| places.contains(&key))
        }
        LogicalPlan::TableScan(scan) => tells_rows_apart(scan, places),
        _ => false,
    }
}
