//! The trait of tokenizers, and the tokens of a batch of cells.

use crate::matrix::values::Value;
use crate::{Error, Random, Result, ValuesRef};

/// The cell that a tokenizer receives.
#[derive(Debug, Clone, Copy)]
pub struct Cell<'a> {
    /// Its integer id in its dataset.
    pub id: u64,
    /// The genes that have a value, ascending.
    pub genes: &'a [i32],
    pub values: ValuesRef<'a>,
}

/// A row of a batch, filled with padding, to be written from the left.
#[derive(Debug)]
pub struct Row<'a> {
    pub ids: &'a mut [i64],
    /// Empty for tokenizers without values.
    pub values: &'a mut [f32],
    /// The values with some of them masked; empty without masking.
    pub masked: &'a mut [f32],
}

/// Turns cells into tokens. Implement it for your own model.
pub trait Tokenizer: Send + Sync {
    /// The shape and the padding of the rows.
    fn layout(&self) -> Layout;

    /// Writes a cell and returns its number of tokens. `random` depends only on
    /// the seed, the epoch and the cell.
    fn encode(&self, cell: &Cell<'_>, random: &mut Random, row: Row<'_>) -> Result<usize>;
}

/// The layout of all rows of a batch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Layout {
    /// Tokens per row.
    pub width: usize,
    pub pad: i64,
    /// The padding of values; `None` for tokenizers without values.
    pub pad_value: Option<f32>,
    /// Whether there is a second copy of the values with some of them masked.
    pub masks: bool,
}

/// Tokenized cells: row-major arrays of rows × width.
#[derive(Debug, Clone, PartialEq)]
pub struct Tokens {
    pub width: usize,
    pub ids: Vec<i64>,
    /// Whether the position holds a token, not padding.
    pub mask: Vec<bool>,
    pub values: Option<Vec<f32>>,
    pub masked: Option<Vec<f32>>,
}

impl Tokens {
    /// Appends rows of the same layout; `None` if they differ.
    pub(crate) fn extend(&mut self, other: Self) -> Option<()> {
        fn both(here: &mut Option<Vec<f32>>, there: Option<Vec<f32>>) -> Option<()> {
            match (here, there) {
                (Some(here), Some(there)) => here.extend(there),
                (None, None) => {}
                _ => return None,
            }
            Some(())
        }
        (self.width == other.width).then_some(())?;
        both(&mut self.values, other.values)?;
        both(&mut self.masked, other.masked)?;
        self.ids.extend(other.ids);
        self.mask.extend(other.mask);
        Some(())
    }
}

/// Tokenizes cells, each with its own random numbers.
pub fn encode<'a>(
    tokenizer: &dyn Tokenizer,
    cells: impl ExactSizeIterator<Item = (Cell<'a>, Random)>,
) -> Result<Tokens> {
    let layout = tokenizer.layout();
    let (width, size) = (layout.width, cells.len() * layout.width);
    let padding = |wanted: bool| wanted.then(|| vec![layout.pad_value.unwrap_or(0.0); size]);
    let mut tokens = Tokens {
        width,
        ids: vec![layout.pad; size],
        mask: vec![false; size],
        values: padding(layout.pad_value.is_some()),
        masked: padding(layout.pad_value.is_some() && layout.masks),
    };
    for (at, (cell, mut random)) in cells.enumerate() {
        let here = at * width..(at + 1) * width;
        let row = Row {
            ids: &mut tokens.ids[here.clone()],
            values: row_of(&mut tokens.values, &here),
            masked: row_of(&mut tokens.masked, &here),
        };
        let len = tokenizer.encode(&cell, &mut random, row)?;
        tokens.mask[here.start..here.start + len].fill(true);
    }
    Ok(tokens)
}

fn row_of<'a>(array: &'a mut Option<Vec<f32>>, here: &std::ops::Range<usize>) -> &'a mut [f32] {
    match array {
        Some(array) => &mut array[here.clone()],
        None => &mut [],
    }
}

/// The nonzero counts of a cell, with their genes.
///
/// Fails with [`Error::NotACount`] on a negative value, an infinite value, and
/// NaN.
pub(super) fn counts(cell: &Cell<'_>) -> Result<Vec<(i32, f64)>> {
    let mut values = Vec::with_capacity(cell.values.len());
    f64::extend(&mut values, cell.values);
    let mut found = Vec::with_capacity(values.len());
    for (gene, value) in cell.genes.iter().zip(values) {
        if !(0.0..f64::INFINITY).contains(&value) {
            return Err(Error::NotACount {
                cell: cell.id,
                gene: *gene as u64,
                value: value.to_string(),
            });
        }
        if value > 0.0 {
            found.push((*gene, value));
        }
    }
    Ok(found)
}
