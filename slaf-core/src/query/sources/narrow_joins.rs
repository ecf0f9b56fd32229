//! Runs small tables first. What a query joins to `expression` is read before it,
//! so that only the rows of the remaining cells and genes are read.
//!
//! `… JOIN genes g … WHERE g.gene_id = 'CD3D'` becomes the rows of one gene.
//! DataFusion's own dynamic filters would come too late to choose between the two
//! copies of the table, and EXPLAIN could not say what will be read.

use std::sync::Arc;

use datafusion::common::{Column, JoinType};
use datafusion::datasource::{provider_as_source, source_as_provider};
use datafusion::error::Result;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{
    Aggregate, Distinct, Expr, Filter, Join, LogicalPlan, Projection, Sort, SubqueryAlias,
    TableScan,
};

use super::expression::{CELL, Expression, GENE, Wanted};
use super::materialised::{Materialised, held};
use super::metadata::Metadata;
use super::plan_facts::{expression_of, is_small, mentions_expression, plain_column};

/// Reads one side of a join if it is small, and removes rows of the other side that
/// match none of it.
pub(super) async fn narrow(join: Join, state: &SessionState) -> Result<LogicalPlan> {
    let mut join = join;
    if join.null_aware {
        return Ok(LogicalPlan::Join(join));
    }
    for small_is_left in [true, false] {
        let (small, big) = match small_is_left {
            true => (&join.left, &join.right),
            false => (&join.right, &join.left),
        };
        let matched = match join.join_type {
            JoinType::Inner | JoinType::LeftSemi | JoinType::RightSemi => true,
            JoinType::Left | JoinType::LeftAnti | JoinType::LeftMark => small_is_left,
            JoinType::Right | JoinType::RightAnti | JoinType::RightMark => !small_is_left,
            JoinType::Full => false,
        };
        if !matched || !mentions_expression(big) || !is_small(small) {
            continue;
        }
        if is_whole_axis(small) || held(small).is_some() {
            continue;
        }
        let keys: Vec<(Expr, Column)> = join
            .on
            .iter()
            .filter_map(|(left, right)| {
                let (of_small, of_big) = if small_is_left {
                    (left, right)
                } else {
                    (right, left)
                };
                Some((of_small.clone(), plain_column(of_big)?))
            })
            .filter(|(_, column)| trace(big, column).is_some())
            .collect();
        if keys.is_empty() {
            continue;
        }
        let read = Materialised::of(small, state).await?;
        let mut narrowed = (**big).clone();
        for (key, column) in keys {
            let Some((axis, len)) = trace(&narrowed, &column) else {
                continue;
            };
            let mask = read.ids(&key, len, state)?;
            let mut wanted = Wanted::default();
            match axis {
                CELL => wanted.cells = Some(mask),
                _ => wanted.genes = Some(mask),
            }
            narrowed = restrict(narrowed, &column, &wanted)?;
        }
        let small = Arc::new(read.scan(small)?);
        (join.left, join.right) = match small_is_left {
            true => (small, Arc::new(narrowed)),
            false => (Arc::new(narrowed), small),
        };
    }
    Ok(LogicalPlan::Join(join))
}

/// The input of `plan` that contains `column`, and the column there, if rows without
/// wanted values can be removed from that input.
fn below<'a>(plan: &'a LogicalPlan, column: &Column) -> Option<(usize, Column)> {
    let index = plan.schema().maybe_index_of_column(column)?;
    let of_input = |input: &'a LogicalPlan, index: usize| {
        let (relation, field) = input.schema().qualified_field(index);
        Column::new(relation.cloned(), field.name())
    };
    match plan {
        LogicalPlan::Projection(Projection { expr, .. }) => {
            Some((0, plain_column(expr.get(index)?)?))
        }
        LogicalPlan::SubqueryAlias(SubqueryAlias { input, .. }) => {
            Some((0, of_input(input, index)))
        }
        LogicalPlan::Filter(Filter { .. })
        | LogicalPlan::Distinct(Distinct::All(_))
        | LogicalPlan::Sort(Sort { fetch: None, .. }) => Some((0, column.clone())),
        LogicalPlan::Aggregate(Aggregate { group_expr, .. }) => {
            let key = group_expr.get(index)?;
            Some((0, plain_column(key)?))
        }
        LogicalPlan::Join(join) => {
            let in_left = join.left.schema().has_column(column);
            let kept = match join.join_type {
                JoinType::Inner => true,
                JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => {
                    in_left
                }
                JoinType::Right
                | JoinType::RightSemi
                | JoinType::RightAnti
                | JoinType::RightMark => !in_left,
                JoinType::Full => false,
            };
            (kept && !join.null_aware).then(|| (usize::from(!in_left), column.clone()))
        }
        _ => None,
    }
}

/// The id column of `expression` that a column comes from, and the number of ids.
fn trace(plan: &LogicalPlan, column: &Column) -> Option<(&'static str, u64)> {
    if let LogicalPlan::TableScan(scan) = plan {
        let (cells, genes) = expression_of(scan)
            .filter(|_| scan.fetch.is_none())?
            .dataset
            .shape();
        return match column.name.as_str() {
            CELL => Some((CELL, cells)),
            GENE => Some((GENE, genes)),
            _ => None,
        };
    }
    let (input, column) = below(plan, column)?;
    trace(plan.inputs().get(input)?, &column)
}

fn restrict(plan: LogicalPlan, column: &Column, wanted: &Wanted) -> Result<LogicalPlan> {
    if let LogicalPlan::TableScan(scan) = &plan {
        let Some(whole) = expression_of(scan) else {
            return Ok(plan);
        };
        let part = Expression {
            wanted: whole.wanted.and(wanted),
            ..whole
        };
        return Ok(LogicalPlan::TableScan(TableScan {
            source: provider_as_source(Arc::new(part)),
            ..scan.clone()
        }));
    }
    let Some((place, inner)) = below(&plan, column) else {
        return Ok(plan);
    };
    let mut inputs: Vec<LogicalPlan> = plan.inputs().into_iter().cloned().collect();
    let input = inputs.remove(place);
    inputs.insert(place, restrict(input, &inner, wanted)?);
    plan.with_new_exprs(plan.expressions(), inputs)
}

/// Whether `plan` returns all cells or all genes; joining them removes nothing.
fn is_whole_axis(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(Projection { input, .. })
        | LogicalPlan::SubqueryAlias(SubqueryAlias { input, .. }) => is_whole_axis(input),
        LogicalPlan::TableScan(scan) => {
            let columns = scan.source.schema();
            let of_axis = [CELL, GENE]
                .iter()
                .any(|id| columns.field_with_name(id).is_ok());
            let stored = source_as_provider(&scan.source);
            let stored = stored.is_ok_and(|provider| {
                let metadata = provider.downcast_ref::<Metadata>();
                metadata.is_some_and(|metadata| metadata.wanted.is_none())
            });
            of_axis && stored && scan.filters.is_empty() && scan.fetch.is_none()
        }
        _ => false,
    }
}
