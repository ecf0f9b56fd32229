//! The result of a statement, or a frame, as a table: the types and distributions
//! of the columns, the first and last rows, and a line with the number of rows and
//! the engine that ran.

use std::fmt::Write;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use crate::column_summary::{Summary, looked_at};
use crate::html::{STYLE, clipped, counted, cut, escape, fitting, grouped, visible};
use crate::values::{at_the_point, cell, is_number, short};

/// Maximum numbers of rows, columns and characters per value.
#[derive(Clone, Copy)]
struct Room {
    rows: usize,
    columns: usize,
    width: usize,
    /// Characters of a value's tooltip.
    whole: usize,
}

const ROOM: Room = Room {
    rows: 20,
    columns: 24,
    width: 60,
    whole: 1000,
};
/// Limits from large to small; the first one that fits is used.
const ROOMS: [Room; 4] = [
    ROOM,
    Room {
        width: 40,
        whole: 200,
        ..ROOM
    },
    Room {
        rows: 14,
        columns: 16,
        width: 24,
        whole: 50,
    },
    Room {
        rows: 8,
        columns: 10,
        width: 12,
        whole: 0,
    },
];
/// Number of rows from the end of the table.
const LAST: usize = 5;

/// A table with its footer.
pub struct TableView<'a> {
    pub schema: &'a SchemaRef,
    pub batches: &'a [RecordBatch],
    /// Such as `datafusion · 12 ms`.
    pub note: &'a str,
    pub warnings: &'a [String],
    /// The whole table, if `batches` contain only its first and last rows.
    pub whole: Option<Whole>,
}

/// What is known about the whole table.
pub struct Whole {
    pub rows: usize,
    pub columns: usize,
    /// The type of each column, and a summary of its values.
    pub heads: Vec<(String, String)>,
}

impl TableView<'_> {
    pub fn html(&self) -> String {
        let columns = if self.whole.is_some() {
            vec![]
        } else {
            self.columns(ROOM)
        };
        let summary = |&column: &usize| Summary::of(self.batches, column);
        let summaries: Vec<_> = columns.iter().map(summary).collect();
        fitting(&ROOMS, |room| self.drawn(room, &summaries))
    }

    fn drawn(&self, room: Room, summaries: &[Summary]) -> String {
        let columns = self.columns(room);
        let mut out = format!("<div class=\"slaf\">{STYLE}<table><thead><tr>");
        out.extend((columns.iter()).map(|&column| self.head(column, room, summaries)));
        out.push_str("</tr></thead><tbody>");
        let rows = self.shown(room);
        let cells: Vec<Vec<Option<String>>> = columns
            .iter()
            .map(|&column| self.aligned(&rows, column))
            .collect();
        for (at, &row) in rows.iter().enumerate() {
            out.push_str("<tr>");
            for (cells, &column) in cells.iter().zip(&columns) {
                let class = self.class(column);
                let _ = match &cells[at] {
                    Some(text) => {
                        write!(out, "<td{class}>{}</td>", cut(text, room.width, room.whole))
                    }
                    None => write!(out, "<td{class}><span class=\"dim\">NULL</span></td>"),
                };
            }
            out.push_str("</tr>");
            if self.cut_after(row, room) {
                let hidden = grouped((self.rows() - rows.len()) as u64);
                let _ = write!(
                    out,
                    "<tr><td class=\"text dim\" colspan=\"{}\">… {hidden} more …</td></tr>",
                    columns.len()
                );
            }
        }
        let footer = escape(&self.footer(room)).into_owned();
        let _ = write!(out, "</tbody></table><div class=\"dim\">{footer}</div>");
        for warning in self.warnings {
            let warning = clipped(warning, 600);
            let _ = write!(out, "<div class=\"warn\">{}</div>", escape(&warning));
        }
        out.push_str("</div>");
        out
    }

    /// The header of a column: name, type, missing values and a picture.
    fn head(&self, column: usize, room: Room, summaries: &[Summary]) -> String {
        let field = self.schema.field(column);
        if let Some(whole) = &self.whole {
            let (kind, known) = &whole.heads[column];
            return format!(
                "<th scope=\"col\"{}>{}<br><span class=\"dim\">{}<br>{}</span></th>",
                self.class(column),
                cut(field.name(), room.width, room.whole),
                escape(&clipped(kind, 40)),
                cut(known, room.width / 2, room.whole)
            );
        }
        let summary = &summaries[column];
        let mut out = format!(
            "<th scope=\"col\"{}>{}<br><span class=\"dim\">{}",
            self.class(column),
            cut(field.name(), room.width, room.whole),
            escape(&short(field.data_type()))
        );
        if summary.nulls > 0 {
            let _ = write!(out, " · {}", counted(summary.nulls, "null"));
        }
        out.push_str("</span>");
        // One row needs no statistics.
        if self.rows() > 1 {
            let (picture, words) = summary.html();
            if !picture.is_empty() {
                let words = cut(&words, room.width / 2, room.whole);
                let _ = write!(out, "<br>{picture}<br><span class=\"dim\">{words}</span>");
            }
        }
        out.push_str("</th>");
        out
    }

    pub fn text(&self) -> String {
        let columns = self.columns(ROOM);
        let mut lines: Vec<Vec<String>> = vec![
            columns
                .iter()
                .map(|&c| plain(self.schema.field(c).name()))
                .collect(),
        ];
        for row in self.shown(ROOM) {
            let cells = columns.iter().map(|&column| self.cell(row, column));
            lines.push(
                cells
                    .map(|cell| cell.map_or_else(|| "NULL".into(), |text| plain(&text)))
                    .collect(),
            );
            if self.cut_after(row, ROOM) {
                lines.push(vec!["…".into(); columns.len()]);
            }
        }
        let mut out = self.justified(&lines, &columns);
        out.push_str(&self.footer(ROOM));
        for warning in self.warnings {
            let _ = write!(out, "\n{}", visible(warning));
        }
        out
    }

    fn justified(&self, lines: &[Vec<String>], columns: &[usize]) -> String {
        let width = |c: usize| lines.iter().map(|line| line[c].chars().count()).max();
        let widths: Vec<usize> = (0..columns.len()).map(|c| width(c).unwrap_or(0)).collect();
        let mut out = String::new();
        for line in lines {
            let cells = line
                .iter()
                .zip(&widths)
                .zip(columns)
                .map(|((cell, &width), &column)| {
                    match is_number(self.schema.field(column).data_type()) {
                        false => format!("{cell:<width$}"),
                        true => format!("{cell:>width$}"),
                    }
                });
            let line = cells.collect::<Vec<_>>().join("  ");
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }

    /// Number of rows of the whole table.
    fn rows(&self) -> usize {
        self.whole.as_ref().map_or_else(|| self.here(), |w| w.rows)
    }

    fn here(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }

    fn footer(&self, room: Room) -> String {
        let rows = self.rows();
        let fields = self.schema.fields().len();
        let columns = self.whole.as_ref().map_or(fields, |w| w.columns);
        let mut out = format!(
            "{} × {}",
            counted(rows as u64, "row"),
            counted(columns as u64, "column")
        );
        let hidden = columns - fields.min(room.columns);
        if hidden > 0 {
            let _ = write!(out, " ({} not shown)", grouped(hidden as u64));
        }
        if looked_at(rows) < rows && self.whole.is_none() {
            let _ = write!(
                out,
                " · pictures of {} of the rows",
                grouped(looked_at(rows) as u64)
            );
        }
        if !self.note.is_empty() {
            let _ = write!(out, " · {}", self.note);
        }
        out
    }

    fn class(&self, column: usize) -> &'static str {
        match is_number(self.schema.field(column).data_type()) {
            true => "",
            false => " class=\"text\"",
        }
    }

    fn columns(&self, room: Room) -> Vec<usize> {
        (0..self.schema.fields().len().min(room.columns)).collect()
    }

    /// The rows to show: the first ones, and the last ones if not all fit.
    fn shown(&self, room: Room) -> Vec<usize> {
        let here = self.here();
        if here <= room.rows {
            return (0..here).collect();
        }
        (0..room.rows - LAST).chain(here - LAST..here).collect()
    }

    /// Whether rows are left out after this one.
    fn cut_after(&self, row: usize, room: Room) -> bool {
        let shown = self.here().min(room.rows);
        self.rows() > shown && row + 1 == shown.saturating_sub(LAST)
    }

    /// The values of a column, with numbers aligned at their decimal points.
    fn aligned(&self, rows: &[usize], column: usize) -> Vec<Option<String>> {
        let mut cells: Vec<_> = rows.iter().map(|&row| self.cell(row, column)).collect();
        if self.schema.field(column).data_type().is_floating() {
            at_the_point(&mut cells);
        }
        cells
    }

    /// A value as text; `None` is NULL.
    fn cell(&self, mut row: usize, column: usize) -> Option<String> {
        for batch in self.batches {
            if row < batch.num_rows() {
                return cell(batch.column(column), row);
            }
            row -= batch.num_rows();
        }
        None
    }
}

/// A text with visible control characters, clipped to the usual width.
fn plain(text: &str) -> String {
    clipped(&visible(text), ROOM.width).into_owned()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Array, Float64Array, Int64Array, StringArray};
    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;
    use crate::html::LIMIT;

    fn batch(names: Vec<Option<&str>>) -> (SchemaRef, RecordBatch) {
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
        )
    }

    fn view<'a>(schema: &'a SchemaRef, batches: &'a [RecordBatch]) -> TableView<'a> {
        TableView {
            schema,
            batches,
            note: "polars",
            warnings: &[],
            whole: None,
        }
    }

    #[test]
    fn text_aligns_and_shows_null() {
        let (schema, batch) = batch(vec![Some("T cells"), None]);
        assert_eq!(
            view(&schema, &[batch]).text(),
            "cell_type  n\nT cells    0\nNULL       1\n2 rows × 2 columns · polars"
        );
    }

    #[test]
    fn html_escapes_and_cuts_the_middle() {
        let (schema, batch) = batch(vec![Some("<b>"); 40]);
        let warnings = &["\"x\"".to_owned()];
        let shown = [batch];
        let html = TableView {
            warnings,
            ..view(&schema, &shown)
        }
        .html();
        assert_eq!(html.matches("<td class=\"text\">&lt;b&gt;").count(), 20);
        assert!(!html.contains("<b>"));
        assert!(html.contains("… 20 more …") && html.contains("40 rows × 2 columns"));
        assert!(html.contains("&quot;x&quot;"));
    }

    #[test]
    fn of_a_part_the_whole_is_told() {
        let (schema, batch) = batch(vec![Some("B"); 20]);
        let heads = vec![
            ("category".into(), "2 values".into()),
            ("int64".into(), String::new()),
        ];
        let part = TableView {
            whole: Some(Whole {
                rows: 1000,
                columns: 9,
                heads,
            }),
            ..view(&schema, std::slice::from_ref(&batch))
        };
        let html = part.html();
        assert!(html.contains("category<br>2 values") && html.contains("… 980 more …"));
        assert!(html.contains("1,000 rows × 9 columns (7 not shown) · polars"));
        assert!(
            part.text()
                .contains("\nB          14\n…           …\nB          15\n")
        );
    }

    #[test]
    fn the_worst_table_is_not_too_long() {
        let nasty = "\"".repeat(10_000);
        let columns: Vec<(String, Arc<dyn Array>)> = (0..1500)
            .map(|at| {
                let column: Arc<dyn Array> = match at % 2 {
                    0 => Arc::new(StringArray::from(vec![nasty.as_str(); 300])),
                    _ => Arc::new(Float64Array::from_iter_values((0..300).map(f64::from))),
                };
                (format!("{nasty}{at}"), column)
            })
            .collect();
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let schema = batch.schema();
        let html = view(&schema, &[batch]).html();
        assert!(html.len() <= LIMIT, "{} bytes", html.len());
        assert!(html.contains("300 rows × 1,500 columns"));
    }
}
