//! Statements that Polars runs, translated clause by clause into a `LazyFrame`.
//!
//! Only what is known to mean the same in Polars is translated: one metadata
//! table, comparisons of a column with a literal of its own kind, plain
//! aggregates. Every struct of the syntax tree is taken apart by name, so that
//! a clause that a later parser adds does not compile until somebody has
//! decided about it. Anything else is an `Err` with the reason, and goes to
//! DataFusion.

use polars::prelude::{
    DataType, Expr as PlExpr, LazyFrame, NULL, PlSmallStr, Schema, SortMultipleOptions, col, len,
    lit, when,
};
use sqlparser::ast::{
    BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList,
    FunctionArguments, GroupByExpr, Ident, LimitClause, ObjectName, OrderBy, OrderByExpr,
    OrderByKind, OrderByOptions, Query, Select, SelectItem, SetExpr, Statement, TableFactor,
    TableWithJoins, UnaryOperator, Value, ValueWithSpan, WildcardAdditionalOptions,
};

use super::catalog::{Catalog, Named};
use super::parse::parts;
use crate::scan::lazy_frame;

/// Why Polars does not run a statement.
type Reason = String;
type Lowered<T> = Result<T, Reason>;

fn refuse<T>(reason: &str) -> Lowered<T> {
    Err(reason.to_owned())
}

pub(crate) fn to_polars(statement: &Statement, catalog: &Catalog) -> Lowered<LazyFrame> {
    let Statement::Query(query) = statement else {
        return refuse("not a SELECT");
    };
    let Query {
        with: None,
        body,
        order_by,
        limit_clause,
        fetch: None,
        locks,
        for_clause: None,
        settings: None,
        format_clause: None,
        pipe_operators,
    } = &**query
    else {
        return refuse("WITH, FETCH or another clause around the SELECT");
    };
    let (true, true, SetExpr::Select(select)) =
        (locks.is_empty(), pipe_operators.is_empty(), &**body)
    else {
        return refuse("a set operation or a nested query");
    };
    let Select {
        select_token: _,
        optimizer_hints,
        distinct: None,
        select_modifiers: None,
        top: None,
        top_before_distinct: _,
        projection,
        exclude: None,
        into: None,
        from,
        lateral_views,
        prewhere: None,
        selection,
        connect_by,
        group_by: GroupByExpr::Expressions(group_by, group_modifiers),
        cluster_by,
        distribute_by,
        sort_by,
        having: None,
        named_window,
        qualify: None,
        window_before_qualify: _,
        value_table_mode: None,
        flavor: _,
    } = &**select
    else {
        return refuse("DISTINCT, HAVING, QUALIFY or another clause of the SELECT");
    };
    let none_of_these = optimizer_hints.is_empty()
        && lateral_views.is_empty()
        && connect_by.is_empty()
        && group_modifiers.is_empty()
        && cluster_by.is_empty()
        && distribute_by.is_empty()
        && sort_by.is_empty()
        && named_window.is_empty();
    if !none_of_these {
        return refuse("a rare clause");
    }

    let source = Source::of(from, catalog)?;
    let mut frame = source.frame.clone();
    if let Some(predicate) = selection {
        frame = frame.filter(source.predicate(predicate)?);
    }
    let keys: Vec<String> = group_by
        .iter()
        .map(|key| source.column(key).map(|(name, _)| name))
        .collect::<Lowered<_>>()?;
    let output = Output::of(projection, &source, &keys)?;
    frame = if keys.is_empty() {
        frame.select(output.exprs)
    } else {
        let hidden = |key: &String| format!("\u{1}{key}");
        let by: Vec<PlExpr> = keys
            .iter()
            .map(|k| col(k.as_str()).alias(hidden(k)))
            .collect();
        let names: Vec<PlExpr> = output.names.iter().map(|n| col(n.as_str())).collect();
        let columns = output
            .exprs
            .into_iter()
            .zip(&output.of_key)
            .map(|(expr, key)| match key {
                true => expr.first(),
                false => expr,
            });
        frame
            .group_by(by)
            .agg(columns.collect::<Vec<_>>())
            .select(names)
    };
    if let Some(order_by) = order_by {
        frame = sort(frame, order_by, &output.names)?;
    }
    limit(frame, limit_clause.as_ref())
}

/// The one table of the FROM clause.
struct Source {
    frame: LazyFrame,
    schema: std::sync::Arc<Schema>,
}

impl Source {
    fn of(from: &[TableWithJoins], catalog: &Catalog) -> Lowered<Self> {
        let [TableWithJoins { relation, joins }] = from else {
            return refuse("not exactly one table");
        };
        let TableFactor::Table {
            name,
            alias: None,
            args: None,
            with_hints,
            version: None,
            with_ordinality: false,
            partitions,
            json_path: None,
            sample: None,
            index_hints,
        } = relation
        else {
            return refuse("a table with an alias, arguments or a sample");
        };
        let plain = joins.is_empty()
            && with_hints.is_empty()
            && partitions.is_empty()
            && index_hints.is_empty();
        if !plain {
            return refuse("a join");
        }
        let (_, Named::Table(handle, table)) =
            catalog.resolve(&parts(name)).map_err(|e| e.to_string())?
        else {
            return refuse("a frame of the session");
        };
        if !handle.is_whole() {
            return refuse("a sliced handle");
        }
        if !matches!(table.name.as_str(), "cells" | "genes") {
            return refuse("a table of expression values");
        }
        let mut frame = lazy_frame(table).map_err(|e| e.to_string())?;
        let schema = frame.collect_schema().map_err(|e| e.to_string())?;
        Ok(Self { frame, schema })
    }

    fn column(&self, expr: &Expr) -> Lowered<(String, &DataType)> {
        let Expr::Identifier(Ident { value, .. }) = expr else {
            return refuse("an expression where a column is expected");
        };
        match self.schema.get(value) {
            Some(dtype) => Ok((value.clone(), dtype)),
            None => refuse("a name that is no column of the table"),
        }
    }

    fn predicate(&self, expr: &Expr) -> Lowered<PlExpr> {
        match expr {
            Expr::Nested(inner) => self.predicate(inner),
            Expr::BinaryOp { left, op, right } => match op {
                BinaryOperator::And => Ok(self.predicate(left)?.and(self.predicate(right)?)),
                BinaryOperator::Or => Ok(self.predicate(left)?.or(self.predicate(right)?)),
                _ => self.comparison(left, op, right),
            },
            Expr::UnaryOp {
                op: UnaryOperator::Not,
                expr,
            } => Ok(self.predicate(expr)?.not()),
            Expr::IsNull(inner) => Ok(col(self.column(inner)?.0.as_str()).is_null()),
            Expr::IsNotNull(inner) => Ok(col(self.column(inner)?.0.as_str()).is_not_null()),
            Expr::InList {
                expr,
                list,
                negated,
            } => {
                let alternatives = list
                    .iter()
                    .map(|item| self.comparison(expr, &BinaryOperator::Eq, item))
                    .collect::<Lowered<Vec<_>>>()?;
                let any = alternatives.into_iter().reduce(PlExpr::or);
                let any = any.ok_or("an empty list")?;
                Ok(if *negated { any.not() } else { any })
            }
            Expr::Between {
                expr,
                negated: false,
                low,
                high,
            } => Ok(self
                .comparison(expr, &BinaryOperator::GtEq, low)?
                .and(self.comparison(expr, &BinaryOperator::LtEq, high)?)),
            _ => refuse("a condition other than comparisons with literals"),
        }
    }

    fn comparison(&self, left: &Expr, op: &BinaryOperator, right: &Expr) -> Lowered<PlExpr> {
        let (name, dtype) = self.column(left)?;
        let left = col(name.as_str());
        let right = literal(right, dtype)?;
        match op {
            BinaryOperator::Eq => Ok(left.eq(right)),
            BinaryOperator::NotEq => Ok(left.neq(right)),
            BinaryOperator::Lt => Ok(left.lt(right)),
            BinaryOperator::LtEq => Ok(left.lt_eq(right)),
            BinaryOperator::Gt => Ok(left.gt(right)),
            BinaryOperator::GtEq => Ok(left.gt_eq(right)),
            _ => refuse("an operator other than a comparison"),
        }
    }
}

/// A literal of the same kind as the column it is compared with.
fn literal(expr: &Expr, dtype: &DataType) -> Lowered<PlExpr> {
    let (expr, negative) = match expr {
        Expr::UnaryOp {
            op: UnaryOperator::Minus,
            expr,
        } => (&**expr, true),
        other => (other, false),
    };
    let Expr::Value(ValueWithSpan { value, .. }) = expr else {
        return refuse("a comparison with something other than a literal");
    };
    match value {
        Value::Number(digits, _) if dtype.is_primitive_numeric() => {
            let signed = if negative {
                format!("-{digits}")
            } else {
                digits.clone()
            };
            match (signed.parse::<i64>(), signed.parse::<f64>()) {
                (Ok(integer), _) if dtype.is_integer() => Ok(lit(integer)),
                // A float32 column is compared as it stands, not rounded to.
                (_, Ok(float)) if *dtype == DataType::Float64 => Ok(lit(float)),
                _ => refuse("a comparison of numbers of two kinds"),
            }
        }
        Value::SingleQuotedString(text) if *dtype == DataType::String && !negative => {
            Ok(lit(text.clone()))
        }
        Value::Boolean(value) if *dtype == DataType::Boolean && !negative => Ok(lit(*value)),
        _ => refuse("a comparison of two kinds of values"),
    }
}

/// What the SELECT list gives.
struct Output {
    names: Vec<String>,
    exprs: Vec<PlExpr>,
    /// Whether each expression is a grouping key.
    of_key: Vec<bool>,
    aggregates: bool,
}

impl Output {
    fn of(projection: &[SelectItem], source: &Source, keys: &[String]) -> Lowered<Self> {
        let mut output = Self {
            names: vec![],
            exprs: vec![],
            of_key: vec![],
            aggregates: false,
        };
        for item in projection {
            match item {
                SelectItem::UnnamedExpr(expr) => {
                    let name = match expr {
                        Expr::Identifier(ident) => ident.value.clone(),
                        other => default_name(other),
                    };
                    output.push(expr, name, source)?;
                }
                SelectItem::ExprWithAlias { expr, alias } => {
                    output.push(expr, alias.value.clone(), source)?;
                }
                SelectItem::Wildcard(options)
                    if *options == WildcardAdditionalOptions::default() =>
                {
                    for name in source.schema.iter_names() {
                        output.push_column(name.to_string());
                    }
                }
                _ => return refuse("a wildcard with options"),
            }
        }
        let mut unique = output.names.clone();
        unique.sort();
        unique.dedup();
        if unique.len() != output.names.len() {
            return refuse("two output columns of one name");
        }
        if output.aggregates || !keys.is_empty() {
            let plain = output
                .of_key
                .iter()
                .zip(&output.exprs)
                .filter(|(key, _)| **key);
            for (_, expr) in plain {
                let root = polars_root(expr);
                if !keys.iter().any(|k| Some(k.as_str()) == root.as_deref()) {
                    return refuse("a column that is neither grouped by nor aggregated");
                }
            }
        }
        Ok(output)
    }

    fn push(&mut self, expr: &Expr, name: String, source: &Source) -> Lowered<()> {
        if let Expr::Function(function) = expr {
            self.exprs
                .push(aggregate(function, source)?.alias(name.as_str()));
            self.of_key.push(false);
            self.aggregates = true;
        } else {
            let (column, _) = source.column(expr)?;
            self.exprs.push(col(column.as_str()).alias(name.as_str()));
            self.of_key.push(true);
        }
        self.names.push(name);
        Ok(())
    }

    fn push_column(&mut self, name: String) {
        self.exprs.push(col(name.as_str()).alias(name.as_str()));
        self.of_key.push(true);
        self.names.push(name);
    }
}

/// The column under an alias.
fn polars_root(expr: &PlExpr) -> Option<PlSmallStr> {
    match expr {
        PlExpr::Alias(inner, _) => polars_root(inner),
        PlExpr::Column(name) => Some(name.clone()),
        _ => None,
    }
}

/// The name of a column that was not given one: its text, the function in small
/// letters.
pub(crate) fn default_name(expr: &Expr) -> String {
    let text = expr.to_string();
    match text.split_once('(') {
        Some((function, rest)) => format!("{}({rest}", function.to_lowercase()),
        None => text,
    }
}

fn aggregate(function: &Function, source: &Source) -> Lowered<PlExpr> {
    let Function {
        name: ObjectName(_),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args:
            FunctionArguments::List(FunctionArgumentList {
                duplicate_treatment: None,
                args,
                clauses,
            }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group,
    } = function
    else {
        return refuse("a window, a FILTER or a DISTINCT aggregate");
    };
    let ([FunctionArg::Unnamed(argument)], true, true) =
        (args.as_slice(), clauses.is_empty(), within_group.is_empty())
    else {
        return refuse("an aggregate of several arguments");
    };
    let called = parts(&function.name).join(".").to_lowercase();
    let argument = match argument {
        FunctionArgExpr::Wildcard if called == "count" => return Ok(len().cast(DataType::Int64)),
        FunctionArgExpr::Expr(expr) => expr,
        _ => return refuse("an aggregate of a wildcard"),
    };
    let (name, dtype) = source.column(argument)?;
    let column = col(name.as_str());
    let ordered = dtype.is_integer() || *dtype == DataType::String;
    match called.as_str() {
        "count" => Ok(column.count().cast(DataType::Int64)),
        "sum" if dtype.is_primitive_numeric() => {
            let wide = if dtype.is_integer() {
                DataType::Int64
            } else {
                DataType::Float64
            };
            // A sum of nothing is NULL in SQL and 0 in Polars.
            let some = column.clone().count().gt(lit(0));
            Ok(when(some)
                .then(column.cast(wide).sum())
                .otherwise(lit(NULL)))
        }
        "avg" if dtype.is_primitive_numeric() => Ok(column.cast(DataType::Float64).mean()),
        "min" if ordered => Ok(column.min()),
        "max" if ordered => Ok(column.max()),
        _ => refuse("a function other than COUNT, SUM, AVG, MIN and MAX of a column"),
    }
}

fn sort(frame: LazyFrame, order_by: &OrderBy, names: &[String]) -> Lowered<LazyFrame> {
    let OrderBy {
        kind: OrderByKind::Expressions(exprs),
        interpolate: None,
    } = order_by
    else {
        return refuse("ORDER BY ALL");
    };
    let (mut by, mut options) = (vec![], SortMultipleOptions::default());
    (options.descending, options.nulls_last) = (vec![], vec![]);
    for OrderByExpr {
        expr,
        options: order,
        with_fill,
    } in exprs
    {
        let Expr::Identifier(ident) = expr else {
            return refuse("ORDER BY an expression");
        };
        if with_fill.is_some() || !names.contains(&ident.value) {
            return refuse("ORDER BY a column that is not in the result");
        }
        by.push(col(ident.value.as_str()));
        let (descending, nulls_first) = direction(order)?;
        options.descending.push(descending);
        options.nulls_last.push(!nulls_first);
    }
    Ok(frame.sort_by_exprs(by, options))
}

fn limit(frame: LazyFrame, clause: Option<&LimitClause>) -> Lowered<LazyFrame> {
    let (limit, offset) = match clause {
        None => return Ok(frame),
        Some(LimitClause::LimitOffset {
            limit,
            offset,
            limit_by,
        }) if limit_by.is_empty() => (limit, offset),
        Some(_) => return refuse("LIMIT … BY"),
    };
    let number = |expr: &Expr| match expr {
        Expr::Value(ValueWithSpan {
            value: Value::Number(digits, _),
            ..
        }) => digits.parse::<u64>().map_err(|e| e.to_string()),
        _ => refuse("a LIMIT that is not a number"),
    };
    let rows = limit.as_ref().map(number).transpose()?.unwrap_or(u64::MAX);
    let offset = offset
        .as_ref()
        .map(|o| number(&o.value))
        .transpose()?
        .unwrap_or(0);
    Ok(frame.slice(offset as i64, rows))
}

/// Descending, and NULLs first; by default NULLs come last.
fn direction(options: &OrderByOptions) -> Lowered<(bool, bool)> {
    let OrderByOptions { asc, nulls_first } = options;
    Ok((*asc == Some(false), *nulls_first == Some(true)))
}
