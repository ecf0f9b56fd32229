//! Geneformer's rank value encoding (Theodoris et al., Nature 2023, and
//! `TranscriptomeTokenizer` of its code): counts over the cell's total times
//! 10,000, over the gene's median in the corpus; genes from high to low.

use std::sync::Arc;

use super::{Cell, Layout, Row, Tokenizer, counts};
use crate::random::Random;
use crate::{Error, Result};

/// What a cell's counts are scaled to.
pub(super) const TARGET: f64 = 10_000.0;

/// Bits of a word that say where its key is: a cell has fewer than a million
/// genes.
const PLACE_BITS: u32 = 20;

/// The tokens that frame a cell (V2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Specials {
    pub cls: i64,
    pub eos: i64,
}

/// The tokenizer of one dataset.
#[derive(Debug, Clone)]
pub struct Geneformer {
    /// Of each gene of the dataset, the place of its token; `None` where the
    /// vocabulary lacks it. Genes of one token are summed.
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
    /// `genes` are the token and the corpus median of each gene of the
    /// dataset. `width` counts the specials. `totals` are the cells' counts,
    /// where they are not the sums of what is stored.
    ///
    /// # Errors
    ///
    /// A median is not a positive number, `width` has no room for a gene, or
    /// there are a million genes.
    pub fn new(
        genes: &[Option<(i64, f64)>],
        specials: Option<Specials>,
        pad: i64,
        width: usize,
        totals: Option<Arc<[f64]>>,
    ) -> Result<Self> {
        if genes.len() >= 1 << PLACE_BITS {
            return Err(Error::Engine {
                message: format!("{} genes are too many to rank.", genes.len()),
            });
        }
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
                        "The median of gene {gene} is {median}, and no positive number."
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

    /// The places of a cell's genes, from high to low, as many as there is room
    /// for.
    fn ranked(&self, counts: &[(i32, f64)], total: f64) -> Vec<u32> {
        let placed = counts
            .iter()
            .filter_map(|(gene, count)| Some((self.places[*gene as usize]?, *count)));
        let placed: Vec<(u32, f64)> = if self.merges {
            merged(placed.collect())
        } else {
            placed.collect()
        };
        // The bits of positive numbers ascend as they do.
        let keys: Vec<u64> = placed
            .iter()
            .map(|(place, count)| {
                let scaled = count / total * TARGET / self.medians[*place as usize];
                !scaled.to_bits()
            })
            .collect();
        // One word of the key's upper bits and of where it is sorts twice as
        // fast as both; what those bits leave open is decided afterwards.
        let mut words: Vec<u64> = (0u64..)
            .zip(&keys)
            .map(|(at, key)| key >> PLACE_BITS << PLACE_BITS | at)
            .collect();
        let room = self.width - self.specials.map_or(0, |_| 2);
        words.sort_unstable();
        let at = |word: &u64| (word & ((1 << PLACE_BITS) - 1)) as usize;
        let same = |a: &u64, b: &u64| a >> PLACE_BITS == b >> PLACE_BITS;
        for run in words.chunk_by_mut(same).filter(|run| run.len() > 1) {
            run.sort_by_key(|word| keys[at(word)]);
        }
        words.truncate(room);
        words.iter().map(|word| placed[at(word)].0).collect()
    }

    fn total(&self, cell: &Cell<'_>, counts: &[(i32, f64)]) -> Result<f64> {
        let Some(totals) = &self.totals else {
            return Ok(counts.iter().map(|(_, count)| count).sum());
        };
        match totals.get(cell.id as usize) {
            Some(total) if *total > 0.0 && total.is_finite() => Ok(*total),
            found => Err(Error::Engine {
                message: format!(
                    "The total of cell {} is {}, and no positive number.",
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

/// The counts of each place, summed.
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
