//! The code of a cell in evcxr's form: commands and comments first, then Rust.

use std::ops::Range;

use ra_ap_syntax::ast::{self, HasName};
use ra_ap_syntax::{AstNode, Edition, NodeOrToken, SourceFile, SyntaxKind, SyntaxNode};

/// Normalises the lines before the Rust code of a cell, without changing their
/// lengths: evcxr recognises a comment there only at the start of a line, and
/// takes every line after another one for Rust.
pub(crate) fn straight(code: &str) -> String {
    let mut straight = String::with_capacity(code.len());
    let mut lines = code.split_inclusive('\n');
    let mut in_comment = false;
    for line in &mut lines {
        let text = line.trim_start();
        let indent = line.len() - text.len();
        let begins = !in_comment && text.starts_with("/*");
        if in_comment || begins {
            let Some(end) = text.find("*/") else {
                in_comment = true;
                straight += &blank(line);
                continue;
            };
            if !text[end + 2..].trim().is_empty() {
                // Rust code follows, which may begin with a comment.
                return code.to_owned();
            }
            in_comment = false;
            straight += &blank(line);
        } else if let Some(comment) = text.strip_prefix("//") {
            straight += "//";
            straight += &blank(&line[..indent]);
            straight += comment;
        } else if text.starts_with(':') {
            straight += &blank(&line[..indent]);
            straight += text;
        } else {
            straight += line;
            if !text.is_empty() && !line.starts_with('!') {
                break;
            }
        }
    }
    straight.extend(lines);
    if in_comment {
        code.to_owned()
    } else {
        straight
    }
}

/// A line of as many spaces, with the line's end.
fn blank(line: &str) -> String {
    line.bytes()
        .map(|b| if b == b'\n' { '\n' } else { ' ' })
        .collect()
}

/// Where the Rust code of a normalised cell begins.
pub(crate) fn begin(code: &str) -> usize {
    let is_before = |line: &&str| {
        let text = line.trim();
        text.is_empty() || text.starts_with("//") || text.starts_with(':') || line.starts_with('!')
    };
    let before = code.split_inclusive('\n').take_while(is_before);
    before.map(str::len).sum()
}

/// The commands of a normalised cell, without their arguments.
pub(crate) fn commands(code: &str) -> impl Iterator<Item = &str> {
    let lines = code[..begin(code)].lines();
    lines.filter_map(|line| {
        line.trim()
            .split(' ')
            .next()
            .filter(|word| word.starts_with(':'))
    })
}

/// The position of a command in a normalised cell.
pub(crate) fn command(code: &str, name: &str) -> Option<Range<usize>> {
    let mut places = code[..begin(code)]
        .match_indices(name)
        .map(|(at, _)| at..at + name.len());
    places.find(|place| {
        let (before, after) = (&code[..place.start], &code[place.end..]);
        let line = &before[before.rfind('\n').map_or(0, |end| end + 1)..];
        line.trim().is_empty() && !after.starts_with(|c: char| !c.is_whitespace())
    })
}

/// The statements of Rust code, and where each begins.
pub(crate) fn statements(rust: &str) -> Vec<(usize, SyntaxNode)> {
    // evcxr parses the code inside a function, too.
    const HEAD: &str = "fn f(){";
    let file = SourceFile::parse(&format!("{HEAD}{rust}\n}}"), Edition::Edition2024);
    let function = file.tree().syntax().children().find_map(ast::Fn::cast);
    let list = function.and_then(|function| function.body()?.stmt_list());
    let nodes = list.into_iter().flat_map(|list| list.syntax().children());
    let placed = nodes.map(|node| {
        let start = usize::from(node.text_range().start());
        (start.saturating_sub(HEAD.len()), node)
    });
    placed.collect()
}

/// The name under which evcxr keeps an item.
pub(crate) fn name(item: &ast::Item) -> Option<String> {
    let name = match item {
        ast::Item::Const(item) => item.name(),
        ast::Item::Enum(item) => item.name(),
        ast::Item::Fn(item) => item.name(),
        ast::Item::MacroDef(item) => item.name(),
        ast::Item::MacroRules(item) => item.name(),
        ast::Item::Module(item) => item.name(),
        ast::Item::Static(item) => item.name(),
        ast::Item::Struct(item) => item.name(),
        ast::Item::Trait(item) => item.name(),
        ast::Item::TypeAlias(item) => item.name(),
        ast::Item::Union(item) => item.name(),
        _ => None,
    };
    name.map(|name| name.text().to_string())
}

/// The code of a node in one line, without comments.
pub(crate) fn flat(node: &SyntaxNode) -> String {
    let tokens = node
        .descendants_with_tokens()
        .filter_map(NodeOrToken::into_token);
    let mut flat = String::new();
    for token in tokens {
        match token.kind() {
            SyntaxKind::WHITESPACE | SyntaxKind::COMMENT => flat.push(' '),
            _ => flat += token.text(),
        }
    }
    flat.trim().to_owned()
}

/// The tokens of a node, with normal spacing.
pub(crate) fn words(node: &SyntaxNode) -> String {
    let tokens = node
        .descendants_with_tokens()
        .filter_map(NodeOrToken::into_token);
    let words = tokens.filter(|token| !token.kind().is_trivia());
    words
        .map(|token| token.text().to_owned())
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_before_the_rust_are_straightened() {
        for (code, want) in [
            ("    // c\n    :vars", "//     c\n    :vars"),
            (
                "\n/* c */\n\t:vars\nlet a = 1;",
                "\n       \n :vars\nlet a = 1;",
            ),
            ("/* a\n b */\n:vars", "    \n     \n:vars"),
            ("let a = 1;\n    // c\n", "let a = 1;\n    // c\n"),
            ("/* c */ 1 + 1", "/* c */ 1 + 1"),
            ("/* no end\n:vars", "/* no end\n:vars"),
            ("", ""),
        ] {
            assert_eq!(straight(code), want);
        }
    }

    #[test]
    fn rust_begins_after_commands() {
        let code = "\n// c\n:dep x\n  :vars 1\n!ls\nlet a = 1;\n:no";
        assert_eq!(&code[begin(code)..], "let a = 1;\n:no");
        assert_eq!(command("\n// :a\n :ab\n :a 1\n", ":a"), Some(13..15));
        assert_eq!(command("1;\n:a", ":a"), None);
        assert_eq!(commands(code).collect::<Vec<_>>(), [":dep", ":vars"]);
    }
}
