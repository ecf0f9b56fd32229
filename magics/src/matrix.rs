//! The display of a sparse matrix: its size and density, a picture of its values,
//! their distribution, and its first rows and columns with names.

use std::fmt::Write;

use crate::density_picture::Grid;
use crate::html::{STYLE, bytes, clipped, cut, escape, fitting, grouped, percent, visible};
use crate::sparklines::{BINS, histogram};
use crate::values::{brief, rounded};

/// The three arrays of a compressed matrix.
#[derive(Debug, Clone, Copy)]
pub struct Compressed<'a> {
    pub indptr: &'a [i64],
    pub indices: &'a [i32],
    pub values: &'a [f64],
}

/// A CSR matrix, or a CSC one.
pub struct SparseView<'a> {
    /// All rows (columns of a CSC matrix), or an evenly spread sample.
    pub drawn: Compressed<'a>,
    /// The first rows and columns.
    pub corner: Compressed<'a>,
    /// Whether the matrix is a CSC matrix, whose `drawn` are columns.
    pub turned: bool,
    pub shape: (usize, usize),
    pub corner_shape: (usize, usize),
    pub nnz: u64,
    pub dtype: &'a str,
    /// The size of the three arrays, in bytes.
    pub bytes: u64,
    /// Names of the first rows and columns; empty if unknown.
    pub names: [Vec<String>; 2],
}

impl SparseView<'_> {
    pub fn html(&self) -> String {
        let grid = self.grid();
        fitting(&[60, 20, 8], |width| {
            let mut out = format!("<div class=\"slaf\">{STYLE}<div class=\"top\">");
            let (name, rest) = self.caption();
            let _ = write!(out, "<b>{name}</b> {}</div>", escape(&rest));
            out.push_str("<table><tbody><tr><td class=\"text\">");
            out.push_str(&grid.svg());
            out.push_str("<br><span class=\"dim\">where values are, rows from above</span></td>");
            let _ = write!(
                out,
                "<td class=\"text\">{}{}</td></tr></tbody></table></div>",
                self.spread(),
                self.corner_html(width)
            );
            out
        })
    }

    pub fn text(&self) -> String {
        let (name, rest) = self.caption();
        let grid = self.grid().text();
        let (_, words) = self.histogram();
        format!(
            "{grid}{name} {rest}\nvalues {words}\n{}",
            self.corner_text()
        )
    }

    fn caption(&self) -> (&'static str, String) {
        let (rows, columns) = self.shape;
        (
            if self.turned { "CSC" } else { "CSR" },
            format!(
                "{} × {} · {} · {} stored ({}) · {}",
                grouped(rows as u64),
                grouped(columns as u64),
                self.dtype,
                grouped(self.nnz),
                percent(self.nnz as f64, rows as f64 * columns as f64),
                bytes(self.bytes)
            ),
        )
    }

    fn spread(&self) -> String {
        let (bins, words) = self.histogram();
        if bins.is_empty() {
            return format!("<span class=\"dim\">{}</span>", escape(&words));
        }
        let picture = histogram(&bins, &format!("histogram of stored values, {words}"));
        format!(
            "{picture}<br><span class=\"dim\">values {}</span>",
            escape(&words)
        )
    }

    fn grid(&self) -> Grid {
        let across = if self.turned {
            self.shape.0
        } else {
            self.shape.1
        };
        Grid::of(self.drawn.indptr, self.drawn.indices, across, self.turned)
    }

    /// A histogram of the stored values, and a description of it.
    fn histogram(&self) -> (Vec<u64>, String) {
        let values = self.drawn.values;
        let finite = || values.iter().copied().filter(|x| x.is_finite());
        if values.is_empty() {
            return (vec![], "none stored".into());
        }
        let odd = match values.len() - finite().count() {
            0 => String::new(),
            n => format!(", {} NaN or ∞", grouped(n as u64)),
        };
        let (low, high) = finite().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| {
            (low.min(x), high.max(x))
        });
        if low > high {
            return (vec![], format!("none finite{odd}"));
        }
        let mut bins = vec![0; BINS];
        for x in finite() {
            let place = (x / 2.0 - low / 2.0) / (high / 2.0 - low / 2.0).max(f64::MIN_POSITIVE);
            bins[((place * BINS as f64) as usize).min(BINS - 1)] += 1;
        }
        let ends = match low == high {
            true => format!("all {}", brief(low)),
            false => format!("{} … {}", brief(low), brief(high)),
        };
        let words = format!("{ends}{odd}{}", self.sampled());
        (bins, words)
    }

    /// A note if only a sample is drawn.
    fn sampled(&self) -> String {
        let drawn = self.drawn.indptr.len().saturating_sub(1);
        let (lines, of) = match self.turned {
            true => ("columns", self.shape.1),
            false => ("rows", self.shape.0),
        };
        match drawn < of {
            true => format!(", of {} of the {lines}", grouped(drawn as u64)),
            false => String::new(),
        }
    }

    /// The values in the first rows and columns; `None` if a value is not stored.
    fn corner(&self) -> Vec<Vec<Option<f64>>> {
        let (rows, columns) = self.corner_shape;
        let mut corner = vec![vec![None; columns]; rows];
        let Compressed {
            indptr,
            indices,
            values,
        } = self.corner;
        for (line, span) in indptr.windows(2).enumerate() {
            for at in span[0] as usize..span[1] as usize {
                let place = indices[at] as usize;
                let (row, column) = if self.turned {
                    (place, line)
                } else {
                    (line, place)
                };
                corner[row][column] = Some(values[at]);
            }
        }
        corner
    }

    /// The name of a row (axis 0) or column (axis 1), or its number.
    fn name(&self, axis: usize, at: usize) -> String {
        self.names[axis]
            .get(at)
            .cloned()
            .unwrap_or_else(|| at.to_string())
    }

    fn corner_html(&self, width: usize) -> String {
        let corner = self.corner();
        let columns = corner.first().map_or(0, Vec::len);
        if columns == 0 {
            return String::new();
        }
        let beyond = self.shape.1 > columns;
        let mut out = String::from("<table><thead><tr><th class=\"text\"></th>");
        for column in 0..columns {
            let name = cut(&self.name(1, column), width.min(16), width);
            let _ = write!(out, "<th scope=\"col\">{name}</th>");
        }
        out.push_str(if beyond {
            "<th>…</th></tr></thead><tbody>"
        } else {
            "</tr></thead><tbody>"
        });
        for (row, values) in corner.iter().enumerate() {
            let name = cut(&self.name(0, row), width.min(24), width);
            let _ = write!(out, "<tr><th scope=\"row\" class=\"text\">{name}</th>");
            for value in values {
                let _ = match value {
                    Some(x) => write!(out, "<td>{}</td>", rounded(*x)),
                    None => write!(out, "<td class=\"dim\">·</td>"),
                };
            }
            out.push_str(if beyond {
                "<td class=\"dim\">…</td></tr>"
            } else {
                "</tr>"
            });
        }
        out.push_str("</tbody></table>");
        out
    }

    fn corner_text(&self) -> String {
        let corner = self.corner();
        let columns = corner.first().map_or(0, Vec::len);
        if columns == 0 {
            return String::new();
        }
        let name = |axis, at| clipped(&visible(&self.name(axis, at)), 16).into_owned();
        let head = std::iter::once(String::new()).chain((0..columns).map(|c| name(1, c)));
        let mut lines: Vec<Vec<String>> = vec![head.collect()];
        for (row, values) in corner.iter().enumerate() {
            let cells = values.iter().map(|v| v.map_or("·".into(), rounded));
            lines.push(std::iter::once(name(0, row)).chain(cells).collect());
        }
        let width = |c: usize| {
            lines
                .iter()
                .map(|l| l[c].chars().count())
                .max()
                .unwrap_or(0)
        };
        let lines = lines.iter().map(|line| {
            let first = format!("{:1$}", line[0], width(0));
            let cells = (1..=columns).map(|c| format!("  {:>1$}", line[c], width(c)));
            std::iter::once(first).chain(cells).collect::<String>()
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view<'a>(indptr: &'a [i64], indices: &'a [i32], values: &'a [f64]) -> SparseView<'a> {
        let all = Compressed {
            indptr,
            indices,
            values,
        };
        SparseView {
            drawn: all,
            corner: all,
            turned: false,
            shape: (indptr.len() - 1, 3),
            corner_shape: (indptr.len() - 1, 3),
            nnz: indices.len() as u64,
            dtype: "float32",
            bytes: 40,
            names: [vec!["AAAC".into()], vec![]],
        }
    }

    #[test]
    fn a_diagonal_is_a_diagonal() {
        let view = view(&[0, 1, 2, 3], &[0, 1, 2], &[1.0, 2.0, 4.5]);
        assert_eq!(
            view.text(),
            "█  \n █ \n  █\nCSR 3 × 3 · float32 · 3 stored (33.3 %) · 40 bytes\n\
             values 1 … 4.5\n      0  1    2\nAAAC  1  ·    ·\n1     ·  2    ·\n2     ·  ·  4.5"
        );
    }

    #[test]
    fn of_many_rows_some_are_drawn() {
        let mut part = view(&[0, 1, 2], &[0, 1], &[1.0, 9.0]);
        (part.shape, part.nnz) = ((1000, 3), 500);
        let text = part.text();
        assert!(text.contains("1,000 × 3 · float32 · 500 stored (16.7 %)"));
        assert!(text.contains("values 1 … 9, of 2 of the rows\n"));
    }

    #[test]
    fn csc_is_drawn_as_it_lies() {
        let mut lower = view(&[0, 2, 2, 3], &[0, 2, 1], &[1.0, 2.0, 3.0]);
        lower.turned = true;
        assert!(lower.text().starts_with("█  \n  █\n█  \nCSC 3 × 3"));
        assert!(
            lower
                .text()
                .ends_with("AAAC  1  ·  ·\n1     ·  ·  3\n2     2  ·  ·")
        );
    }

    #[test]
    fn nothing_is_drawn_of_nothing() {
        let mut nothing = view(&[0], &[], &[]);
        (nothing.shape, nothing.corner_shape) = ((0, 5), (0, 5));
        assert_eq!(
            nothing.text(),
            "CSR 0 × 5 · float32 · 0 stored (0 %) · 40 bytes\nvalues none stored\n"
        );
        let mut odd = view(&[0, 1], &[0], &[f64::NAN]);
        odd.shape = (2, 3);
        assert!(odd.text().contains("values none finite, 1 NaN or ∞"));
    }
}
