//! Small pictures beside a column: a histogram, and a bar of fractions.

use std::fmt::Write;

use crate::html::{cut, escape, grouped, percent};

/// Number of bins of a histogram.
pub(crate) const BINS: usize = 24;
const BIN: usize = 4;
const HEIGHT: f64 = 20.0;
const SHARES: f64 = 120.0;

/// A histogram of bins of equal width. `label` describes it where pictures are not
/// shown.
pub(crate) fn histogram(bins: &[u64], label: &str) -> String {
    let most = bins.iter().copied().max().unwrap_or(0).max(1) as f64;
    let mut path = String::new();
    for (at, &count) in bins.iter().enumerate().filter(|(_, count)| **count > 0) {
        // A bin with one row is still visible.
        let height = (HEIGHT * count as f64 / most).max(1.0);
        let _ = write!(
            path,
            "M{} {HEIGHT}v-{height:.1}h{}v{height:.1}z",
            at * BIN,
            BIN - 1
        );
    }
    let width = bins.len() * BIN;
    format!(
        "<svg width=\"{width}\" height=\"{HEIGHT}\" viewBox=\"0 0 {width} {HEIGHT}\" role=\"img\" \
         aria-label=\"{}\"><path d=\"{path}\"/></svg>",
        escape(label)
    )
}

/// A value's share of all rows, and the colour that the value has in plots.
pub(crate) struct Share<'a> {
    pub(crate) name: &'a str,
    pub(crate) count: u64,
    pub(crate) colour: Option<&'a str>,
}

/// A bar of shares of `total`; the rest stays empty.
pub(crate) fn shares(shares: &[Share<'_>], total: u64) -> String {
    let mut rects = format!("<rect width=\"{SHARES}\" height=\"10\" opacity=\"0.15\"/>");
    let (mut x, total) = (0.0, total.max(1) as f64);
    for (at, share) in shares.iter().enumerate() {
        let width = SHARES * share.count as f64 / total;
        let fill = match share.colour.filter(|c| is_colour(c)) {
            Some(colour) => format!(" fill=\"{colour}\""),
            None => format!(" opacity=\"{:.2}\"", 0.9 - 0.6 * (at % 5) as f64 / 5.0),
        };
        let _ = write!(
            rects,
            "<rect x=\"{x:.1}\" width=\"{:.1}\" height=\"10\"{fill}><title>{}: {}</title></rect>",
            (width - 0.5).max(0.3),
            escape(&crate::html::clipped(share.name, 60)),
            grouped(share.count)
        );
        x += width;
    }
    let label = shares.first().map_or(String::new(), |first| {
        let part = percent(first.count as f64, total);
        format!("{part} are {}", crate::html::clipped(first.name, 60))
    });
    format!(
        "<svg width=\"{SHARES}\" height=\"10\" viewBox=\"0 0 {SHARES} 10\" role=\"img\" \
         aria-label=\"{}\">{rects}</svg>",
        escape(&label)
    )
}

/// A value with its colour and count, as text of up to `width` characters.
pub(crate) fn category(
    name: &str,
    count: Option<u64>,
    colour: Option<&str>,
    width: usize,
) -> String {
    let dot = colour
        .filter(|c| is_colour(c))
        .map_or(String::new(), |colour| {
            format!("<span class=\"dot\" style=\"background:{colour}\"></span>")
        });
    let count = count.map_or(String::new(), |n| {
        format!(" <span class=\"dim\">{}</span>", grouped(n))
    });
    format!(
        "<span class=\"cat\">{dot}{}{count}</span>",
        cut(name, width.min(40), width)
    )
}

/// Whether a text is only a colour: `#1f77b4`, `tomato`.
fn is_colour(text: &str) -> bool {
    match text.strip_prefix('#') {
        Some(hex) => {
            matches!(hex.len(), 3 | 4 | 6 | 8) && hex.chars().all(|c| c.is_ascii_hexdigit())
        }
        None => (3..24).contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphabetic()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_draws_what_is_there() {
        let drawn = histogram(&[4, 0, 1], "1 … 9");
        assert_eq!(
            drawn,
            "<svg width=\"12\" height=\"20\" viewBox=\"0 0 12 20\" role=\"img\" aria-label=\"1 … 9\">\
             <path d=\"M0 20v-20.0h3v20.0zM8 20v-5.0h3v5.0z\"/></svg>"
        );
    }

    #[test]
    fn colours_cannot_smuggle_styles() {
        let kept = ["#1f77b4", "tomato", "#fff"];
        let refused = ["red;background:url(x)", "url(x)", "#12", "\"/><script>", ""];
        assert!(kept.into_iter().all(is_colour));
        assert!(!refused.into_iter().any(is_colour));
    }
}
