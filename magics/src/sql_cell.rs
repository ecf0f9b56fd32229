//! Parses the first line of a `%%sql` cell: options, and the variable for the
//! result.

use std::fmt;

use slaf_core::query::Engine;

const KNOWN: &str = "`--on HANDLE`, `--engine NAME`, `--limit ROWS`, `--table`, `--lazy`, \
                     `--explain` and `--profile`";

/// A parsed SQL cell.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cell {
    /// The variable of `name << SELECT …`.
    pub target: Option<String>,
    /// The handle of `--on handle`.
    pub on: Option<String>,
    /// The engine of `--engine polars`.
    pub engine: Option<Engine>,
    /// The rows of `--limit 100`.
    pub limit: Option<usize>,
    /// `--table`: shows an interactive table.
    pub table: bool,
    /// `--lazy`: the target becomes a LazyFrame.
    pub lazy: bool,
    /// `--explain`: shows the plan instead of rows.
    pub explain: bool,
    /// `--profile`: also shows what was read.
    pub profile: bool,
    pub sql: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CellError(String);

impl fmt::Display for CellError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for CellError {}

impl Cell {
    /// Parses the line of the magic and the lines below it. `name <<` counts
    /// only at the beginning, so that `SELECT 1 << 2` stays a shift.
    pub fn parse(line: &str, body: &str) -> Result<Self, CellError> {
        let mut cell = Self::default();
        let mut rest = line.trim();
        while let Some(option) = rest.strip_prefix("--") {
            if !option.starts_with(char::is_alphabetic) {
                // A comment on the magic's line.
                break;
            }
            let (name, after) = word(option);
            let flag = match name {
                "table" => Some(&mut cell.table),
                "lazy" => Some(&mut cell.lazy),
                "explain" => Some(&mut cell.explain),
                "profile" => Some(&mut cell.profile),
                _ => None,
            };
            if let Some(flag) = flag {
                *flag = true;
                rest = after;
                continue;
            }
            if !["on", "engine", "limit"].contains(&name) {
                return Err(CellError(format!(
                    "There is no option `--{name}`. %%sql knows {KNOWN}."
                )));
            }
            let (value, after) = word(after);
            cell.set(name, value)?;
            rest = after;
        }
        let text = format!("{rest}\n{body}");
        let text = text.trim();
        match assignment(text) {
            Some((name, sql)) => {
                cell.target = Some(name.to_owned());
                cell.sql = sql.trim().to_owned();
            }
            None => cell.sql = text.to_owned(),
        }
        if cell.sql.is_empty() {
            return Err(CellError(
                "The cell has no statement. Write one, such as `SELECT * FROM cells LIMIT 5`."
                    .into(),
            ));
        }
        Ok(cell)
    }

    /// Sets an option that has a value.
    fn set(&mut self, name: &str, value: &str) -> Result<(), CellError> {
        if value.is_empty() {
            return Err(CellError(format!("`--{name}` needs a value.")));
        }
        match name {
            "on" => self.on = Some(value.to_owned()),
            "engine" => self.engine = engine(value)?,
            _ => match value.replace('_', "").parse() {
                Ok(rows) => self.limit = Some(rows),
                Err(_) => {
                    return Err(CellError(format!(
                        "`--limit {value}` is not a number of rows."
                    )));
                }
            },
        }
        Ok(())
    }
}

fn engine(name: &str) -> Result<Option<Engine>, CellError> {
    match name {
        "polars" => Ok(Some(Engine::Polars)),
        "datafusion" => Ok(Some(Engine::DataFusion)),
        "auto" => Ok(None),
        other => Err(CellError(format!(
            "There is no engine `{other}`. Use `auto`, `datafusion` or `polars`."
        ))),
    }
}

fn word(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    let end = text.find(char::is_whitespace).unwrap_or(text.len());
    (&text[..end], text[end..].trim_start())
}

fn assignment(text: &str) -> Option<(&str, &str)> {
    let (name, sql) = text.split_once("<<")?;
    let name = name.trim().trim_end_matches('=').trim_end();
    let mut letters = name.chars();
    let first = letters.next()?;
    let is_name =
        (first.is_alphabetic() || first == '_') && letters.all(|c| c.is_alphanumeric() || c == '_');
    is_name.then_some((name, sql))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_a_target_and_a_statement() {
        let cell = Cell::parse("--on pbmc top << ", "SELECT 1").unwrap();
        assert_eq!(cell.on.as_deref(), Some("pbmc"));
        assert_eq!(cell.target.as_deref(), Some("top"));
        assert_eq!(cell.sql, "SELECT 1");
    }

    #[test]
    fn a_comment_beside_the_magic_is_no_option() {
        for comment in ["-- what it shows", "--", "--- of last week", "/* 1 */"] {
            let cell = Cell::parse(&format!("--limit 5 {comment}"), "SELECT 1").unwrap();
            assert_eq!(cell.limit, Some(5));
            assert_eq!(cell.sql, format!("{comment}\nSELECT 1"));
            let cell = Cell::parse(&format!("x << {comment}"), "SELECT 1").unwrap();
            assert_eq!(cell.target.as_deref(), Some("x"));
        }
    }

    #[test]
    fn flags_take_no_value() {
        let cell = Cell::parse("--lazy --limit 1_000 --table --profile x << SELECT 1", "").unwrap();
        assert!(cell.lazy && cell.profile && cell.table && !cell.explain);
        assert_eq!(
            (cell.limit, cell.target.as_deref()),
            (Some(1000), Some("x"))
        );
        assert!(Cell::parse("--limit many", "SELECT 1").is_err());
    }

    #[test]
    fn a_shift_is_not_an_assignment() {
        let cell = Cell::parse("", "SELECT 1 << 2").unwrap();
        assert_eq!((cell.target, cell.sql.as_str()), (None, "SELECT 1 << 2"));
    }

    #[test]
    fn an_unknown_option_names_the_known_ones() {
        let error = Cell::parse("--onn x", "SELECT 1").unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("There is no option `--onn`. %%sql knows {KNOWN}.")
        );
    }
}
