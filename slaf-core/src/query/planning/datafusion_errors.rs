//! DataFusion's errors, in our words.

use datafusion::common::{Column, SchemaError};
use datafusion::error::DataFusionError;

use crate::Error;
use crate::ground::error::{first_line, is_storage_failure};
use crate::nearest;
use crate::query::dialect::session::{function_names, is_window};

/// Prefixes of DataFusion's messages.
const PREFIXES: [&str; 7] = [
    "Error during planning: ",
    "This feature is not implemented: ",
    "External error: ",
    "Query Execution error: ",
    "Execution error: ",
    "Arrow error: ",
    "Internal error: ",
];

/// Converts DataFusion's error to ours, with similar names for an unknown column.
pub(crate) fn explain(error: &DataFusionError, uri: &str) -> Error {
    let root = error.find_root();
    if let DataFusionError::SchemaError(schema_error, _) = root
        && let SchemaError::FieldNotFound {
            field,
            valid_fields,
        } = &**schema_error
    {
        let mut near = nearest(&field.name, valid_fields.iter().map(|f| f.name.as_str()));
        let mut name = field.name.clone();
        if near.contains(&name) {
            // There is such a column, but in another table.
            let of_name = valid_fields.iter().filter(|f| f.name == name);
            near = of_name.map(Column::flat_name).collect();
            name = field.flat_name();
        }
        return Error::Unknown {
            kind: "column",
            name,
            near,
        };
    }
    let text = root.strip_backtrace();
    if is_storage_failure(&text) {
        return Error::storage(uri, &text);
    }
    of_text(&in_our_words(&text))
}

/// The message without technical details.
fn in_our_words(text: &str) -> String {
    let mut text = text;
    for prefix in PREFIXES {
        text = text.trim_start_matches(prefix);
    }
    if text.contains("does not support logical expression") {
        text = "An aggregate, a window or a subquery stands where none can be computed";
    }
    // A dump of the syntax tree.
    if text.contains(" { ") {
        text = text.split('(').next().unwrap_or(text);
    }
    first_line(text)
}

/// The error for a message.
fn of_text(text: &str) -> Error {
    if let Some(call) = text.strip_prefix("Function '")
        && let Some((name, _)) = call.split_once("' failed to match any signature")
    {
        return Error::Sql {
            message: format!("`{name}` takes no arguments of this number or these types."),
            hint: Some("Cast them: `CAST(x AS DOUBLE)`.".into()),
        };
    }
    if let Some(name) = text.strip_prefix("Invalid function '") {
        let name = name.split('\'').next().unwrap_or(name).to_owned();
        if is_window(&name.to_lowercase()) {
            return Error::Sql {
                message: format!("`{name}` is a window function, and has no OVER."),
                hint: Some(format!("Write `{name}() OVER (ORDER BY …)`.")),
            };
        }
        let known = function_names();
        let near = nearest(&name, known.iter().map(String::as_str));
        return Error::Unknown {
            kind: "function",
            name,
            near,
        };
    }
    Error::Sql {
        message: format!("{text}."),
        hint: None,
    }
}
