//! A picture of a sparse matrix: the density of its values in each square of a
//! small grid, as SVG and as shaded characters.

use std::fmt::Write;

const HEIGHT: usize = 32;
const WIDTH: usize = 64;
/// The size of a square of the picture, in pixels.
const SIDE: usize = 5;
const SHADES: [char; 5] = [' ', '░', '▒', '▓', '█'];

/// The share of stored values in each cell of a small grid.
pub(crate) struct Grid {
    /// Row by row.
    density: Vec<f64>,
    rows: usize,
    columns: usize,
}

impl Grid {
    /// The density of a compressed matrix. `across` is the length of a row, or of a
    /// column if `turned`.
    pub(crate) fn of(indptr: &[i64], indices: &[i32], across: usize, turned: bool) -> Self {
        let length = indptr.len().saturating_sub(1);
        let (height, width) = if turned {
            (across, length)
        } else {
            (length, across)
        };
        let (rows, columns) = (height.min(HEIGHT), width.min(WIDTH));
        let (lines, places) = if turned {
            (columns, rows)
        } else {
            (rows, columns)
        };
        let mut density = vec![0.0; rows * columns];
        for (line, span) in indptr.windows(2).enumerate() {
            let line = line * lines / length;
            for &place in &indices[span[0] as usize..span[1] as usize] {
                let place = place as usize * places / across;
                let (row, column) = if turned { (place, line) } else { (line, place) };
                density[row * columns + column] += 1.0;
            }
        }
        // The number of rows or columns that a grid cell covers.
        let covered = |at: usize, bins: usize, of: usize| {
            ((at + 1) * of).div_ceil(bins) - (at * of).div_ceil(bins)
        };
        for (at, value) in density.iter_mut().enumerate() {
            let (row, column) = (at / columns, at % columns);
            *value /= (covered(row, rows, height) * covered(column, columns, width)) as f64;
        }
        Self {
            density,
            rows,
            columns,
        }
    }

    /// The shade of each square: 0 if nothing is stored in it, up to `of` for the densest.
    fn shades(&self, of: f64) -> impl Iterator<Item = usize> + '_ {
        let most = self.density.iter().copied().fold(0.0, f64::max);
        self.density.iter().map(move |value| match *value {
            0.0 => 0,
            value => 1 + ((value / most).sqrt() * (of - 1.0)).round() as usize,
        })
    }

    /// Neighbouring squares of one shade are one rectangle, and all rectangles of one
    /// shade one path.
    pub(crate) fn svg(&self) -> String {
        const SHADES: usize = 6;
        let (w, h) = (self.columns * SIDE, self.rows * SIDE);
        let shades: Vec<usize> = self.shades(SHADES as f64).collect();
        let mut paths = vec![String::new(); SHADES + 1];
        for (row, line) in shades.chunks(self.columns.max(1)).enumerate() {
            let mut column = 0;
            for run in line.chunk_by(|a, b| a == b) {
                let (x, y, long) = (column * SIDE, row * SIDE, run.len() * SIDE);
                let _ = write!(paths[run[0]], "M{x} {y}h{long}v{SIDE}h-{long}z");
                column += run.len();
            }
        }
        let mut out = format!(
            "<svg width=\"{w}\" height=\"{h}\" viewBox=\"0 0 {w} {h}\" role=\"img\" \
             aria-label=\"where the matrix has values\" \
             style=\"border:1px solid rgba(128,128,128,.4)\">"
        );
        for (shade, path) in paths
            .iter()
            .enumerate()
            .skip(1)
            .filter(|(_, p)| !p.is_empty())
        {
            let opacity = 0.15 + 0.85 * shade as f64 / SHADES as f64;
            let _ = write!(out, "<path opacity=\"{opacity:.2}\" d=\"{path}\"/>");
        }
        out + "</svg>"
    }

    pub(crate) fn text(&self) -> String {
        let shades: Vec<usize> = self.shades(SHADES.len() as f64 - 1.0).collect();
        let mut out = String::new();
        for line in shades.chunks(self.columns.max(1)) {
            out.extend(line.iter().map(|&shade| SHADES[shade]));
            out.push('\n');
        }
        out
    }
}
