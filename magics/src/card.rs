//! A card describes a dataset, handle, lazy matrix, loader or tokenizer: what it
//! is, facts about it, and sections of named entries that can be folded. The caller
//! provides the content.

use std::fmt::Write;

use serde::Deserialize;

use crate::html::{STYLE, clipped, counted, cut, escape, fitting, visible};
use crate::sparklines::{Share, category, shares};

/// The content of a card. Everything except `kind` is optional.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Card {
    /// The kind of object, such as `LazyAnnData`.
    pub kind: String,
    /// Its size, such as `700 cells × 765 genes`.
    pub title: String,
    /// Its address.
    pub place: String,
    /// Facts: a name and a value each.
    pub facts: Vec<(String, String)>,
    pub warnings: Vec<String>,
    pub sections: Vec<Section>,
    /// What the user can do next.
    pub hint: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Section {
    pub name: String,
    pub note: String,
    pub open: bool,
    pub entries: Vec<Entry>,
    /// Names of entries without a description.
    pub others: Vec<String>,
    /// Number of entries that are not in `entries`, whether `others` names them or not.
    pub more: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Entry {
    pub name: String,
    /// The dtype or type.
    pub kind: String,
    pub note: String,
    /// A state, such as `in memory` or `set here`.
    pub state: String,
    /// The cost of reading it.
    pub cost: String,
    /// The most frequent values.
    pub values: Vec<Value>,
    /// Number of rows that have a value, including values that are not shown.
    pub total: u64,
    pub entries: Vec<Entry>,
    /// Number of inner entries that are not in `entries`.
    pub more: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Value {
    pub name: String,
    pub count: Option<u64>,
    pub colour: Option<String>,
}

/// Maximum numbers of entries per section and per entry, of other names, and of
/// characters.
#[derive(Clone, Copy)]
struct Room {
    entries: usize,
    inside: usize,
    others: usize,
    width: usize,
}

impl Room {
    const fn of(entries: usize, inside: usize, others: usize, width: usize) -> Self {
        Self {
            entries,
            inside,
            others,
            width,
        }
    }

    /// Maximum length of a name.
    fn name(self) -> usize {
        self.width.min(60)
    }
}

const ROOMS: [Room; 4] = [
    Room::of(100, 12, 100, 200),
    Room::of(40, 8, 40, 80),
    Room::of(12, 4, 12, 30),
    Room::of(2, 1, 0, 12),
];

impl Card {
    pub fn html(&self) -> String {
        fitting(&ROOMS, |room| self.drawn(room))
    }

    fn drawn(&self, room: Room) -> String {
        let long = 2 * room.width;
        let mut out = format!(
            "<div class=\"slaf\">{STYLE}<div class=\"top\">\
             <b role=\"heading\" aria-level=\"4\">{}</b> {}",
            escape(&clipped(&self.kind, 60)),
            escape(&clipped(&self.title, 200))
        );
        if !self.place.is_empty() {
            let place = escape(&clipped(&self.place, long)).into_owned();
            let _ = write!(out, " <span class=\"dim\">{place}</span>");
        }
        out.push_str("</div>");
        for warning in self.warnings.iter().take(8) {
            let warning = escape(&clipped(warning, long)).into_owned();
            let _ = write!(out, "<div class=\"warn\">{warning}</div>");
        }
        if !self.facts.is_empty() {
            out.push_str("<table><tbody>");
            for (name, fact) in self.facts.iter().take(24) {
                let _ = write!(
                    out,
                    "<tr><th scope=\"row\" class=\"text\">{}</th><td class=\"text wrap\">{}</td></tr>",
                    escape(&clipped(name, 40)),
                    escape(&clipped(fact, long))
                );
            }
            out.push_str("</tbody></table>");
        }
        for section in self.sections.iter().take(24) {
            section.draw(&mut out, room);
        }
        if !self.hint.is_empty() {
            let _ = write!(out, "<div class=\"dim\">{}</div>", escape(&self.hint));
        }
        out.push_str("</div>");
        out
    }

    /// The card as plain text, with everything unfolded.
    pub fn text(&self) -> String {
        let head = [&self.kind, &self.title, &self.place];
        let head: Vec<_> = head.into_iter().filter(|t| !t.is_empty()).collect();
        let mut lines = vec![
            head.iter()
                .map(|t| visible(t))
                .collect::<Vec<_>>()
                .join("  "),
        ];
        let width = self
            .facts
            .iter()
            .map(|(name, _)| name.chars().count())
            .max();
        let width = width.unwrap_or(0);
        lines.extend(self.warnings.iter().map(|w| format!("  ! {}", visible(w))));
        for (name, fact) in &self.facts {
            lines.push(format!("  {:width$}  {}", visible(name), visible(fact)));
        }
        for section in &self.sections {
            section.write(&mut lines);
        }
        if !self.hint.is_empty() {
            lines.push(self.hint.clone());
        }
        lines.join("\n")
    }
}

impl Section {
    fn draw(&self, out: &mut String, room: Room) {
        let open = if self.open { " open" } else { "" };
        let _ = write!(
            out,
            "<details{open}><summary><b role=\"heading\" aria-level=\"5\">{}</b> <span class=\"dim\">{}</span></summary>",
            escape(&clipped(&self.name, 60)),
            escape(&clipped(&self.note, room.width))
        );
        draw_entries(out, &self.entries, room.entries, room);
        let unseen = self.entries.len().saturating_sub(room.entries) as u64 + self.more;
        if unseen > 0 {
            let names = self.entries.iter().skip(room.entries).map(|e| &e.name);
            let mut named: Vec<_> = names
                .chain(&self.others)
                .take(room.others)
                .map(|name| format!("<code>{}</code>", escape(&clipped(name, 30))))
                .collect();
            if named.len() < unseen as usize {
                named.push("…".into());
            }
            let _ = write!(
                out,
                "<div class=\"dim wrap\">and {}: {}</div>",
                counted(unseen, "other"),
                named.join(", ")
            );
        }
        out.push_str("</details>");
    }

    fn write(&self, lines: &mut Vec<String>) {
        const NAMED: usize = 12;
        let mut names: Vec<_> = self
            .entries
            .iter()
            .map(|entry| &entry.name)
            .chain(&self.others)
            .take(NAMED)
            .map(|name| visible(&clipped(name, 40)).into_owned())
            .collect();
        if names.len() < self.entries.len() + self.more as usize {
            names.push("…".into());
        }
        let note = if self.note.is_empty() {
            String::new()
        } else {
            format!(" ({})", self.note)
        };
        lines.push(format!(
            "  {}{}: {}",
            visible(&self.name),
            visible(&note),
            names.join(", ")
        ));
    }
}

/// A table of `entries`. Entries with inner entries can be unfolded.
fn draw_entries(out: &mut String, entries: &[Entry], most: usize, room: Room) {
    let shown = || entries.iter().take(most);
    if shown().any(|entry| entry.entries.is_empty()) {
        out.push_str("<table><tbody>");
        for entry in shown().filter(|entry| entry.entries.is_empty()) {
            entry.draw_row(out, room);
        }
        out.push_str("</tbody></table>");
    }
    for entry in shown().filter(|entry| !entry.entries.is_empty()) {
        let _ = write!(
            out,
            "<details><summary><b>{}</b> <span class=\"dim\">{}</span></summary>",
            cut(&entry.name, room.name(), room.width),
            escape(&clipped(&entry.note, room.width))
        );
        draw_entries(out, &entry.entries, room.inside, room);
        let unseen = entry.entries.len().saturating_sub(room.inside) as u64 + entry.more;
        if unseen > 0 {
            let _ = write!(
                out,
                "<div class=\"dim\">and {}</div>",
                counted(unseen, "other")
            );
        }
        out.push_str("</details>");
    }
}

impl Entry {
    fn draw_row(&self, out: &mut String, room: Room) {
        let _ = write!(
            out,
            "<tr><th scope=\"row\" class=\"text\">{}</th><td class=\"text dim kind\">{}</td>\
             <td class=\"text wrap\">",
            cut(&self.name, room.name(), room.width),
            escape(&clipped(&self.kind, 60))
        );
        let values = || self.values.iter().take(room.inside);
        let counted: Vec<Share<'_>> = values().filter_map(Value::share).collect();
        if !counted.is_empty() {
            let _ = write!(out, "{} ", shares(&counted, self.total));
        }
        if !self.note.is_empty() {
            let note = cut(&self.note, room.width.min(120), room.width);
            let _ = write!(out, "<span class=\"note\">{note}</span>");
        }
        for value in values() {
            out.push(' ');
            let colour = value.colour.as_deref();
            out.push_str(&category(&value.name, value.count, colour, room.width));
        }
        out.push_str("</td><td>");
        if !self.state.is_empty() {
            let _ = write!(
                out,
                "<span class=\"mark\">{}</span>",
                escape(&clipped(&self.state, 40))
            );
        }
        if !self.cost.is_empty() {
            let _ = write!(
                out,
                "<span class=\"dim\">{}</span>",
                escape(&clipped(&self.cost, 40))
            );
        }
        out.push_str("</td></tr>");
    }
}

impl Value {
    fn share(&self) -> Option<Share<'_>> {
        Some(Share {
            name: &self.name,
            count: self.count?,
            colour: self.colour.as_deref(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::html::LIMIT;

    #[test]
    fn the_worst_card_is_not_too_long() {
        let nasty = || "<\"'&".repeat(2500);
        let entry = || Entry {
            name: nasty(),
            kind: nasty(),
            note: nasty(),
            state: nasty(),
            values: (0..300)
                .map(|_| Value {
                    name: "<\"'&".repeat(50),
                    count: Some(1),
                    colour: Some("#ffffff".into()),
                })
                .collect(),
            ..Entry::default()
        };
        let nested = || Entry {
            entries: (0..5).map(|_| entry()).collect(),
            ..entry()
        };
        let section = || Section {
            name: nasty(),
            note: nasty(),
            entries: (0..100)
                .map(|at| if at % 2 == 0 { entry() } else { nested() })
                .collect(),
            others: vec!["<\"'&".repeat(50); 1400],
            more: 1400,
            ..Section::default()
        };
        let card = Card {
            kind: nasty(),
            title: nasty(),
            place: nasty(),
            facts: vec![(nasty(), nasty()); 9],
            warnings: vec![nasty(); 99],
            sections: (0..4).map(|_| section()).collect(),
            hint: "h".into(),
        };
        let html = card.html();
        assert!(html.len() <= LIMIT, "{} bytes", html.len());
        assert!(!html.contains("<\"'&"));
    }

    #[test]
    fn the_text_names_what_there_is() {
        let card = Card {
            kind: "SLAF dataset".into(),
            title: "3 cells × 2 genes".into(),
            facts: vec![
                ("X".into(), "float32".into()),
                ("version".into(), "1".into()),
            ],
            sections: vec![Section {
                name: "obs".into(),
                note: "2 columns".into(),
                entries: vec![Entry {
                    name: "\x1b[31m".into(),
                    ..Entry::default()
                }],
                more: 1,
                ..Section::default()
            }],
            ..Card::default()
        };
        assert_eq!(
            card.text(),
            "SLAF dataset  3 cells × 2 genes\n  X        float32\n  version  1\n  \
             obs (2 columns): ␛[31m, …"
        );
    }
}
