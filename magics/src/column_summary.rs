//! The summary in the header of a column, over all its rows: the number of missing
//! values, and the distribution of the others.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt64Array};
use arrow::compute::{cast, concat, take};
use arrow::datatypes::{DataType, Float64Type};

use crate::html::{counted, grouped, percent};
use crate::sparklines::{BINS, Share, histogram, shares};
use crate::values::{brief, cell};

/// Number of rows that a summary uses, evenly spread, so that a display takes
/// milliseconds.
const LOOKED_AT: usize = 8192;
/// Bytes of the texts that are counted. Longer texts are no categories.
const TEXT_BYTES: usize = 4 << 20;
/// Maximum number of values in a bar.
const BARS: usize = 5;

/// The summary of a column.
pub(crate) struct Summary {
    /// Number of missing values in all rows.
    pub(crate) nulls: u64,
    spread: Spread,
}

enum Spread {
    Unknown,
    Range {
        bins: Vec<u64>,
        low: String,
        high: String,
        /// Number of rows that are NaN or infinite.
        others: u64,
    },
    Values {
        common: Vec<(String, u64)>,
        distinct: usize,
        total: u64,
    },
}

impl Summary {
    /// The summary of a column over all `batches`.
    pub(crate) fn of(batches: &[RecordBatch], column: usize) -> Self {
        let nulls = batches.iter().map(|b| b.column(column).null_count() as u64);
        Self {
            nulls: nulls.sum(),
            spread: sample(batches, column).map_or(Spread::Unknown, |rows| spread(&rows)),
        }
    }

    /// The HTML: a picture, and a line of text.
    pub(crate) fn html(&self) -> (String, String) {
        match &self.spread {
            Spread::Unknown => (String::new(), String::new()),
            Spread::Range {
                bins, low, high, ..
            } => {
                let words = self.words();
                let label = format!("histogram from {low} to {high}");
                (histogram(bins, &label), words)
            }
            Spread::Values { common, total, .. } => {
                let bars: Vec<Share<'_>> = common
                    .iter()
                    .map(|(name, count)| Share {
                        name,
                        count: *count,
                        colour: None,
                    })
                    .collect();
                (shares(&bars, *total), self.words())
            }
        }
    }

    fn words(&self) -> String {
        match &self.spread {
            Spread::Unknown => String::new(),
            Spread::Range {
                low, high, others, ..
            } => {
                let others = match others {
                    0 => String::new(),
                    n => format!(", {} NaN or ∞", grouped(*n)),
                };
                match low == high {
                    true => format!("all {low}{others}"),
                    false => format!("{low} … {high}{others}"),
                }
            }
            Spread::Values {
                common,
                distinct,
                total,
            } => {
                let first = common.first().map_or(String::new(), |(name, count)| {
                    format!("{} {name}", percent(*count as f64, *total as f64))
                });
                match distinct {
                    1 => first,
                    _ => format!("{}, {first}", counted(*distinct as u64, "value")),
                }
            }
        }
    }
}

/// How many of `rows` a summary uses.
pub(crate) fn looked_at(rows: usize) -> usize {
    rows.div_ceil(rows.div_ceil(LOOKED_AT).max(1))
}

/// Evenly spread rows of a column, at most `LOOKED_AT`.
fn sample(batches: &[RecordBatch], column: usize) -> Option<ArrayRef> {
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    let step = rows.div_ceil(LOOKED_AT).max(1);
    let mut first = 0;
    let mut parts = vec![];
    for batch in batches.iter().filter(|batch| batch.num_rows() > 0) {
        let (array, height) = (batch.column(column), batch.num_rows());
        if step == 1 {
            parts.push(Arc::clone(array));
        } else if first < height {
            let places =
                UInt64Array::from_iter_values((first..height).step_by(step).map(|p| p as u64));
            parts.push(take(array, &places, None).ok()?);
        }
        // The first sampled row of the next batch.
        first = match first < height {
            true => (step - (height - first) % step) % step,
            false => first - height,
        };
    }
    let parts: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
    concat(&parts).ok()
}

fn spread(rows: &ArrayRef) -> Spread {
    use DataType::*;
    match rows.data_type() {
        Boolean | Utf8 | LargeUtf8 | Utf8View | Dictionary(..) => values(rows),
        Date32 | Date64 | Timestamp(..) | Time32(_) | Time64(_) | Duration(_) => range(
            rows,
            &cast(rows, &Int64).and_then(|whole| cast(&whole, &Float64)),
        ),
        kind if kind.is_numeric() => range(rows, &cast(rows, &Float64)),
        _ => Spread::Unknown,
    }
}

fn range(rows: &ArrayRef, numbers: &Result<ArrayRef, arrow::error::ArrowError>) -> Spread {
    let Ok(numbers) = numbers else {
        return Spread::Unknown;
    };
    let numbers = numbers.as_primitive::<Float64Type>();
    let finite = || {
        let there = numbers.iter().enumerate();
        there.filter_map(|(at, x)| x.filter(|x| x.is_finite()).map(|x| (at, x)))
    };
    let least = finite().min_by(|a, b| a.1.total_cmp(&b.1));
    let most = finite().max_by(|a, b| a.1.total_cmp(&b.1));
    let (Some((at_low, low)), Some((at_high, high))) = (least, most) else {
        return Spread::Unknown;
    };
    let mut bins = vec![0; BINS];
    for (_, x) in finite() {
        // Halved first, because `high - low` can be infinite.
        let place = (x / 2.0 - low / 2.0) / (high / 2.0 - low / 2.0).max(f64::MIN_POSITIVE);
        bins[((place * BINS as f64) as usize).min(BINS - 1)] += 1;
    }
    let shown = |at: usize| match rows.data_type().is_floating() {
        true => brief(numbers.value(at)),
        false => cell(rows, at).unwrap_or_default(),
    };
    Spread::Range {
        bins,
        low: shown(at_low),
        high: shown(at_high),
        others: (numbers.len() - numbers.null_count() - finite().count()) as u64,
    }
}

fn values(rows: &ArrayRef) -> Spread {
    if text_bytes(rows) > TEXT_BYTES {
        return Spread::Unknown;
    }
    let Ok(texts) = cast(rows, &DataType::LargeUtf8) else {
        return Spread::Unknown;
    };
    let mut counts: HashMap<&str, u64> = HashMap::new();
    for text in texts.as_string::<i64>().iter().flatten() {
        *counts.entry(text).or_default() += 1;
    }
    let total: u64 = counts.values().sum();
    let distinct = counts.len();
    // If nearly all values differ, they are names, and have no most common values.
    let are_names = distinct as u64 == total || (distinct > 20 && distinct as u64 > total / 2);
    if are_names {
        return Spread::Unknown;
    }
    let mut common: Vec<(&str, u64)> = counts.into_iter().collect();
    common.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    common.truncate(BARS);
    let common = common.into_iter().map(|(text, n)| (text.to_owned(), n));
    Spread::Values {
        common: common.collect(),
        distinct,
        total,
    }
}

fn text_bytes(rows: &ArrayRef) -> usize {
    match rows.data_type() {
        DataType::Utf8 => rows.as_string::<i32>().iter().flatten().map(str::len).sum(),
        DataType::LargeUtf8 => rows.as_string::<i64>().iter().flatten().map(str::len).sum(),
        DataType::Utf8View => rows.as_string_view().iter().flatten().map(str::len).sum(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Float64Array, Int64Array, StringArray};

    use super::*;

    fn summary(columns: Vec<ArrayRef>) -> Summary {
        let batches: Vec<RecordBatch> = columns
            .into_iter()
            .map(|column| RecordBatch::try_from_iter_with_nullable([("x", column, true)]).unwrap())
            .collect();
        Summary::of(&batches, 0)
    }

    #[test]
    fn numbers_have_ends_and_bins() {
        let odd = [Some(0.0), Some(f64::NAN), None, Some(24.0), Some(23.5)];
        let found = summary(vec![Arc::new(Float64Array::from(odd.to_vec()))]);
        assert_eq!(
            (found.nulls, found.words()),
            (1, "0 … 24, 1 NaN or ∞".into())
        );
        let Spread::Range { bins, .. } = found.spread else {
            panic!("no range");
        };
        assert_eq!((bins[0], bins[23], bins.iter().sum::<u64>()), (1, 2, 3));
    }

    #[test]
    fn the_ends_of_all_floats_are_not_too_far_apart() {
        let found = summary(vec![Arc::new(Float64Array::from(vec![
            f64::MIN,
            0.0,
            f64::MAX,
        ]))]);
        let Spread::Range { bins, .. } = found.spread else {
            panic!("no range");
        };
        assert_eq!((bins[0], bins[12], bins[23]), (1, 1, 1));
    }

    #[test]
    fn many_rows_are_looked_at_evenly() {
        let batches = (0..10).map(|at| {
            let from = at * 10_007;
            Arc::new(Int64Array::from_iter_values(from..from + 10_007)) as ArrayRef
        });
        let Spread::Range { bins, .. } = summary(batches.collect()).spread else {
            panic!("no range");
        };
        assert!(bins.iter().sum::<u64>() <= LOOKED_AT as u64);
        assert!(bins.iter().max().unwrap() - bins.iter().min().unwrap() <= 2);
    }

    #[test]
    fn texts_have_common_values_unless_they_are_names() {
        let kinds = StringArray::from(vec![Some("B"), Some("T"), Some("T"), None]);
        let found = summary(vec![Arc::new(kinds)]);
        assert_eq!(
            (found.nulls, found.words()),
            (1, "2 values, 66.7 % T".into())
        );
        let names = StringArray::from_iter_values((0..50).map(|i| format!("cell-{i}")));
        assert_eq!(summary(vec![Arc::new(names)]).words(), "");
        assert_eq!(summary(vec![]).words(), "");
    }
}
