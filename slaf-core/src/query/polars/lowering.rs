//! Converts a plan to a `LazyFrame`, node by node.

use std::sync::Arc;

use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::{
    Aggregate, Distinct, EmptyRelation, Expr, Filter, Limit, LogicalPlan, Projection, Sort,
    SubqueryAlias, Union, Values, Window,
};
use polars::prelude::{
    Column, DataFrame, IntoLazy, LazyFrame, PlSmallStr, UnionArgs, UniqueKeepStrategy, col, concat,
};

use super::columns::{column, frame};
use super::expressions::is_constant;
use super::joins;
use super::named_columns::{FreshNames, Part, columns, is_column};
use super::plan_shapes;
use super::sorting::sorted;
use super::types::dtype;
use super::unsupported::{Lowered, refuse};
use super::windows::windows;

/// Converts `plan` to a frame with the columns of the plan's schema, in the same order.
/// `leaf` returns the rows of a part of the plan that is read as a whole.
pub(crate) fn lower(
    plan: &LogicalPlan,
    leaf: &mut dyn FnMut(&LogicalPlan) -> Lowered<DataFrame>,
) -> Lowered<LazyFrame> {
    let part = Lowering {
        leaf,
        fresh: FreshNames::default(),
    }
    .node(plan)?;
    for field in plan.schema().fields() {
        if field.data_type().is_null() {
            return refuse("a column of nothing but NULL");
        }
    }
    if part.names.is_empty() {
        return refuse("an answer without columns");
    }
    Ok(part.frame.select(columns(&part.names)))
}

struct Lowering<'a> {
    leaf: &'a mut dyn FnMut(&LogicalPlan) -> Lowered<DataFrame>,
    fresh: FreshNames,
}

impl Lowering<'_> {
    fn node(&mut self, plan: &LogicalPlan) -> Lowered<Part> {
        match plan {
            LogicalPlan::TableScan(_) => self.leaf(plan),
            LogicalPlan::Aggregate(_) | LogicalPlan::Join(_) if plan_shapes::is_of_values(plan) => {
                self.leaf(plan)
            }
            LogicalPlan::SubqueryAlias(SubqueryAlias { input, .. }) => self.node(input),
            LogicalPlan::Projection(Projection { expr, input, .. }) => self.project(expr, input),
            LogicalPlan::Filter(Filter {
                predicate, input, ..
            }) => self.filter(predicate, input),
            LogicalPlan::Aggregate(aggregate) => self.aggregate(aggregate),
            LogicalPlan::Sort(sort) => self.sort(sort),
            LogicalPlan::Limit(limit) => self.limit(limit),
            LogicalPlan::Distinct(Distinct::All(input)) => self.distinct(input),
            LogicalPlan::Union(Union { inputs, schema }) => self.union(inputs, schema),
            LogicalPlan::Join(join) => {
                let kind = joins::kind(join)?;
                let (left, right) = (self.node(&join.left)?, self.node(&join.right)?);
                joins::joined(&mut self.fresh, join, kind, left, right)
            }
            LogicalPlan::Window(Window {
                input, window_expr, ..
            }) => {
                let part = self.node(input)?;
                windows(&mut self.fresh, part, input.schema(), window_expr)
            }
            LogicalPlan::Values(Values { schema, values }) => self.values(schema, values),
            LogicalPlan::EmptyRelation(empty) => self.empty(empty),
            LogicalPlan::Distinct(Distinct::On(_)) => refuse("DISTINCT ON"),
            LogicalPlan::RecursiveQuery(_) => refuse("WITH RECURSIVE"),
            LogicalPlan::Unnest(_) => refuse("lists that are unnested"),
            LogicalPlan::Subquery(_) => refuse("a subquery of each row"),
            LogicalPlan::Extension(_)
            | LogicalPlan::Repartition(_)
            | LogicalPlan::Statement(_)
            | LogicalPlan::Explain(_)
            | LogicalPlan::Analyze(_)
            | LogicalPlan::Dml(_)
            | LogicalPlan::Ddl(_)
            | LogicalPlan::Copy(_)
            | LogicalPlan::DescribeTable(_) => refuse("a statement that is not a query"),
        }
    }

    fn filter(&mut self, predicate: &Expr, input: &LogicalPlan) -> Lowered<Part> {
        let part = self.node(input)?;
        let predicate = part.scope(input).expr(predicate)?;
        Ok(part.with(|frame| frame.filter(predicate)))
    }

    fn sort(&mut self, Sort { expr, input, fetch }: &Sort) -> Lowered<Part> {
        let part = self.node(input)?;
        let frame = sorted(part.frame.clone(), expr, &part.scope(input))?;
        Ok(part.with(|_| match fetch {
            Some(rows) => frame.limit(*rows as u64),
            None => frame,
        }))
    }

    fn limit(&mut self, Limit { skip, fetch, input }: &Limit) -> Lowered<Part> {
        let part = self.node(input)?;
        let skip = number(skip.as_deref())?.unwrap_or(0);
        let rows = number(fetch.as_deref())?.unwrap_or(i64::MAX);
        Ok(part.with(|frame| frame.slice(skip, rows as u64)))
    }

    fn distinct(&mut self, input: &LogicalPlan) -> Lowered<Part> {
        let part = self.node(input)?;
        if part.names.is_empty() {
            return refuse("DISTINCT without columns");
        }
        let all = columns(&part.names);
        Ok(part.with(|frame| frame.select(all).unique(None, UniqueKeepStrategy::Any)))
    }

    fn empty(&mut self, empty: &EmptyRelation) -> Lowered<Part> {
        let EmptyRelation {
            produce_one_row,
            schema,
        } = empty;
        match (schema.fields().is_empty(), produce_one_row) {
            (true, one) => self.of_rows(DataFrame::empty_with_height(usize::from(*one))),
            (false, false) => self.of_rows(frame(schema.as_arrow(), &[])?),
            (false, true) => refuse("a row of nothing but NULL"),
        }
    }

    fn leaf(&mut self, plan: &LogicalPlan) -> Lowered<Part> {
        let rows = (self.leaf)(plan)?;
        self.of_rows(rows)
    }

    /// Renames the columns of `rows` to new, unique names.
    fn of_rows(&mut self, mut rows: DataFrame) -> Lowered<Part> {
        let width = rows.width();
        if width == 0 {
            let name = self.fresh.next();
            let column = Column::new_scalar(name, 0i32.into(), rows.height());
            rows = DataFrame::new(rows.height(), vec![column]).map_err(|e| e.to_string())?;
            return Ok(Part {
                frame: rows.lazy(),
                names: vec![],
            });
        }
        let names: Vec<PlSmallStr> = (0..width).map(|_| self.fresh.next()).collect();
        rows.set_column_names(names.as_slice())
            .map_err(|e| e.to_string())?;
        Ok(Part {
            frame: rows.lazy(),
            names,
        })
    }

    /// Repeats literals for every row of the frame; Polars would return one row.
    fn project(&mut self, exprs: &[Expr], input: &LogicalPlan) -> Lowered<Part> {
        let part = self.node(input)?;
        if exprs.is_empty() {
            return Ok(Part {
                frame: part.frame,
                names: vec![],
            });
        }
        let scope = part.scope(input);
        let mut names = vec![];
        let mut found = vec![];
        for expr in exprs {
            let name = self.fresh.next();
            found.push(scope.expr(expr)?.alias(name.clone()));
            names.push(name);
        }
        let frame = match exprs.iter().all(is_column) {
            true => part.frame.select(found),
            false => part.frame.with_columns(found).select(columns(&names)),
        };
        Ok(Part { frame, names })
    }

    fn aggregate(&mut self, aggregate: &Aggregate) -> Lowered<Part> {
        let Aggregate {
            input,
            group_expr,
            aggr_expr,
            ..
        } = aggregate;
        let part = self.node(input)?;
        let scope = part.scope(input);
        let mut names = vec![];
        let mut keys = vec![];
        for expr in group_expr {
            if matches!(expr, Expr::GroupingSet(_)) {
                return refuse("ROLLUP, CUBE or GROUPING SETS");
            }
            if is_constant(expr) {
                return refuse("GROUP BY a constant");
            }
            let name = self.fresh.next();
            keys.push(scope.expr(expr)?.alias(name.clone()));
            names.push(name);
        }
        let (mut parts, mut measures) = (vec![], vec![]);
        for expr in aggr_expr {
            let measure = scope.aggregate(expr)?;
            let mut found = vec![];
            for part in &measure.parts {
                let name = self.fresh.next();
                parts.push(part.clone().alias(name.clone()));
                found.push(col(name));
            }
            let name = self.fresh.next();
            measures.push(measure.of(found)?.alias(name.clone()));
            names.push(name);
        }
        let frame = match (keys.is_empty(), parts.is_empty()) {
            (true, _) => part.frame.select(parts),
            (false, true) => {
                let keyed = part.frame.with_columns(keys).select(columns(&names));
                keyed.unique(None, UniqueKeepStrategy::Any)
            }
            (false, false) => part.frame.group_by(keys).agg(parts),
        };
        let frame = frame.with_columns(measures);
        Ok(Part { frame, names })
    }

    fn union(&mut self, inputs: &[Arc<LogicalPlan>], schema: &DFSchema) -> Lowered<Part> {
        if schema.fields().is_empty() {
            return refuse("a union without columns");
        }
        let names: Vec<PlSmallStr> = schema.fields().iter().map(|_| self.fresh.next()).collect();
        let mut frames = vec![];
        for input in inputs {
            let part = self.node(input)?;
            let columns = part.names.iter().zip(&names).zip(schema.fields());
            let columns = columns.map(|((from, to), field)| {
                let dtype = dtype(field.data_type())?;
                Ok(col(from.clone()).cast(dtype).alias(to.clone()))
            });
            frames.push(part.frame.select(columns.collect::<Lowered<Vec<_>>>()?));
        }
        let frame = concat(frames, UnionArgs::default()).map_err(|e| e.to_string())?;
        Ok(Part { frame, names })
    }

    fn values(&mut self, schema: &DFSchema, rows: &[Vec<Expr>]) -> Lowered<Part> {
        let mut columns = vec![];
        for (place, field) in schema.fields().iter().enumerate() {
            let values = rows.iter().map(|row| match &row[place] {
                Expr::Literal(value, _) => Ok(value.clone()),
                _ => refuse("VALUES that are computed"),
            });
            let values = values.collect::<Lowered<Vec<ScalarValue>>>()?;
            let array = ScalarValue::iter_to_array(values).map_err(|e| e.to_string())?;
            let name = self.fresh.next();
            let column = column(name.as_str(), &array)?;
            columns.push(
                column
                    .cast(&dtype(field.data_type())?)
                    .map_err(|e| e.to_string())?,
            );
        }
        let names = columns.iter().map(|c| c.name().clone()).collect();
        let rows = DataFrame::new(rows.len(), columns).map_err(|e| e.to_string())?;
        Ok(Part {
            frame: rows.lazy(),
            names,
        })
    }
}

fn number(expr: Option<&Expr>) -> Lowered<Option<i64>> {
    match expr {
        None => Ok(None),
        Some(Expr::Literal(ScalarValue::Int64(number), _)) => Ok(*number),
        Some(_) => refuse("a LIMIT that is computed"),
    }
}
