//! scGPT's input (Cui et al., Nature Methods 2024, and `preprocess.binning` and
//! `DataCollator` in its code): the genes that have a value, in any order, each
//! with the quantile bin of its value within the cell.

use super::tokenizer::{Cell, Layout, Row, Tokenizer, counts};
use crate::{Error, Random, Result};

/// Which values are masked, for the model to predict.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mask {
    /// Fraction of a cell's values, rounded down to a whole number.
    pub ratio: f64,
    /// The value that replaces them.
    pub value: f32,
}

/// The tokenizer of one dataset.
#[derive(Debug, Clone)]
pub struct Scgpt {
    /// The token of each gene of the dataset; `None` if the vocabulary does not
    /// have it.
    pub tokens: Vec<Option<i64>>,
    pub cls: i64,
    pub pad: i64,
    pub pad_value: f32,
    /// Number of bins, including the bin of zeros.
    pub bins: usize,
    /// Whether a value that equals several bin edges is assigned to one of
    /// their bins at random, as in the original; otherwise it gets the highest
    /// bin.
    pub spread: bool,
    /// Tokens per row, including `<cls>`.
    pub width: usize,
    /// Whether a cell with too many genes is sampled at random, as in the
    /// original; otherwise its first genes are used.
    pub sample: bool,
    pub mask: Option<Mask>,
}

impl Scgpt {
    /// Validates the settings.
    ///
    /// # Errors
    ///
    /// There are fewer than 3 bins, there is no room for a gene, or the mask
    /// ratio is above 1.
    pub fn check(self) -> Result<Self> {
        let wrong = |message: String| Err(Error::Engine { message });
        if self.bins < 3 {
            return wrong(format!(
                "{} bins are too few: there must be at least 3.",
                self.bins
            ));
        }
        if self.width < 2 {
            return wrong(format!(
                "A row of {} tokens has no room for a gene.",
                self.width
            ));
        }
        match self.mask {
            Some(mask) if !(0.0..=1.0).contains(&mask.ratio) => wrong(format!(
                "The fraction of masked values must be from 0 to 1, not {}.",
                mask.ratio
            )),
            _ => Ok(self),
        }
    }

    /// Replaces values by their bins, from 1.
    fn bin(&self, genes: &mut [(i64, f64)], random: &mut Random) {
        let mut sorted: Vec<f64> = genes.iter().map(|(_, value)| *value).collect();
        sorted.sort_unstable_by(f64::total_cmp);
        let edges = quantiles(&sorted, self.bins - 1);
        // Counts have few distinct values, so most bins are looked up.
        let mut known = [(0, 0); 64];
        for (_, value) in genes {
            let sides = |value: f64| {
                let upper = edges.partition_point(|edge| *edge <= value);
                let lower = edges[..upper].partition_point(|edge| *edge < value);
                (lower, upper)
            };
            let (lower, upper) = match known.get_mut(*value as usize) {
                Some(entry) if value.fract() == 0.0 => {
                    if entry.1 == 0 {
                        *entry = sides(*value);
                    }
                    *entry
                }
                _ => sides(*value),
            };
            *value = if self.spread {
                let (lower, upper) = (lower as f64, upper as f64);
                (random.unit() * (lower - upper) + upper).ceil()
            } else {
                upper as f64
            };
        }
    }
}

impl Tokenizer for Scgpt {
    fn layout(&self) -> Layout {
        Layout {
            width: self.width,
            pad: self.pad,
            pad_value: Some(self.pad_value),
            masks: self.mask.is_some(),
        }
    }

    fn encode(&self, cell: &Cell<'_>, random: &mut Random, row: Row<'_>) -> Result<usize> {
        let mut genes: Vec<(i64, f64)> = counts(cell)?
            .into_iter()
            .filter_map(|(gene, count)| Some((self.tokens[gene as usize]?, count)))
            .collect();
        if !genes.is_empty() {
            self.bin(&mut genes, random);
        }
        let room = self.width - 1;
        if genes.len() > room {
            if self.sample {
                random.draw(&mut genes, room);
            }
            genes.truncate(room);
        }
        (row.ids[0], row.values[0]) = (self.cls, 0.0);
        for (at, (token, bin)) in genes.iter().enumerate() {
            row.ids[at + 1] = *token;
            row.values[at + 1] = *bin as f32;
        }
        let len = genes.len() + 1;
        if let Some(mask) = self.mask {
            row.masked.copy_from_slice(row.values);
            let mut places: Vec<usize> = (1..len).collect();
            let hidden = (places.len() as f64 * mask.ratio) as usize;
            random.draw(&mut places, hidden);
            for at in &places[..hidden] {
                row.masked[*at] = mask.value;
            }
        }
        Ok(len)
    }
}

/// `numpy.quantile(sorted, numpy.linspace(0, 1, n))`, with the same rounding.
fn quantiles(sorted: &[f64], n: usize) -> Vec<f64> {
    let step = 1.0 / (n - 1) as f64;
    let last = sorted.len() - 1;
    let edges = (0..n).map(|at| {
        let quantile = if at == n - 1 { 1.0 } else { at as f64 * step };
        let place = last as f64 * quantile;
        let below = (place.floor() as usize).min(last);
        let (low, high) = (sorted[below], sorted[(below + 1).min(last)]);
        let part = place - below as f64;
        if part >= 0.5 {
            high - (high - low) * (1.0 - part)
        } else {
            low + (high - low) * part
        }
    });
    edges.collect()
}
