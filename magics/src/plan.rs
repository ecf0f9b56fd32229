//! The plan of a statement: its executor and the reason for it, what is read, and
//! the steps, each with its inputs below it.

use std::fmt::Write;

use crate::html::{STYLE, clipped, escape, fitting, grouped, visible};

/// The lines of `EXPLAIN`: facts (`name: value`), and steps, which are indented.
pub struct PlanView<'a> {
    pub lines: &'a [String],
}

impl PlanView<'_> {
    pub fn html(&self) -> String {
        fitting(&[(400, 400), (100, 200), (40, 100)], |(most, width)| {
            let (facts, steps): (Vec<&String>, Vec<&String>) =
                self.lines.iter().partition(|line| fact(line).is_some());
            let mut out = format!("<div class=\"slaf\">{STYLE}<table><tbody>");
            for (name, what) in facts.iter().take(most).filter_map(|line| fact(line)) {
                let _ = write!(
                    out,
                    "<tr><th scope=\"row\" class=\"text\">{}</th><td class=\"text wrap\">{}</td></tr>",
                    escape(&clipped(name, 60)),
                    escape(&clipped(what, width))
                );
            }
            out.push_str("</tbody></table>");
            if !steps.is_empty() {
                let shown = steps.iter().take(most);
                let shown: Vec<_> = shown
                    .map(|s| escape(&clipped(s, width)).into_owned())
                    .collect();
                let _ = write!(out, "<pre>{}</pre>", shown.join("\n"));
            }
            if steps.len() > most {
                let more = grouped((steps.len() - most) as u64);
                let _ = write!(out, "<div class=\"dim\">and {more} more lines</div>");
            }
            out + "</div>"
        })
    }

    pub fn text(&self) -> String {
        let lines = self.lines.iter().map(|line| visible(line));
        lines.collect::<Vec<_>>().join("\n")
    }
}

/// The name and value of a line that is a fact.
fn fact(line: &str) -> Option<(&str, &str)> {
    let (name, what) = line.split_once(": ")?;
    let is_fact = ["engine", "reads"].contains(&name) || name.starts_with("frame ");
    is_fact.then_some((name, what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_a_table_and_steps_are_lines() {
        let lines = ["engine: polars (<b>)", "Filter: x", "  Scan"].map(str::to_owned);
        let view = PlanView { lines: &lines };
        let html = view.html();
        assert!(html.contains(">engine</th><td class=\"text wrap\">polars (&lt;b&gt;)</td>"));
        assert!(html.contains("<pre>Filter: x\n  Scan</pre>"));
        assert_eq!(view.text(), "engine: polars (<b>)\nFilter: x\n  Scan");
    }
}
