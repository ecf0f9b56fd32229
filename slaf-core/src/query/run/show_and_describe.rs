//! Statements about tables: SHOW TABLES, DESCRIBE, SUMMARIZE.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, UInt32Array};
use arrow::datatypes::DataType;
use sqlparser::ast::{Ident, Statement};

use super::prepare_query::prepare;
use crate::query::catalog::Catalog;
use crate::query::dialect::sql_type::sql_type;
use crate::query::language::params::Params;
use crate::query::language::parse::parse;
use crate::query::request::{Answer, Engine, Options};
use crate::{Error, Result};

fn answer(columns: Vec<(&str, ArrayRef)>) -> Result<Answer> {
    let batch = RecordBatch::try_from_iter_with_nullable(
        columns
            .into_iter()
            .map(|(name, column)| (name, column, true)),
    )?;
    Ok(Answer {
        schema: batch.schema(),
        batches: vec![batch],
        engine: Engine::DataFusion,
        reason: "what is known of the tables".into(),
        warnings: vec![],
    })
}

fn texts(texts: impl IntoIterator<Item = String>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(texts))
}

/// SHOW TABLES: all tables, with their numbers of rows if known.
pub(crate) fn tables(catalog: &Catalog) -> Result<Answer> {
    let mut found: Vec<(String, &str, Option<i64>, Option<i64>)> = vec![];
    for (at, handle) in catalog.handles.iter().enumerate() {
        for table in handle.dataset.tables() {
            let name = match catalog.default == Some(at) {
                true => table.name.clone(),
                false => format!("{}.{}", handle.name, table.name),
            };
            let rows = handle.rows_of(table).map(|rows| rows as i64);
            found.push((
                name,
                "dataset",
                rows,
                Some(table.schema.fields().len() as i64),
            ));
        }
    }
    for frame in &catalog.frames {
        let columns = frame.schema.fields().len() as i64;
        found.push((frame.name.clone(), "frame", frame.count(), Some(columns)));
    }
    found.extend(
        catalog
            .views
            .iter()
            .map(|(name, _)| (name.clone(), "view", None, None)),
    );
    answer(vec![
        (
            "table_name",
            texts(found.iter().map(|(name, ..)| name.clone())),
        ),
        (
            "kind",
            texts(found.iter().map(|(_, kind, ..)| (*kind).to_owned())),
        ),
        (
            "rows",
            Arc::new(Int64Array::from_iter(found.iter().map(|f| f.2))),
        ),
        (
            "columns",
            Arc::new(Int64Array::from_iter(found.iter().map(|f| f.3))),
        ),
    ])
}

/// DESCRIBE: the columns of a table or view, and their types.
pub(crate) async fn describe(
    catalog: &Catalog,
    name: &[String],
    options: &Options,
) -> Result<Answer> {
    let quoted: Vec<String> = name
        .iter()
        .map(|part| Ident::with_quote('"', part).to_string())
        .collect();
    let sql = format!("SELECT * FROM {}", quoted.join("."));
    let query = parse(&sql)?.query.ok_or_else(nothing)?;
    let columns = columns(catalog, query, &Params::new(), options).await?;
    answer(vec![
        (
            "column_name",
            texts(columns.iter().map(|(name, _)| name.clone())),
        ),
        (
            "column_type",
            texts(columns.iter().map(|(_, dtype)| sql_type(dtype))),
        ),
    ])
}

fn nothing() -> Error {
    Error::Sql {
        message: "There is nothing to describe.".into(),
        hint: None,
    }
}

/// The output columns of a query.
pub(crate) async fn columns(
    catalog: &Catalog,
    query: Statement,
    params: &Params,
    options: &Options,
) -> Result<Vec<(String, DataType)>> {
    let options = Options {
        engine: Some(Engine::DataFusion),
        ..options.clone()
    };
    let prepared = prepare(catalog, query, params, &options).await?;
    let fields = prepared.planned.schema.fields().iter();
    Ok(fields
        .map(|f| (f.name().clone(), f.data_type().clone()))
        .collect())
}

/// SUMMARIZE: one row per column with its type, minimum, maximum, approximate number of
/// distinct values, mean, standard deviation, approximate quartiles, number of rows,
/// and percentage of NULLs.
pub(crate) async fn summarize(
    catalog: &Catalog,
    query: Statement,
    params: &Params,
    options: &Options,
) -> Result<Answer> {
    let columns = columns(catalog, query.clone(), params, options).await?;
    let columns: Vec<_> = columns
        .into_iter()
        .filter(|(_, dtype)| !dtype.is_nested())
        .collect();
    if columns.is_empty() {
        return Err(nothing());
    }
    let rows: Vec<String> = columns.iter().map(summary_of).collect();
    let mut catalog = catalog.clone();
    catalog
        .views
        .push(("_summarized".into(), query.to_string()));
    let sql = rows.join(" UNION ALL ");
    let query = parse(&sql)?.query.ok_or_else(nothing)?;
    let options = Options {
        engine: Some(Engine::DataFusion),
        ..options.clone()
    };
    let mut answered = prepare(&catalog, query, params, &options)
        .await?
        .run(&catalog, &options)
        .await?;
    in_order(&mut answered, &columns)?;
    Ok(answered)
}

/// The SELECT for one column.
fn summary_of((name, dtype): &(String, DataType)) -> String {
    let column = Ident::with_quote('"', name).to_string();
    let label = name.replace('\'', "''");
    let number = |sql: String| match dtype.is_numeric() {
        true => sql,
        false => "CAST(NULL AS DOUBLE)".to_owned(),
    };
    let quantile = |q: &str| {
        number(format!(
            "CAST(approx_percentile_cont({column}, {q}) AS DOUBLE)"
        ))
    };
    // It has no hash of floats.
    let hashed = match dtype.is_floating() || *dtype == DataType::Boolean {
        true => format!("CAST({column} AS VARCHAR)"),
        false => column.clone(),
    };
    let dtype = sql_type(dtype);
    format!(
        "SELECT '{label}' AS column_name, '{dtype}' AS column_type, \
         CAST(MIN({column}) AS VARCHAR) AS min, CAST(MAX({column}) AS VARCHAR) AS max, \
         CAST(approx_distinct({hashed}) AS BIGINT) AS approx_unique, {} AS avg, {} AS std, \
         {} AS q25, {} AS q50, {} AS q75, COUNT(*) AS count, \
         100.0 * (COUNT(*) - COUNT({column})) / NULLIF(COUNT(*), 0) AS null_percentage \
         FROM _summarized",
        number(format!("AVG({column})")),
        number(format!("CAST(STDDEV({column}) AS DOUBLE)")),
        quantile("0.25"),
        quantile("0.5"),
        quantile("0.75"),
    )
}

/// Sorts the rows by the order of the columns, because UNION ALL has no order.
fn in_order(answer: &mut Answer, columns: &[(String, DataType)]) -> Result<()> {
    use arrow::array::AsArray;
    use arrow::compute::{cast, concat_batches, take_record_batch};
    let all = concat_batches(&answer.schema, &answer.batches)?;
    let names = cast(all.column(0), &DataType::Utf8)?;
    let names = names.as_string::<i32>();
    let place = |row: u32| {
        columns
            .iter()
            .position(|(name, _)| name == names.value(row as usize))
    };
    let mut order: Vec<u32> = (0..all.num_rows() as u32).collect();
    order.sort_by_key(|row| place(*row));
    answer.batches = vec![take_record_batch(&all, &UInt32Array::from(order))?];
    Ok(())
}
