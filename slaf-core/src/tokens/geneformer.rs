//! Geneformer's rank value encoding (Theodoris et al., Nature 2023, and
//! `TranscriptomeTokenizer` in its code): counts are divided by the cell's total,
//! times 10,000, divided by the gene's median in the corpus; then genes are sorted
//! from high to low.

use std::sync::Arc;

use super::tokenizer::{Cell, Layout, Row, Tokenizer, counts};
use crate::{Error, Random, Result};

/// The total to which a cell's counts are scaled.
pub(super) const TARGET: f64 = 10_000.0;

/// The tokens before and after a cell (V2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Specials {
    pub cls: i64,
    pub eos: i64,
}

/// The tokenizer of one dataset.
#[derive(Debug, Clone)]
pub struct Geneformer {
    /// The place of each gene's token; `None` if the vocabulary does not have
    /// the gene. Genes with the same token are summed.
    places: Vec<Option<u32>>,
    tokens: Vec<i64>,
    medians: Vec<f64>,
    merges: bool,
    specials: Option<Specials>,
    pad: i64,
    width: usize,
    totals: Option<Arc<[f64]>>,
}

impl Geneformer {
    /// `genes` are the token and the corpus median of each gene of the dataset.
    /// `width` includes the special tokens. `totals` are the totals of the
    /// cells, if they are not the sums of the stored values.
    ///
    /// # Errors
    ///
    /// A median is not a positive number, or `width` has no room for a gene.
    pub fn new(
        genes: &[Option<(i64, f64)>],
        specials: Option<Specials>,
        pad: i64,
        width: usize,
        totals: Option<Arc<[f64]>>,
    ) -> Result<Self> {
        if width <= specials.map_or(0, |_| 2) {
            return Err(Error::Engine {
                message: format!("A row of {width} tokens has no room for a gene."),
            });
        }
        let (mut tokens, mut medians) = (vec![], vec![]);
        let mut place_of = std::collections::HashMap::new();
        let mut places = Vec::with_capacity(genes.len());
        let mut known = 0;
        for (gene, entry) in genes.iter().enumerate() {
            let Some((token, median)) = entry else {
                places.push(None);
                continue;
            };
            if !(*median > 0.0 && median.is_finite()) {
                return Err(Error::Engine {
                    message: format!(
                        "The median of gene {gene} is {median}, which is not a positive number."
                    ),
                });
            }
            known += 1;
            let place = *place_of.entry(*token).or_insert_with(|| {
                tokens.push(*token);
                medians.push(*median);
                tokens.len() as u32 - 1
            });
            places.push(Some(place));
        }
        Ok(Self {
            merges: tokens.len() < known,
            places,
            tokens,
            medians,
            specials,
            pad,
            width,
            totals,
        })
    }

    /// The places of a cell's genes, from high to low, as many as fit.
    fn ranked(&self, counts: &[(i32, f64)], total: f64) -> Vec<u32> {
        let placed = counts
            .iter()
            .filter_map(|(gene, count)| Some((self.places[*gene as usize]?, *count)));
        let scale = |(place, count): (u32, f64)| {
            let scaled = count / total * TARGET / self.medians[place as usize];
            (place, scaled)
        };
        let scaled: Vec<(u32, f64)> = if self.merges {
            merged(placed.collect()).into_iter().map(scale).collect()
        } else {
            placed.map(scale).collect()
        };
        // The bits of positive floats have the same order as the numbers. A radix sort by the
        // sixteen most significant bits is much faster than comparisons; ties are resolved
        // afterwards.
        let bits = |(_, scaled): &(u32, f64)| (*scaled as f32).to_bits();
        let (low, high) = scaled
            .iter()
            .map(bits)
            .fold((u32::MAX, 0), |(low, high), bits| {
                (low.min(bits), high.max(bits))
            });
        let shift = 16u32.saturating_sub(high.saturating_sub(low).leading_zeros());
        let mut ranks: Vec<(u16, u32)> = (0..)
            .zip(&scaled)
            .map(|(at, scaled)| (((high - bits(scaled)) >> shift) as u16, at))
            .collect();
        radsort::sort_by_key(&mut ranks, |(key, _)| *key);
        let value = |at: u32| scaled[at as usize].1;
        for run in ranks.chunk_by_mut(|a, b| a.0 == b.0) {
            if run.len() > 1 {
                run.sort_by(|a, b| value(b.1).total_cmp(&value(a.1)));
            }
        }
        ranks.truncate(self.width - self.specials.map_or(0, |_| 2));
        ranks.iter().map(|(_, at)| scaled[*at as usize].0).collect()
    }

    fn total(&self, cell: &Cell<'_>, counts: &[(i32, f64)]) -> Result<f64> {
        let Some(totals) = &self.totals else {
            return Ok(counts.iter().map(|(_, count)| count).sum());
        };
        match totals.get(cell.id as usize) {
            Some(total) if *total > 0.0 && total.is_finite() => Ok(*total),
            found => Err(Error::Engine {
                message: format!(
                    "The total of cell {} is {}, which is not a positive number.",
                    cell.id,
                    found.map_or("missing".to_owned(), f64::to_string)
                ),
            }),
        }
    }
}

impl Tokenizer for Geneformer {
    fn layout(&self) -> Layout {
        Layout {
            width: self.width,
            pad: self.pad,
            pad_value: None,
            masks: false,
        }
    }

    fn encode(&self, cell: &Cell<'_>, _: &mut Random, row: Row<'_>) -> Result<usize> {
        let counts = counts(cell)?;
        let ranked = if counts.is_empty() {
            vec![]
        } else {
            self.ranked(&counts, self.total(cell, &counts)?)
        };
        let genes = ranked.iter().map(|place| self.tokens[*place as usize]);
        let (before, after) = match self.specials {
            Some(Specials { cls, eos }) => (Some(cls), Some(eos)),
            None => (None, None),
        };
        let mut len = 0;
        for token in before.into_iter().chain(genes).chain(after) {
            row.ids[len] = token;
            len += 1;
        }
        Ok(len)
    }
}

/// The sum of the counts of each place.
fn merged(mut placed: Vec<(u32, f64)>) -> Vec<(u32, f64)> {
    placed.sort_by_key(|(place, _)| *place);
    placed.dedup_by(|next, kept| {
        let same = next.0 == kept.0;
        if same {
            kept.1 += next.1;
        }
        same
    });
    placed
}
