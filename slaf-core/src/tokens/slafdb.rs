//! The tokens that slafdb 0.5.2 makes under the models' names, for models trained
//! on them: a token is the gene's number plus 4, genes come in stored order, and if
//! a cell is too long, its last genes are dropped.

use super::tokenizer::{Cell, Layout, Row, Tokenizer};
use crate::{Random, Result, ValuesRef};

const CLS: i64 = 1;
const SEP: i64 = 2;
const FIRST_GENE: i64 = 4;
/// Number of bins for values that are not integers.
const BINS: usize = 10;

/// slafdb's tokenizers.
#[derive(Debug, Clone, Copy)]
pub struct Slafdb {
    pub max_genes: usize,
    /// The first token of values, for its scGPT tokenizer; `None` for its
    /// Geneformer tokenizer.
    pub values_from: Option<i64>,
}

impl Slafdb {
    fn value(&self, cell: &Cell<'_>, at: usize, from: i64) -> f32 {
        let integral = matches!(
            cell.values,
            ValuesRef::U16(_) | ValuesRef::I32(_) | ValuesRef::I64(_)
        );
        let value = cell.values.get(at);
        if integral {
            return (value as i64 + from) as f32;
        }
        let value = value as f32;
        if value > 0.0 {
            let bin = (value / (1.0 / BINS as f64) as f32) as i64;
            (bin.clamp(0, BINS as i64 - 1) + from) as f32
        } else {
            0.0
        }
    }
}

impl Tokenizer for Slafdb {
    fn layout(&self) -> Layout {
        Layout {
            width: self.max_genes + self.values_from.map_or(0, |_| 2),
            pad: 0,
            pad_value: self.values_from.map(|_| 0.0),
            masks: false,
        }
    }

    fn encode(&self, cell: &Cell<'_>, _: &mut Random, row: Row<'_>) -> Result<usize> {
        // Its dense rank, among the `max_genes` greatest distinct values.
        let mut values: Vec<f64> = (0..cell.genes.len())
            .map(|at| cell.values.get(at))
            .collect();
        let all = values.clone();
        values.sort_unstable_by(|a, b| b.total_cmp(a));
        values.dedup();
        let least = values.get(self.max_genes - 1).copied();
        let kept = (0..all.len()).filter(|at| least.is_none_or(|least| all[*at] >= least));
        let mut kept: Vec<usize> = kept.collect();
        if let Some(from) = self.values_from {
            kept.truncate(self.max_genes);
            for (place, at) in kept.iter().enumerate() {
                row.values[place + 1] = self.value(cell, *at, from);
            }
        }
        let genes = kept
            .iter()
            .map(|at| i64::from(cell.genes[*at]) + FIRST_GENE);
        let tokens = std::iter::once(CLS).chain(genes).chain([SEP]);
        let mut len = 0;
        for (place, token) in row.ids.iter_mut().zip(tokens) {
            *place = token;
            len += 1;
        }
        Ok(len)
    }
}
