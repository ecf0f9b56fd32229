//! evcxr's results, as JSON for the Python side.

use std::collections::HashSet;

use ariadne::sources;
use evcxr::{CompilationError, Error, EvalOutputs, Theme};
use serde_json::{Value, json};

use crate::flags::{Flag, Flags};

/// The name that a cell has in rustc's messages.
const CELL: &str = "cell";

pub(crate) fn outcome(code: &str, result: Result<EvalOutputs, Error>, flags: &Flags) -> Value {
    match result {
        Ok(_) if flags.get(Flag::Panicked) => json!({"status": "panicked"}),
        Ok(_) if flags.get(Flag::Failed) => json!({"status": "failed"}),
        Ok(outputs) => json!({"status": "ok", "data": outputs.content_by_mime_type}),
        Err(Error::CompilationErrors(errors)) => {
            let errors: Vec<_> = errors.iter().map(|error| explained(code, error)).collect();
            json!({"status": "rejected", "errors": errors})
        }
        Err(Error::SubprocessTerminated(text)) => {
            let how = text.split("with status: ").last().unwrap_or(&text);
            json!({"status": "ended", "how": how.trim()})
        }
        Err(error) => json!({"status": "message", "message": error.to_string()}),
    }
}

/// Whether some of the errors are about the cell itself, not about items of
/// earlier cells.
pub(crate) fn is_users(errors: &[CompilationError]) -> bool {
    let mut messages = errors.iter().filter_map(|e| e.primary_spanned_message());
    messages.any(|message| message.span.is_some())
}

/// Whether the errors point to some of the lines, which count from 1.
pub(crate) fn is_in(errors: &[CompilationError], lines: &HashSet<usize>) -> bool {
    let messages = errors.iter().flat_map(|error| {
        let others = error.spanned_messages().iter().chain(error.help_spanned());
        error.primary_spanned_message().into_iter().chain(others)
    });
    let mut spans = messages.filter_map(|message| message.span);
    spans.any(|span| (span.start_line..=span.end_line).any(|line| lines.contains(&line)))
}

/// Whether an `impl` exists twice.
pub(crate) fn is_double(errors: &[CompilationError]) -> bool {
    let mut codes = errors.iter().filter_map(CompilationError::code);
    codes.any(|code| code == "E0119" || code == "E0592")
}

fn explained(code: &str, error: &CompilationError) -> Value {
    let span = error
        .primary_spanned_message()
        .and_then(|message| message.span);
    json!({
        "message": message(error),
        "code": error.code(),
        "line": span.map(|span| span.start_line),
        "help": error.help(),
        "hint": error.evcxr_extra_hint(),
        "shown": shown(code, error),
    })
}

/// rustc's message. For an error in code that evcxr adds to keep a variable,
/// evcxr only has rustc's help.
fn message(error: &CompilationError) -> String {
    if error.level() != "help" {
        return error.message();
    }
    let spans = error.json["spans"].as_array();
    let mut proposed = spans.into_iter().flatten().filter_map(|span| {
        let code = span["suggested_replacement"].as_str()?.trim();
        (!code.is_empty()).then(|| format!(": `{code}`"))
    });
    format!(
        "The type of a variable cannot be written here; {}{}.",
        error.message(),
        proposed.next().unwrap_or_default()
    )
}

/// rustc's message with the lines of the cell, in colours.
fn shown(code: &str, error: &CompilationError) -> Option<String> {
    if !error.is_from_user_code() {
        return None;
    }
    // Columns are characters, but evcxr treats them as bytes. So it gets a text in which both
    // are the same, and the report is drawn over the real one.
    let bytes: String = code
        .chars()
        .map(|c| if c.is_ascii() { c } else { '?' })
        .collect();
    let report = error.build_report(CELL.into(), bytes, Theme::Light)?;
    let mut text = Vec::new();
    report
        .write(sources([(CELL.to_owned(), code)]), &mut text)
        .ok()?;
    let text = String::from_utf8(text).ok()?;
    // evcxr reports the whole cell as the position.
    let span = error.primary_spanned_message()?.span?;
    let place = format!("{CELL}:{}:{}", span.start_line, span.start_column);
    Some(text.replacen("cell:1:1", &place, 1))
}
