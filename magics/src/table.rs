//! The result of a statement as a table: the first and last rows, the types of the
//! columns, and a line that says how many rows there are and which engine ran.

use std::fmt::Write;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float32Type, Float64Type, SchemaRef};
use arrow::util::display::{ArrayFormatter, FormatOptions};

use crate::html::{STYLE, escape, grouped};

/// Rows and columns shown, and characters of a value.
const ROWS: usize = 20;
const COLUMNS: usize = 24;
const WIDTH: usize = 60;

/// A table with its footer.
pub struct TableView<'a> {
    pub schema: &'a SchemaRef,
    pub batches: &'a [RecordBatch],
    /// Such as `datafusion, 12 ms`.
    pub note: &'a str,
    pub warnings: &'a [String],
}

impl TableView<'_> {
    pub fn html(&self) -> String {
        let mut out = format!("<div class=\"slaf\">{STYLE}<table><thead><tr>");
        let columns = self.columns();
        for &column in &columns {
            let field = self.schema.field(column);
            let (name, kind) = (escape(field.name()), short(field.data_type()));
            let class = class(field.data_type());
            let _ = write!(
                out,
                "<th{class}>{name}<br><span class=\"dim\">{}</span></th>",
                escape(&kind)
            );
        }
        out.push_str("</tr></thead><tbody>");
        for row in self.shown() {
            out.push_str("<tr>");
            for (&column, cell) in columns.iter().zip(self.cells(row, &columns)) {
                let class = class(self.schema.field(column).data_type());
                let _ = match cell {
                    Some(text) => write!(out, "<td{class}>{}</td>", escape(&text)),
                    None => write!(out, "<td{class}><span class=\"dim\">NULL</span></td>"),
                };
            }
            out.push_str("</tr>");
            if self.cut_after(row) {
                let _ = write!(
                    out,
                    "<tr><td class=\"text dim\" colspan=\"{}\">…</td></tr>",
                    columns.len()
                );
            }
        }
        let _ = write!(
            out,
            "</tbody></table><div class=\"dim\">{}</div>",
            escape(&self.footer())
        );
        for warning in self.warnings {
            let _ = write!(out, "<div class=\"warn\">{}</div>", escape(warning));
        }
        out.push_str("</div>");
        out
    }

    pub fn text(&self) -> String {
        let columns = self.columns();
        let mut lines: Vec<Vec<String>> = vec![
            columns
                .iter()
                .map(|&c| self.schema.field(c).name().clone())
                .collect(),
        ];
        for row in self.shown() {
            let cells = self.cells(row, &columns).into_iter();
            lines.push(
                cells
                    .map(|cell| cell.unwrap_or_else(|| "NULL".into()))
                    .collect(),
            );
            if self.cut_after(row) {
                lines.push(vec!["…".into(); columns.len()]);
            }
        }
        let widths: Vec<usize> = (0..columns.len())
            .map(|c| {
                lines
                    .iter()
                    .map(|line| line[c].chars().count())
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        let mut out = String::new();
        for line in lines {
            let cells =
                line.iter().zip(&widths).zip(&columns).map(
                    |((cell, &width), &column)| match is_text(self.schema.field(column).data_type())
                    {
                        true => format!("{cell:<width$}"),
                        false => format!("{cell:>width$}"),
                    },
                );
            let line = cells.collect::<Vec<_>>().join("  ");
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out.push_str(&self.footer());
        for warning in self.warnings {
            let _ = write!(out, "\n{warning}");
        }
        out
    }

    fn rows(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }

    fn footer(&self) -> String {
        let (rows, columns) = (self.rows() as u64, self.schema.fields().len());
        let plural =
            |n: u64, what: &str| format!("{} {what}{}", grouped(n), if n == 1 { "" } else { "s" });
        let hidden = columns.saturating_sub(COLUMNS);
        let hidden = if hidden > 0 {
            format!(" ({hidden} not shown)")
        } else {
            String::new()
        };
        format!(
            "{} × {}{hidden} · {}",
            plural(rows, "row"),
            plural(columns as u64, "column"),
            self.note
        )
    }

    fn columns(&self) -> Vec<usize> {
        (0..self.schema.fields().len().min(COLUMNS)).collect()
    }

    /// The first rows, and the last ones when not all fit.
    fn shown(&self) -> Vec<usize> {
        let rows = self.rows();
        if rows <= ROWS {
            return (0..rows).collect();
        }
        (0..ROWS - 5).chain(rows - 5..rows).collect()
    }

    fn cut_after(&self, row: usize) -> bool {
        self.rows() > ROWS && row == ROWS - 6
    }

    /// The values of a row as text; `None` is NULL.
    fn cells(&self, mut row: usize, columns: &[usize]) -> Vec<Option<String>> {
        for batch in self.batches {
            if row < batch.num_rows() {
                return columns
                    .iter()
                    .map(|&c| cell(batch.column(c), row))
                    .collect();
            }
            row -= batch.num_rows();
        }
        vec![None; columns.len()]
    }
}

fn cell(array: &dyn Array, row: usize) -> Option<String> {
    if array.is_null(row) {
        return None;
    }
    let number = match array.data_type() {
        DataType::Float64 => Some(array.as_primitive::<Float64Type>().value(row)),
        DataType::Float32 => Some(f64::from(array.as_primitive::<Float32Type>().value(row))),
        _ => None,
    };
    if let Some(number) = number {
        return Some(rounded(number));
    }
    let options = FormatOptions::default();
    let text = match ArrayFormatter::try_new(array, &options) {
        Ok(formatter) => formatter.value(row).to_string(),
        Err(_) => format!("<{}>", array.data_type()),
    };
    if text.chars().count() > WIDTH {
        return Some(text.chars().take(WIDTH - 1).chain(['…']).collect());
    }
    Some(text)
}

/// Six significant digits, as numpy and pandas show.
fn rounded(number: f64) -> String {
    let size = number.abs();
    if size == 0.0 || !number.is_finite() {
        return number.to_string();
    }
    if !(1e-4..1e9).contains(&size) {
        return format!("{number:.5e}");
    }
    let decimals = (5 - size.log10().floor() as i64).clamp(0, 9) as usize;
    let text = format!("{number:.decimals$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

fn is_text(dtype: &DataType) -> bool {
    !dtype.is_numeric()
}

fn class(dtype: &DataType) -> &'static str {
    if is_text(dtype) {
        " class=\"text\""
    } else {
        ""
    }
}

/// A type's name as a user of SQL knows it.
fn short(dtype: &DataType) -> String {
    match dtype {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "text".into(),
        DataType::FixedSizeList(inner, n) => format!("{}[{n}]", short(inner.data_type())),
        other => other.to_string().to_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, StringArray};
    use arrow::datatypes::{Field, Schema};

    use super::*;

    fn view(
        names: Vec<Option<&str>>,
        note: &'static str,
    ) -> (SchemaRef, RecordBatch, &'static str) {
        let counts = Int64Array::from_iter_values(0..names.len() as i64);
        let schema = Arc::new(Schema::new(vec![
            Field::new("cell_type", DataType::Utf8, true),
            Field::new("n", DataType::Int64, false),
        ]));
        let columns: Vec<Arc<dyn Array>> =
            vec![Arc::new(StringArray::from(names)), Arc::new(counts)];
        (
            Arc::clone(&schema),
            RecordBatch::try_new(schema, columns).unwrap(),
            note,
        )
    }

    #[test]
    fn text_aligns_and_shows_null() {
        let (schema, batch, note) = view(vec![Some("T cells"), None], "polars");
        let view = TableView {
            schema: &schema,
            batches: &[batch],
            note,
            warnings: &[],
        };
        assert_eq!(
            view.text(),
            "cell_type  n\nT cells    0\nNULL       1\n2 rows × 2 columns · polars"
        );
    }

    #[test]
    fn floats_show_six_digits() {
        let shown = [
            0.0,
            1.0,
            -4432.076923,
            0.1 + 0.2,
            1.5e-7,
            123456789.0,
            f64::NAN,
        ]
        .map(rounded);
        assert_eq!(
            shown,
            [
                "0",
                "1",
                "-4432.08",
                "0.3",
                "1.50000e-7",
                "123456789",
                "NaN"
            ]
        );
    }

    #[test]
    fn html_escapes_and_cuts_the_middle() {
        let (schema, batch, note) = view(vec![Some("<b>"); 40], "polars");
        let view = TableView {
            schema: &schema,
            batches: &[batch],
            note,
            warnings: &["\"x\"".into()],
        };
        let html = view.html();
        assert_eq!(html.matches("&lt;b&gt;").count(), 20);
        assert!(!html.contains("<b>"));
        assert!(html.contains("40 rows × 2 columns"));
        assert!(html.contains("&quot;x&quot;"));
    }
}
