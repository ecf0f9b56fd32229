//! What all displays share: escaping, and a style for light and dark themes.

use std::borrow::Cow;

/// Escapes text, so that it cannot become markup.
pub(crate) fn escape(text: &str) -> Cow<'_, str> {
    if !text.contains(['&', '<', '>', '"', '\'']) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// Colours are the page's own with reduced opacity, so that they fit light and
/// dark themes.
pub(crate) const STYLE: &str = "<style>\
.slaf{font-size:13px;line-height:1.45;max-width:100%;overflow-x:auto}\
.slaf table{border-collapse:collapse}\
.slaf th,.slaf td{padding:2px 10px;text-align:right;border:0;\
border-bottom:1px solid rgba(128,128,128,.25);white-space:nowrap}\
.slaf th{font-weight:600}.slaf td.text,.slaf th.text{text-align:left}\
.slaf .dim{opacity:.6;font-weight:400}.slaf .warn{color:#b26a00}\
</style>";

/// 12345678 as 12,345,678.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_in_data_stays_text() {
        assert_eq!(
            escape("<b>5' UTR & \"x\"</b>"),
            "&lt;b&gt;5&#39; UTR &amp; &quot;x&quot;&lt;/b&gt;"
        );
    }

    #[test]
    fn thousands() {
        assert_eq!(
            [grouped(7), grouped(1234), grouped(62_400_000)],
            ["7", "1,234", "62,400,000"]
        );
    }
}
