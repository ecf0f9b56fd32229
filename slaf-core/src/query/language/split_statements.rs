//! Splits SQL text into statements.

use sqlparser::dialect::GenericDialect;
use sqlparser::tokenizer::{Token, Tokenizer};

/// Splits `sql` into statements. Each keeps its line numbers.
pub fn split(sql: &str) -> Vec<String> {
    let Ok(tokens) = Tokenizer::new(&GenericDialect {}, sql).tokenize_with_location() else {
        return vec![sql.to_owned()];
    };
    let mut pieces = vec![];
    let mut start = (1, 1);
    let mut any = false;
    for token in &tokens {
        let at = (token.span.start.line, token.span.start.column);
        match &token.token {
            Token::SemiColon => {
                if any {
                    pieces.push(piece(sql, start, at));
                }
                start = (at.0, at.1 + 1);
                any = false;
            }
            Token::Whitespace(_) => {}
            _ => any = true,
        }
    }
    if any || pieces.is_empty() {
        pieces.push(piece(sql, start, (u64::MAX, 1)));
    }
    pieces
}

/// The text between two positions, with the same lines and columns.
fn piece(sql: &str, from: (u64, u64), to: (u64, u64)) -> String {
    let lines = sql.split('\n').enumerate().map(|(number, line)| {
        let number = number as u64 + 1;
        let column = |place: (u64, u64), other: usize| match number == place.0 {
            true => (place.1 - 1) as usize,
            false => other,
        };
        if number < from.0 || number > to.0 {
            return String::new();
        }
        let (skip, end) = (column(from, 0), column(to, usize::MAX));
        let kept = line.chars().take(end).skip(skip);
        std::iter::repeat_n(' ', skip).chain(kept).collect()
    });
    let text: Vec<String> = lines.collect();
    text.join("\n").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn statements_are_parted_at_semicolons_that_are_no_text() {
        assert_eq!(
            split("SELECT ';' -- ;\n; SELECT 2;;"),
            ["SELECT ';' -- ;", "\n  SELECT 2"]
        );
        assert_eq!(split(" "), [""]);
    }
}
