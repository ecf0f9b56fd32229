//! A picture of a sparse matrix: the share of stored values in each square of a
//! small grid, as SVG and as shaded characters.

use std::fmt::Write;

use crate::html::{STYLE, escape, grouped};

const HEIGHT: usize = 24;
const WIDTH: usize = 48;
const SHADES: [char; 5] = [' ', '░', '▒', '▓', '█'];

/// The picture of a CSR matrix with a caption.
pub struct Picture {
    /// Density of each grid cell, row by row.
    grid: Vec<f64>,
    rows: usize,
    columns: usize,
    caption: String,
}

/// What is said below the picture.
pub struct Facts<'a> {
    pub shape: (usize, usize),
    pub nnz: Option<u64>,
    pub dtype: &'a str,
    /// Such as `drawn from 1,024 of the cells`.
    pub note: &'a str,
}

impl Picture {
    /// Of a matrix with `width` columns; `facts` may describe a larger matrix
    /// that this one is a sample of.
    pub fn new(indptr: &[i64], indices: &[i32], width: usize, facts: &Facts<'_>) -> Self {
        let height = indptr.len().saturating_sub(1);
        let (rows, columns) = (height.min(HEIGHT), width.min(WIDTH));
        let mut grid = vec![0.0; rows * columns];
        for (row, span) in indptr.windows(2).enumerate() {
            let line = row * rows / height;
            for &column in &indices[span[0] as usize..span[1] as usize] {
                grid[line * columns + column as usize * columns / width] += 1.0;
            }
        }
        // A grid cell covers so many rows and columns of the matrix.
        let covered = |at: usize, bins: usize, of: usize| {
            ((at + 1) * of).div_ceil(bins) - (at * of).div_ceil(bins)
        };
        for (at, value) in grid.iter_mut().enumerate() {
            let (line, column) = (at / columns, at % columns);
            *value /= (covered(line, rows, height) * covered(column, columns, width)) as f64;
        }
        Self {
            grid,
            rows,
            columns,
            caption: facts.caption(),
        }
    }

    pub fn html(&self) -> String {
        let mut out = format!("<div class=\"slaf\">{STYLE}");
        let (w, h) = (self.columns * 8, self.rows * 8);
        let _ = write!(
            out,
            "<svg width=\"{w}\" height=\"{h}\" viewBox=\"0 0 {w} {h}\" role=\"img\" \
             style=\"border:1px solid rgba(128,128,128,.4)\" fill=\"currentColor\">"
        );
        let most = self.most();
        for (at, value) in self.grid.iter().enumerate().filter(|(_, v)| **v > 0.0) {
            let (x, y) = (at % self.columns * 8, at / self.columns * 8);
            let shade = 0.1 + 0.9 * (value / most).sqrt();
            let _ = write!(
                out,
                "<rect x=\"{x}\" y=\"{y}\" width=\"8\" height=\"8\" opacity=\"{shade:.2}\"/>"
            );
        }
        let _ = write!(
            out,
            "</svg><div class=\"dim\">{}</div></div>",
            escape(&self.caption)
        );
        out
    }

    pub fn text(&self) -> String {
        let most = self.most();
        let mut out = String::new();
        for line in self.grid.chunks(self.columns.max(1)) {
            let shades = line.iter().map(|value| match *value {
                0.0 => SHADES[0],
                value => SHADES[1 + ((value / most).sqrt() * 3.0).round() as usize],
            });
            out.extend(shades);
            out.push('\n');
        }
        out + &self.caption
    }

    fn most(&self) -> f64 {
        self.grid.iter().copied().fold(0.0, f64::max)
    }
}

impl Facts<'_> {
    fn caption(&self) -> String {
        let (rows, columns) = self.shape;
        let mut out = format!(
            "{} × {} {}",
            grouped(rows as u64),
            grouped(columns as u64),
            self.dtype
        );
        if let Some(nnz) = self.nnz {
            let cells = rows as f64 * columns as f64;
            let density = if cells > 0.0 {
                100.0 * nnz as f64 / cells
            } else {
                0.0
            };
            let _ = write!(out, " · {} stored · {density:.2} % dense", grouped(nnz));
        }
        if !self.note.is_empty() {
            let _ = write!(out, " · {}", self.note);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diagonal_is_a_diagonal() {
        let facts = Facts {
            shape: (3, 3),
            nnz: Some(3),
            dtype: "float32",
            note: "",
        };
        let picture = Picture::new(&[0, 1, 2, 3], &[0, 1, 2], 3, &facts);
        assert_eq!(
            picture.text(),
            "█  \n █ \n  █\n3 × 3 float32 · 3 stored · 33.33 % dense"
        );
        assert_eq!(picture.html().matches("<rect").count(), 3);
    }

    #[test]
    fn nothing_is_drawn_of_nothing() {
        let facts = Facts {
            shape: (0, 5),
            nnz: Some(0),
            dtype: "uint16",
            note: "",
        };
        let picture = Picture::new(&[0], &[], 5, &facts);
        assert_eq!(picture.text(), "0 × 5 uint16 · 0 stored · 0.00 % dense");
    }
}
