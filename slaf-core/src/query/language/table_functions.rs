//! Expands table functions and PIVOT into the queries that they stand for:
//!
//! * `normalized(expression, 10000)`: each value × 10000 / its cell's total
//! * `sample(cells, 1000, 7)`: 1000 random rows; the same rows for the same seed
//! * `knn(pbmc, 'X_pca', $v, 10, 'cosine')`: the rows nearest to a vector
//! * `pseudobulk(expression, 'cell_type')`: the sum of each gene in each group of
//!   cells, and the number of cells that express it; stored zeros do not count
//! * `read('file.parquet')`: a file as a table
//! * `t PIVOT (SUM(x) FOR k IN ('a', 'b'))`: one column per value of `k`

use sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectName, PivotValueSource,
    SelectItem, SetExpr, Statement, TableAlias, TableFactor, Value,
};
use sqlparser::dialect::GenericDialect;
use sqlparser::parser::Parser;

use crate::nearest;
use crate::query::catalog::{Catalog, Named};
use crate::query::language::relations::{parts, read_argument};
use crate::{Error, Result};

const FUNCTIONS: [&str; 5] = ["knn", "normalized", "pseudobulk", "read", "sample"];

/// The name under which the rows of `read(path)` are registered.
pub(crate) fn read_name(path: &str) -> String {
    format!("read:{path}")
}

/// Replaces a table function or a PIVOT by a subquery.
pub(crate) fn expand(factor: &mut TableFactor, catalog: &Catalog) -> Result<()> {
    if let Some(path) = read_argument(factor) {
        if let TableFactor::Table { name, args, .. } = factor {
            *name = ObjectName::from(vec![Ident::with_quote('"', read_name(&path))]);
            *args = None;
        }
        return Ok(());
    }
    let (query, alias) = match factor {
        TableFactor::Table {
            name,
            args: Some(arguments),
            alias,
            ..
        } => {
            let called = parts(name).join(".").to_lowercase();
            let arguments = arguments.args.iter().map(argument);
            let arguments = arguments.collect::<Result<Vec<_>>>()?;
            // DataFusion's own are left as they are.
            let Some(query) = function(&called, &arguments, catalog)? else {
                return Ok(());
            };
            let named = alias.clone().unwrap_or_else(|| table_alias(&called));
            (query, named)
        }
        TableFactor::Pivot { alias, .. } => {
            let named = alias.clone().unwrap_or_else(|| table_alias("pivot"));
            (pivot(factor, catalog)?, named)
        }
        _ => return Ok(()),
    };
    let parsed = Parser::parse_sql(&GenericDialect {}, &query).ok();
    if let Some(Statement::Query(subquery)) = parsed.and_then(|mut parsed| parsed.pop()) {
        *factor = TableFactor::Derived {
            lateral: false,
            subquery,
            alias: Some(alias),
            sample: None,
        };
    }
    Ok(())
}

/// The query for a table function; `None` if it is not one of ours.
fn function(name: &str, arguments: &[&Expr], catalog: &Catalog) -> Result<Option<String>> {
    Ok(Some(match name {
        "normalized" => normalized(arguments, catalog)?,
        "sample" => sample(arguments, catalog)?,
        "knn" => knn(arguments, catalog)?,
        "pseudobulk" => pseudobulk(arguments, catalog)?,
        "read" => {
            return Err(usage(
                "read('path or address of a Parquet, CSV, Arrow or Lance file')",
            ));
        }
        "generate_series" | "range" => return Ok(None),
        other => {
            return Err(Error::Unknown {
                kind: "table function",
                name: other.to_owned(),
                near: nearest(other, FUNCTIONS),
            });
        }
    }))
}

fn table_alias(name: &str) -> TableAlias {
    TableAlias {
        explicit: true,
        name: Ident::new(name),
        columns: vec![],
        at: None,
    }
}

fn usage(of: &str) -> Error {
    Error::Sql {
        message: format!("The function is called as `{of}`."),
        hint: None,
    }
}

fn argument(argument: &FunctionArg) -> Result<&Expr> {
    match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Ok(expr),
        other => Err(Error::Sql {
            message: format!("`{other}` is not an argument of a table function."),
            hint: Some("Arguments are given by position.".into()),
        }),
    }
}

fn quoted(name: &str) -> String {
    Ident::with_quote('"', name).to_string()
}

fn text(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => Some(text),
            _ => None,
        },
        _ => None,
    }
}

/// The parts of a table name that is given as an argument.
fn named(expr: &Expr) -> Option<Vec<String>> {
    match expr {
        Expr::Identifier(ident) => Some(vec![ident.value.clone()]),
        Expr::CompoundIdentifier(idents) => Some(idents.iter().map(|i| i.value.clone()).collect()),
        _ => None,
    }
}

/// The SQL name and columns of the table `name`, or of the table `kind` of the handle
/// `name`.
fn table(
    name: &[String],
    kinds: &[&str],
    catalog: &Catalog,
) -> Result<(String, Vec<(String, bool)>)> {
    let table_path: Vec<&str> = name.iter().map(String::as_str).collect();
    let of_handle = kinds
        .iter()
        .map(|kind| [&table_path[..], &[*kind]].concat())
        .find_map(|full| catalog.resolve(&full).ok());
    let (resolved, found) = match of_handle {
        Some(found) if table_path.len() == 1 => found,
        _ => catalog.resolve(&table_path)?,
    };
    let written: Vec<String> = resolved.iter().map(|part| quoted(part)).collect();
    Ok((written.join("."), columns(&found)))
}

/// The columns of a table, and whether each of them is a vector.
fn columns(found: &Named<'_>) -> Vec<(String, bool)> {
    let fields = found.schema().fields().iter();
    let vector = |dtype: &arrow::datatypes::DataType| dtype.is_nested();
    fields
        .map(|f| (f.name().clone(), vector(f.data_type())))
        .collect()
}

/// The names of `cells` and `genes` of the same handle as `expression`.
fn siblings(expression: &str) -> (String, String) {
    let prefix = expression
        .strip_suffix("\"expression\"")
        .unwrap_or_default();
    (format!("{prefix}\"cells\""), format!("{prefix}\"genes\""))
}

fn normalized(arguments: &[&Expr], catalog: &Catalog) -> Result<String> {
    let usage = || usage("normalized(expression, 10000)");
    let (of, target) = match arguments {
        [of] => (of, "10000".to_owned()),
        [of, target] => (of, target.to_string()),
        _ => return Err(usage()),
    };
    let (of, _) = table(&named(of).ok_or_else(usage)?, &["expression"], catalog)?;
    Ok(format!(
        "SELECT e.cell_integer_id, e.gene_integer_id, e.value * ({target}) / s.total AS value \
         FROM {of} e JOIN (SELECT cell_integer_id, CAST(SUM(value) AS DOUBLE) AS total FROM {of} \
         GROUP BY cell_integer_id) s ON e.cell_integer_id = s.cell_integer_id"
    ))
}

fn sample(arguments: &[&Expr], catalog: &Catalog) -> Result<String> {
    let usage = || usage("sample(cells, 1000, seed)");
    let (of, n, seed) = match arguments {
        [of, n] => (of, n, "0".to_owned()),
        [of, n, seed] => (of, n, seed.to_string()),
        _ => return Err(usage()),
    };
    let (of, columns) = table(&named(of).ok_or_else(usage)?, &["cells"], catalog)?;
    let ids = ["cell_integer_id", "gene_integer_id"]
        .iter()
        .filter(|id| columns.iter().any(|(c, _)| c == **id));
    let mut ids: Vec<String> = ids.map(|id| quoted(id)).collect();
    if ids.is_empty() {
        ids.push("ROW_NUMBER() OVER ()".into());
    }
    let names: Vec<String> = columns.iter().map(|(c, _)| quoted(c)).collect();
    let (names, ids) = (names.join(", "), ids.join(", "));
    Ok(format!(
        "SELECT {names} FROM (SELECT *, sample_key({seed}, {ids}) AS _key FROM {of}) \
         ORDER BY _key LIMIT {n}"
    ))
}

fn knn(arguments: &[&Expr], catalog: &Catalog) -> Result<String> {
    let usage = || usage("knn(handle, 'X_pca', [0.1, 0.2], 10, 'l2')");
    let (of, column, vector, k, metric) = match arguments {
        [of, column, vector, k] => (of, column, vector, k, "'l2'".to_owned()),
        [of, column, vector, k, metric] => (of, column, vector, k, metric.to_string()),
        _ => return Err(usage()),
    };
    let column = text(column).ok_or_else(usage)?;
    let of = named(of).ok_or_else(usage)?;
    let mut found = table(&of, &["cells"], catalog)?;
    if !found.1.iter().any(|(c, _)| c == column)
        && let Ok(genes) = table(&of, &["genes"], catalog)
        && genes.1.iter().any(|(c, _)| c == column)
    {
        found = genes;
    }
    let (of, columns) = found;
    if !columns.iter().any(|(c, vector)| c == column && *vector) {
        let vectors: Vec<&str> = columns
            .iter()
            .filter(|(_, v)| *v)
            .map(|(c, _)| c.as_str())
            .collect();
        return Err(Error::Unknown {
            kind: "column of vectors",
            name: column.to_owned(),
            near: if vectors.is_empty() {
                vec![]
            } else {
                vectors.iter().map(|v| (*v).to_owned()).collect()
            },
        });
    }
    let kept = columns
        .iter()
        .filter(|(c, vector)| !vector && c != "cell_start_index");
    let kept: Vec<String> = kept.map(|(c, _)| quoted(c)).collect();
    Ok(format!(
        "SELECT {}, distance({}, {vector}, {metric}) AS distance FROM {of} ORDER BY distance LIMIT {k}",
        kept.join(", "),
        quoted(column)
    ))
}

fn pseudobulk(arguments: &[&Expr], catalog: &Catalog) -> Result<String> {
    let usage = || usage("pseudobulk(expression, 'cell_type', 'donor')");
    let (of, by) = arguments.split_first().ok_or_else(usage)?;
    let by: Option<Vec<&str>> = by.iter().map(|expr| text(expr)).collect();
    let by = by.filter(|by| !by.is_empty()).ok_or_else(usage)?;
    let (of, _) = table(&named(of).ok_or_else(usage)?, &["expression"], catalog)?;
    let (cells, genes) = siblings(&of);
    let keys: Vec<String> = by.iter().map(|key| format!("c.{}", quoted(key))).collect();
    let keys = keys.join(", ");
    Ok(format!(
        "SELECT {keys}, g.gene_id, SUM(e.value) AS total, COUNT(*) AS n_expressing FROM {of} e \
         JOIN {cells} c ON e.cell_integer_id = c.cell_integer_id \
         JOIN {genes} g ON e.gene_integer_id = g.gene_integer_id \
         WHERE e.value <> 0 GROUP BY {keys}, g.gene_id"
    ))
}

fn pivot(factor: &TableFactor, catalog: &Catalog) -> Result<String> {
    let unsupported = |message: &str| Error::Sql {
        message: message.to_owned(),
        hint: Some("Write `t PIVOT (SUM(x) FOR k IN ('a', 'b'))`.".into()),
    };
    let TableFactor::Pivot {
        table,
        aggregate_functions,
        value_column,
        value_source: PivotValueSource::List(values),
        ..
    } = factor
    else {
        return Err(unsupported("PIVOT needs the values that become columns."));
    };
    let [key] = value_column.as_slice() else {
        return Err(unsupported(
            "PIVOT turns the values of one column into columns.",
        ));
    };
    let [aggregate] = aggregate_functions.as_slice() else {
        return Err(unsupported("PIVOT computes one aggregate."));
    };
    let mut used = vec![last_of(key)];
    used.extend(arguments_of(&aggregate.expr));
    let columns = columns_of(table, catalog).ok_or_else(|| {
        unsupported("PIVOT needs to know the columns: name them in the subquery, with aliases.")
    })?;
    let others: Vec<String> = columns
        .iter()
        .filter(|c| !used.contains(c))
        .map(|c| quoted(c))
        .collect();
    let mut items = others.clone();
    for value in values {
        let name = value.alias.as_ref().map_or_else(
            || text(&value.expr).map_or_else(|| value.expr.to_string(), str::to_owned),
            |alias| alias.value.clone(),
        );
        items.push(format!(
            "{} FILTER (WHERE {key} = {}) AS {}",
            aggregate.expr,
            value.expr,
            quoted(&name)
        ));
    }
    let group = if others.is_empty() {
        String::new()
    } else {
        format!(" GROUP BY {}", others.join(", "))
    };
    Ok(format!("SELECT {} FROM {table}{group}", items.join(", ")))
}

/// The columns in the arguments of an aggregate.
fn arguments_of(aggregate: &Expr) -> Vec<String> {
    let Expr::Function(function) = aggregate else {
        return vec![];
    };
    let FunctionArguments::List(list) = &function.args else {
        return vec![];
    };
    let arguments = list.args.iter().map(|a| argument(a).map(last_of));
    arguments.filter_map(Result::ok).collect()
}

fn last_of(expr: &Expr) -> String {
    named(expr)
        .and_then(|mut parts| parts.pop())
        .unwrap_or_default()
}

/// The columns of the pivoted table, if they are known from the statement and the
/// catalog.
fn columns_of(factor: &TableFactor, catalog: &Catalog) -> Option<Vec<String>> {
    match factor {
        TableFactor::Table {
            name, args: None, ..
        } => {
            let (_, found) = catalog.resolve(&parts(name)).ok()?;
            Some(columns(&found).into_iter().map(|(c, _)| c).collect())
        }
        TableFactor::Table { .. } => {
            let mut factor = factor.clone();
            expand(&mut factor, catalog).ok()?;
            matches!(factor, TableFactor::Derived { .. }).then(|| columns_of(&factor, catalog))?
        }
        TableFactor::Derived { subquery, .. } => match &*subquery.body {
            SetExpr::Select(select) => select
                .projection
                .iter()
                .map(|item| match item {
                    SelectItem::ExprWithAlias { alias, .. } => Some(alias.value.clone()),
                    SelectItem::UnnamedExpr(expr) => named(expr)?.pop(),
                    _ => None,
                })
                .collect(),
            _ => None,
        },
        _ => None,
    }
}
