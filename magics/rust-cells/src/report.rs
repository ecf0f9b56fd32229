//! What evcxr says, as JSON for the Python side.

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

fn explained(code: &str, error: &CompilationError) -> Value {
    let span = error
        .primary_spanned_message()
        .and_then(|message| message.span);
    json!({
        "message": error.message(),
        "code": error.code(),
        "line": span.map(|span| span.start_line),
        "help": error.help(),
        "hint": error.evcxr_extra_hint(),
        "shown": shown(code, error),
    })
}

/// rustc's message over the lines of the cell, in colours.
fn shown(code: &str, error: &CompilationError) -> Option<String> {
    if !error.is_from_user_code() {
        return None;
    }
    // Columns are characters. evcxr takes them for bytes, so it gets a text in
    // which they are the same, and the report is drawn over the real one.
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
    // evcxr gives the whole cell as the place.
    let span = error.primary_spanned_message()?.span?;
    let place = format!("{CELL}:{}:{}", span.start_line, span.start_column);
    Some(text.replacen("cell:1:1", &place, 1))
}
