//! What all displays share: escaping, number formats, a style for light and dark
//! themes, and a limit on the length.

use std::borrow::Cow;

/// Maximum size of a display, in bytes.
pub(crate) const LIMIT: usize = 50_000;

/// Calls `draw` with `levels`, from the most detail to the least, until the result is
/// below [`LIMIT`]; returns the last one otherwise.
pub(crate) fn fitting<L: Copy>(levels: &[L], draw: impl Fn(L) -> String) -> String {
    let mut drawn = String::new();
    for &level in levels {
        drawn = draw(level);
        if drawn.len() <= LIMIT {
            break;
        }
    }
    drawn
}

/// Escapes text, so that it cannot become markup.
pub(crate) fn escape(text: &str) -> Cow<'_, str> {
    let text = visible(text);
    if !text.contains(['&', '<', '>', '"', '\'']) {
        return text;
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

/// Replaces control characters by visible signs: an escape sequence would colour a
/// terminal, and U+202E would reverse the text after it.
pub(crate) fn visible(text: &str) -> Cow<'_, str> {
    let hidden = |c: char| c.is_control() || is_direction(c);
    if !text.contains(hidden) {
        return Cow::Borrowed(text);
    }
    let shown = text.chars().map(|c| match c {
        '\0'..='\x1f' => char::from_u32(0x2400 + c as u32).unwrap_or('\u{fffd}'),
        '\x7f' => '\u{2421}',
        c if hidden(c) => '\u{fffd}',
        c => c,
    });
    Cow::Owned(shown.collect())
}

/// Whether a character changes the direction of text.
fn is_direction(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The first `width` characters, and `…` if there are more.
pub(crate) fn clipped(text: &str, width: usize) -> Cow<'_, str> {
    match text.char_indices().nth(width) {
        None => Cow::Borrowed(text),
        Some(_) => Cow::Owned(text.chars().take(width.max(1) - 1).chain(['…']).collect()),
    }
}

/// Text cut to `width` characters, with up to `whole` of them in a tooltip.
pub(crate) fn cut(text: &str, width: usize, whole: usize) -> String {
    let short = clipped(text, width);
    if short.len() == text.len() {
        return escape(text).into_owned();
    }
    if whole == 0 {
        return escape(&short).into_owned();
    }
    let whole = escape(&clipped(text, whole)).into_owned();
    format!("<span title=\"{whole}\">{}</span>", escape(&short))
}

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

/// A number with its noun: `1 row`, `2,000 rows`.
pub(crate) fn counted(number: u64, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {what}{plural}", grouped(number))
}

/// A size with a unit, in powers of 1000.
pub(crate) fn bytes(number: u64) -> String {
    const UNITS: [&str; 5] = ["bytes", "kB", "MB", "GB", "TB"];
    let mut size = number as f64;
    let mut unit = 0;
    while size >= 999.5 && unit + 1 < UNITS.len() {
        size /= 1000.0;
        unit += 1;
    }
    let decimals = usize::from(unit > 0 && size < 9.95);
    format!("{size:.decimals$} {}", UNITS[unit])
}

/// A percentage such as `12.3 %`. Only nothing is shown as 0 %, and only everything as
/// 100 %.
pub(crate) fn percent(part: f64, of: f64) -> String {
    if of <= 0.0 {
        return "0 %".into();
    }
    let share = 100.0 * part / of;
    if part > 0.0 && share < 0.01 {
        return "< 0.01 %".into();
    }
    if part < of && share >= 99.95 {
        return format!("{:.2} %", share.min(99.99));
    }
    let decimals = if share < 10.0 { 2 } else { 1 };
    let text = format!("{share:.decimals$}");
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

/// Uses JupyterLab's colours, or VS Code's, or the page's own. Class names are doubled
/// to override JupyterLab's rules for tables.
pub(crate) const STYLE: &str = "<style>\
.slaf{--slaf-line:var(--jp-border-color2,var(--vscode-panel-border,rgba(128,128,128,.35)));\
--slaf-dim:var(--jp-content-font-color2,var(--vscode-descriptionForeground,color-mix(in srgb,currentColor 70%,transparent)));\
--slaf-ink:var(--jp-brand-color1,var(--vscode-charts-blue,#3b7ab8));\
--slaf-soft:var(--jp-layout-color2,var(--vscode-textBlockQuote-background,rgba(128,128,128,.1)));\
font-size:13px;line-height:1.5;max-width:100%;overflow-x:auto;font-variant-numeric:tabular-nums}\
.slaf.slaf table{border-collapse:collapse;margin:2px 0 4px;border:0;font-size:inherit;table-layout:auto}\
.slaf.slaf tbody tr{background:none}.slaf.slaf tbody tr:hover{background:var(--slaf-soft)}\
.slaf.slaf th,.slaf.slaf td{padding:2px 10px 2px 0;text-align:right;vertical-align:top;border:0;\
border-bottom:1px solid var(--slaf-line);white-space:nowrap;max-width:none;font-weight:400;background:none}\
.slaf.slaf thead th{font-weight:600;vertical-align:bottom;border-bottom-width:2px}\
.slaf.slaf tbody th{font-weight:600}\
.slaf.slaf .text{text-align:left}.slaf.slaf .wrap{white-space:normal;overflow-wrap:anywhere;max-width:52em}.slaf.slaf details .wrap{width:100%}\
.slaf.slaf .dim{color:var(--slaf-dim);font-weight:400}\
.slaf.slaf .warn{border-left:3px solid #d08700;padding-left:8px;margin:2px 0}\
.slaf .mark{border:1px solid var(--slaf-line);border-radius:3px;padding:0 4px;white-space:nowrap}\
.slaf .top b{font-size:15px}.slaf .top{margin-bottom:2px}\
.slaf svg{fill:var(--slaf-ink);vertical-align:middle;overflow:visible}\
.slaf .cat,.slaf .note{margin-right:10px}.slaf .cat{white-space:nowrap}\
.slaf .dot{display:inline-block;width:9px;height:9px;border-radius:2px;margin-right:4px;\
outline:1px solid var(--slaf-line)}\
.slaf details details{margin-left:18px}.slaf summary{cursor:pointer;padding:1px 0}\
.slaf.slaf details>table{margin-left:18px;min-width:560px}\
.slaf.slaf details th{min-width:130px;max-width:300px;white-space:normal;overflow-wrap:break-word}.slaf.slaf .kind{min-width:70px}\
.slaf.slaf pre{margin:2px 0;font-size:12px;line-height:1.4;white-space:pre;overflow-x:auto;background:none}\
@media print{.slaf details::details-content{content-visibility:visible;height:auto}\
.slaf{overflow:visible;font-size:11px}.slaf.slaf th,.slaf.slaf td{white-space:normal;overflow-wrap:anywhere}}\
</style>";

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
    fn what_is_not_seen_is_shown() {
        assert_eq!(
            visible("\x1b[31mred\x1b[0m\n\u{202e}txt.exe\u{85}"),
            "␛[31mred␛[0m␊\u{fffd}txt.exe\u{fffd}"
        );
        assert_eq!(visible("größe 🧬 µ"), "größe 🧬 µ");
    }

    #[test]
    fn long_text_is_cut_and_whole_in_its_tooltip() {
        assert_eq!(cut("abc<", 4, 99), "abc&lt;");
        assert_eq!(cut("abcd<", 4, 99), "<span title=\"abcd&lt;\">abc…</span>");
        assert_eq!(cut("abcd", 3, 0), "ab…");
    }

    #[test]
    fn numbers_in_words() {
        assert_eq!(
            [grouped(7), grouped(1234), grouped(62_400_000)],
            ["7", "1,234", "62,400,000"]
        );
        assert_eq!(
            [
                bytes(0),
                bytes(999),
                bytes(1500),
                bytes(62_000_000),
                bytes(999_999)
            ],
            ["0 bytes", "999 bytes", "1.5 kB", "62 MB", "1.0 MB"]
        );
        assert_eq!(
            [
                (0.0, 0.0),
                (1.0, 8.0),
                (1.0, 1e9),
                (999_999.0, 1e6),
                (5.0, 5.0)
            ]
            .map(|(part, of)| percent(part, of)),
            ["0 %", "12.5 %", "< 0.01 %", "99.99 %", "100 %"]
        );
    }
}
