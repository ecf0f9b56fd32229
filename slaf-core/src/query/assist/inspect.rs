//! The meaning of a name in a statement.

use arrow::datatypes::Field;
use arrow::util::display::array_value_to_string;

use super::complete::quiet;
use super::words::{Source, fields, floor, last_word, quoted, sources};
use crate::Result;
use crate::ground::number_format::grouped;
use crate::query::catalog::Catalog;
use crate::query::dialect::sql_type::sql_type;
use crate::query::language::params::Params;
use crate::query::run::run;

/// The meaning of the name at byte `cursor` of `sql`: the schema of a table, or the
/// type, counts and most frequent values of a column.
pub async fn inspect(catalog: &Catalog, sql: &str, cursor: usize) -> Result<Option<String>> {
    let cursor = floor(sql, cursor);
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let from = sql[..cursor]
        .char_indices()
        .rev()
        .take_while(|(_, c)| is_name(*c))
        .last();
    let from = from.map_or(cursor, |(at, _)| at);
    let to = sql[cursor..]
        .find(|c| !is_name(c))
        .map_or(sql.len(), |n| cursor + n);
    let name = &sql[from..to];
    if name.is_empty() {
        return Ok(None);
    }
    let sources = sources(sql, catalog);
    let qualifier = sql[..from].strip_suffix('.').map(last_word);
    let aliased = sources.iter().find(|s| s.name.eq_ignore_ascii_case(name));
    let of_handle = qualifier
        .as_deref()
        .and_then(|handle| catalog.resolve(&[handle, name]).ok());
    if aliased.is_some() || of_handle.is_some() || catalog.resolve(&[name]).is_ok() {
        let source = match (aliased, of_handle.or_else(|| catalog.resolve(&[name]).ok())) {
            (Some(source), _) => (source.written.clone(), source.fields.clone()),
            (None, Some((resolved, named))) => {
                let parts: Vec<String> = resolved.iter().map(|p| format!("\"{p}\"")).collect();
                (parts.join("."), fields(&named))
            }
            (None, None) => return Ok(None),
        };
        return table(catalog, name, &source.0, &source.1).await.map(Some);
    }
    for source in &sources {
        let of_this = qualifier
            .as_ref()
            .is_none_or(|q| source.name.eq_ignore_ascii_case(q));
        let field = source
            .fields
            .iter()
            .find(|f| f.name().eq_ignore_ascii_case(name));
        if let Some(field) = field.filter(|_| of_this) {
            return column(catalog, source, field).await.map(Some);
        }
    }
    Ok(None)
}

async fn table(catalog: &Catalog, name: &str, written: &str, fields: &[Field]) -> Result<String> {
    let sql = format!("SELECT COUNT(*) AS n FROM {written}");
    let rows = first_row(catalog, &sql)
        .await?
        .first()
        .and_then(|n| n.parse().ok());
    let mut lines = vec![format!(
        "table {name}: {} rows × {} columns",
        grouped(rows.unwrap_or(0)),
        fields.len()
    )];
    let width = fields
        .iter()
        .map(|f| f.name().chars().count())
        .max()
        .unwrap_or(0);
    lines.extend(
        fields
            .iter()
            .map(|f| format!("  {:width$}  {}", f.name(), sql_type(f.data_type()))),
    );
    Ok(lines.join("\n"))
}

async fn column(catalog: &Catalog, source: &Source, field: &Field) -> Result<String> {
    let column = quoted(field.name());
    let mut lines = vec![format!(
        "column {} of {}: {}",
        field.name(),
        source.name,
        sql_type(field.data_type())
    )];
    if field.data_type().is_nested() || source.written.ends_with("\"expression\"") {
        return Ok(lines.join("\n"));
    }
    let sql = format!(
        "SELECT COUNT(*), COUNT(*) - COUNT({column}), COUNT(DISTINCT {column}), \
         CAST(MIN({column}) AS VARCHAR), CAST(MAX({column}) AS VARCHAR) FROM {}",
        source.written
    );
    if let [rows, missing, distinct, least, greatest] = first_row(catalog, &sql).await?.as_slice() {
        let number = |text: &str| grouped(text.parse().unwrap_or(0));
        lines.push(format!(
            "  {} rows, {} missing, {} distinct, from {least} to {greatest}",
            number(rows),
            number(missing),
            number(distinct)
        ));
    }
    let sql = format!(
        "SELECT CAST({column} AS VARCHAR) AS value, COUNT(*) AS n FROM {} WHERE {column} IS NOT NULL \
         GROUP BY 1 HAVING COUNT(*) > 1 ORDER BY n DESC, value LIMIT 8",
        source.written
    );
    let answer = run(catalog, &sql, &Params::new(), &quiet()).await?;
    for batch in &answer.batches {
        for row in 0..batch.num_rows() {
            let value = array_value_to_string(batch.column(0), row)?;
            let n = array_value_to_string(batch.column(1), row)?;
            lines.push(format!(
                "  {:>12}  {value}",
                grouped(n.parse().unwrap_or(0))
            ));
        }
    }
    Ok(lines.join("\n"))
}

async fn first_row(catalog: &Catalog, sql: &str) -> Result<Vec<String>> {
    let answer = run(catalog, sql, &Params::new(), &quiet()).await?;
    let Some(batch) = answer.batches.iter().find(|batch| batch.num_rows() > 0) else {
        return Ok(vec![]);
    };
    let values = batch
        .columns()
        .iter()
        .map(|column| Ok(array_value_to_string(column, 0)?));
    values.collect()
}
