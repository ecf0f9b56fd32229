//! `{{x}}` in a statement: a value of the session, never text. Each is replaced by
//! a parameter of the same length, so that positions in the parser's errors stay
//! correct. `{{ident(x)}}` becomes a quoted name.

use crate::{Error, Result};

/// One `{{…}}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hole {
    /// The Python expression inside.
    pub expression: String,
    /// Whether its value is the name of a table or column.
    pub is_name: bool,
    start: usize,
    end: usize,
}

/// All holes of `sql`, in order.
pub fn holes(sql: &str) -> Result<Vec<Hole>> {
    let mut found = vec![];
    walk(sql, |hole| found.push(hole), |_, _| ())?;
    Ok(found)
}

/// Fills the holes of `sql`: the `n`th with the parameter `$_n`, or, if it is a name,
/// with `names[n]`. A parameter right after IN is put in parentheses.
pub fn fill(sql: &str, names: &[Option<String>]) -> Result<String> {
    let mut edits: Vec<(usize, usize, String)> = vec![];
    let mut in_list: Vec<(usize, usize)> = vec![];
    let mut count = 0;
    walk(
        sql,
        |hole| {
            let text = match names.get(count) {
                Some(Some(name)) if hole.is_name => format!("\"{}\"", name.replace('"', "\"\"")),
                _ => format!("$_{count}"),
            };
            let text = if after_in(&sql[..hole.start]) && !hole.is_name {
                format!("({text})")
            } else {
                text
            };
            let width = sql[hole.start..hole.end].chars().count();
            edits.push((hole.start, hole.end, format!("{text:width$}")));
            count += 1;
        },
        |start, end| {
            if after_in(&sql[..start]) {
                in_list.push((start, end));
            }
        },
    )?;
    edits.extend(
        in_list
            .into_iter()
            .map(|(start, end)| (start, end, format!("({})", &sql[start..end]))),
    );
    edits.sort();
    let mut out = String::with_capacity(sql.len());
    let mut at = 0;
    for (start, end, text) in edits {
        out.push_str(&sql[at..start]);
        out.push_str(&text);
        at = end;
    }
    out.push_str(&sql[at..]);
    Ok(out)
}

fn after_in(before: &str) -> bool {
    let before = before.trim_end();
    let word = before
        .rsplit(|c: char| !c.is_alphanumeric() && c != '_')
        .next();
    word.is_some_and(|word| word.eq_ignore_ascii_case("in"))
}

/// Calls `hole` for each `{{…}}`, and `parameter` with the position of each `$name`,
/// except in strings, quoted names and comments.
fn walk(
    sql: &str,
    mut hole: impl FnMut(Hole),
    mut parameter: impl FnMut(usize, usize),
) -> Result<()> {
    let bytes = sql.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &sql[at..];
        if let Some(comment) = rest.strip_prefix("--") {
            at += 2 + comment.find('\n').unwrap_or(comment.len());
        } else if let Some(comment) = rest.strip_prefix("/*") {
            at += 2 + comment.find("*/").map_or(comment.len(), |end| end + 2);
        } else if rest.starts_with("{{") {
            let end = at + closing(rest)?;
            hole(of(&sql[at + 2..end - 2], at, end));
            at = end;
        } else if bytes[at] == b'\'' || bytes[at] == b'"' {
            let end = at + quoted(rest);
            let inside = &sql[at + 1..(end - 1).max(at + 1)];
            if let Some(inner) = inside.strip_prefix("{{").and_then(|i| i.strip_suffix("}}"))
                && !inner.contains("{{")
                && bytes[at] == b'\''
            {
                hole(of(inner, at, end));
            } else if inside.contains("{{") && inside.contains("}}") {
                return Err(Error::Sql {
                    message: format!("`{}` has a value inside of a text.", &sql[at..end]),
                    hint: Some("Join them: `'before' || {{x}} || 'after'`.".into()),
                });
            }
            at = end;
        } else if let Some(length) = dollar_quoted(rest) {
            at += length;
        } else if bytes[at] == b'$' {
            let name = rest[1..].find(|c: char| !c.is_alphanumeric() && c != '_');
            let end = at + 1 + name.unwrap_or(rest.len() - 1);
            if end > at + 1 {
                parameter(at, end);
            }
            at = end;
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    Ok(())
}

fn of(inner: &str, start: usize, end: usize) -> Hole {
    let inner = inner.trim();
    let name = inner
        .strip_prefix("ident(")
        .and_then(|rest| rest.strip_suffix(')'));
    Hole {
        expression: name.unwrap_or(inner).trim().to_owned(),
        is_name: name.is_some(),
        start,
        end,
    }
}

/// The position of the `}}` that ends a text beginning with `{{`. Python strings in it
/// may contain braces.
fn closing(text: &str) -> Result<usize> {
    let mut at = 2;
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with("}}") {
            return Ok(at + 2);
        }
        at += match rest.as_bytes()[0] {
            b'\'' | b'"' => quoted(rest),
            _ => rest.chars().next().map_or(1, char::len_utf8),
        };
    }
    Err(Error::Sql {
        message: "A `{{` is not closed by `}}`.".into(),
        hint: None,
    })
}

/// The length of the `$$text$$` or `$tag$text$tag$` at the start.
fn dollar_quoted(text: &str) -> Option<usize> {
    let tag = text.strip_prefix('$')?;
    let end = tag.find(|c: char| !c.is_alphanumeric() && c != '_')?;
    if !tag[end..].starts_with('$') || tag.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let fence = &text[..end + 2];
    let inside = &text[fence.len()..];
    Some(
        inside
            .find(fence)
            .map_or(text.len(), |close| close + 2 * fence.len()),
    )
}

/// The length of the quoted text at the start, in which a doubled quote is one quote.
fn quoted(text: &str) -> usize {
    let quote = text.as_bytes()[0];
    let bytes = text.as_bytes();
    let mut at = 1;
    while at < bytes.len() {
        if bytes[at] == quote {
            if bytes.get(at + 1) != Some(&quote) {
                return at + 1;
            }
            at += 1;
        }
        at += 1;
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(sql: &str) -> String {
        let names = holes(sql).unwrap();
        let names: Vec<_> = names
            .iter()
            .map(|h| h.is_name.then(|| h.expression.clone()))
            .collect();
        fill(sql, &names).unwrap()
    }

    #[test]
    fn a_hole_becomes_a_parameter_in_its_place() {
        assert_eq!(filled("SELECT {{ n + 1 }} AS x"), "SELECT $_0         AS x");
        assert_eq!(
            filled("a = '{{x}}' AND b IN {{y}}"),
            "a = $_0     AND b IN ($_1)"
        );
        assert_eq!(filled("b IN $genes AND c = $x"), "b IN ($genes) AND c = $x");
        let named = fill("SELECT {{ident(c)}}", &[Some("a\"b".into())]).unwrap();
        assert_eq!(named, "SELECT \"a\"\"b\"      ");
    }

    #[test]
    fn what_is_quoted_or_a_comment_is_left_alone() {
        for sql in [
            "SELECT '$x' -- {{y}}",
            "SELECT /* {{x}} */ \"$y\"",
            "SELECT 'it''s'",
            "SELECT $$it's -- $x {{x}}$$, $q$a $$ {{b}}$q$",
        ] {
            assert_eq!(filled(sql), sql);
        }
        assert_eq!(holes("{{d['}}']}}").unwrap()[0].expression, "d['}}']");
        assert!(holes("SELECT 'a {{x}}'").is_err());
        assert!(holes("SELECT {{x").is_err());
    }
}
