//! Makes `impl` blocks replaceable. evcxr replaces an item when a cell defines its
//! name again, but keeps items without a name forever, so an `impl` that is run
//! twice would exist twice. evcxr assigns an item without a name to the named item
//! before it. So we put an alias before each `impl`, and find the `impl` by that
//! alias.

use std::collections::HashSet;

use ra_ap_syntax::ast;
use ra_ap_syntax::{AstNode, NodeOrToken, SyntaxKind, SyntaxNode};

use crate::source::{begin, flat, name, statements, words};

/// Prefix of the aliases' names.
pub(crate) const ALIAS: &str = "SlafImpl";

/// Which items of earlier cells a cell replaces.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Fit {
    /// An `impl` with the same header.
    Header,
    /// An `impl` of the same trait for the same type, however they are written.
    Names,
    /// An `impl` with the same header, and everything about a type that the
    /// cell redefines.
    Types,
}

/// An `impl` of a cell, or an `extern "C"` block, which has no name either.
#[derive(Debug, Clone)]
struct Impl {
    alias: String,
    /// The text before the braces, without attributes and comments.
    header: String,
    /// The same with attributes.
    head: String,
    of_trait: bool,
    /// The names of trait and type, without paths and generics.
    names: (Option<String>, Option<String>),
    /// The item before it in its cell, with which it is removed.
    owner: Option<String>,
    members: Vec<(Option<String>, String)>,
}

/// The blocks of all cells.
#[derive(Debug, Clone, Default)]
pub(crate) struct Impls {
    all: Vec<Impl>,
    made: usize,
}

/// A cell in the form that evcxr receives.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) code: String,
    /// The lines, from 1, in which we inserted code.
    pub(crate) touched: HashSet<usize>,
    /// Items that are removed with the types that the cell redefines.
    pub(crate) dropped: Vec<String>,
    /// The blocks of all cells, once this cell is compiled.
    pub(crate) after: Impls,
}

impl Impls {
    /// Adds aliases to a normalised cell.
    pub(crate) fn write(&self, code: &str, fit: Fit) -> Written {
        let start = begin(code);
        let mut after = self.clone();
        let (mut new, mut names, mut inserts) = (Vec::new(), HashSet::new(), Vec::new());
        let mut owner = None;
        for (at, node) in statements(&code[start..]) {
            let Some(item) = ast::Item::cast(node) else {
                continue;
            };
            if let Some(block) = Impl::new(&item, owner.clone()) {
                let block = after.place(block, fit);
                inserts.push((start + at, format!("type {} = ();", block.alias)));
                new.push(block);
            } else if let Some(name) = name(&item) {
                if matches!(&item, ast::Item::MacroRules(_))
                    && !flat(item.syntax()).contains("macro_export")
                {
                    // The alias is found wherever evcxr puts it, also by items above it.
                    inserts.push((start + at, "#[macro_export] ".to_owned()));
                }
                names.insert(name.clone());
                owner = Some(name);
            }
        }
        let (gone, kept): (Vec<_>, Vec<_>) = after.all.into_iter().partition(|old| {
            old.owner
                .as_ref()
                .is_some_and(|owner| names.contains(owner))
                || fit == Fit::Types && old.header.split(' ').any(|word| names.contains(word))
        });
        let mut before: String = gone
            .iter()
            .map(|old| format!("type {} = (); ", old.alias))
            .collect();
        let changed = kept.iter().filter(|old| {
            self.all
                .iter()
                .any(|was| was.alias == old.alias && was.members.len() != old.members.len())
        });
        before.extend(changed.map(Impl::code));
        if !before.is_empty() {
            inserts.insert(0, (start, before));
        }
        after.all = kept;
        after.all.extend(new);
        let dropped = gone.into_iter().map(|old| old.head).collect();
        let touched = inserts
            .iter()
            .map(|(at, _)| 1 + code[..*at].matches('\n').count());
        Written {
            touched: touched.collect(),
            code: with(code, &inserts),
            dropped,
            after,
        }
    }

    /// Puts a new block in the place of the one that it replaces, and removes
    /// its members from others.
    fn place(&mut self, mut new: Impl, fit: Fit) -> Impl {
        let names: HashSet<_> = new
            .members
            .iter()
            .filter_map(|(name, _)| name.clone())
            .collect();
        self.all.retain_mut(|old| {
            let same = fit == Fit::Names && new.names.1.is_some() && old.names == new.names;
            if old.header != new.header && !same {
                return true;
            }
            old.members
                .retain(|(name, _)| name.as_ref().is_none_or(|name| !names.contains(name)));
            let replaced = new.of_trait || old.members.is_empty();
            if replaced && new.alias.is_empty() {
                new.alias.clone_from(&old.alias);
                return false;
            }
            // If it replaces two, the second is left without members.
            true
        });
        if new.alias.is_empty() {
            self.made += 1;
            new.alias = format!("{ALIAS}{}", self.made);
        }
        new
    }
}

impl Impl {
    fn new(item: &ast::Item, owner: Option<String>) -> Option<Self> {
        let (of_trait, of) = match item {
            ast::Item::Impl(block) => (block.trait_(), block.self_ty()),
            ast::Item::ExternBlock(_) => (None, None),
            _ => return None,
        };
        let parts = item.syntax().children_with_tokens();
        let before = parts.take_while(|part| !is_list(part.kind()));
        let (mut head, mut header) = (Vec::new(), Vec::new());
        for part in before {
            let words = match &part {
                NodeOrToken::Node(node) => words(node),
                NodeOrToken::Token(token) if token.kind().is_trivia() => continue,
                NodeOrToken::Token(token) => token.text().to_owned(),
            };
            if part.kind() != SyntaxKind::ATTR {
                header.push(words);
            }
            head.push(part.as_node().map_or_else(|| part.to_string(), flat));
        }
        let list = item.syntax().children().find(|node| is_list(node.kind()));
        let members = list.iter().flat_map(SyntaxNode::children).map(|node| {
            let name = node.children().find_map(ast::Name::cast);
            (name.map(|name| name.text().to_string()), flat(&node))
        });
        Some(Self {
            alias: String::new(),
            header: header.join(" "),
            head: head.join(" "),
            members: members.collect(),
            of_trait: of_trait.is_some(),
            names: (of_trait.and_then(name_of), of.and_then(name_of)),
            owner,
        })
    }

    /// Its code after another block took over some of its members.
    fn code(&self) -> String {
        let members: Vec<_> = self.members.iter().map(|(_, code)| code.as_str()).collect();
        format!(
            "type {} = (); {} {{ {} }} ",
            self.alias,
            self.head,
            members.join(" ")
        )
    }
}

/// The last name of a path.
fn name_of(of: ast::Type) -> Option<String> {
    match of {
        ast::Type::PathType(path) => Some(path.path()?.segment()?.name_ref()?.text().to_string()),
        ast::Type::RefType(reference) => name_of(reference.ty()?),
        _ => None,
    }
}

fn is_list(kind: SyntaxKind) -> bool {
    matches!(
        kind,
        SyntaxKind::ASSOC_ITEM_LIST | SyntaxKind::EXTERN_ITEM_LIST
    )
}

/// Inserts texts into `code` at ascending positions.
fn with(code: &str, inserts: &[(usize, String)]) -> String {
    let mut all = String::with_capacity(code.len() + 64 * inserts.len());
    let mut done = 0;
    for (at, text) in inserts {
        all += &code[done..*at];
        all += text;
        done = *at;
    }
    all + &code[done..]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What evcxr receives for these cells, one after the other.
    fn written(cells: &[&str]) -> Vec<String> {
        let mut impls = Impls::default();
        let write = |code: &&str| {
            let written = impls.write(code, Fit::Header);
            impls = written.after;
            written.code
        };
        cells.iter().map(write).collect()
    }

    #[test]
    fn a_trait_is_implemented_anew() {
        let cells = [
            "impl fmt::Debug for Cat {}",
            "// it\nimpl  fmt :: Debug for Cat\n{ }",
        ];
        assert_eq!(
            written(&cells),
            [
                "type SlafImpl1 = ();impl fmt::Debug for Cat {}",
                "// it\ntype SlafImpl1 = ();impl  fmt :: Debug for Cat\n{ }",
            ]
        );
    }

    #[test]
    fn functions_that_are_defined_anew_are_taken_from_older_blocks() {
        let cells = [
            "impl<T> A<T> { fn one() {} /* c */ const TWO: i32 = 2; }",
            "impl<T> A<T> { fn one() { 1; } }",
            "impl<T> A<T> { fn three() {} }",
            "impl A<u8> { fn one() {} }",
            "impl<T> A<T> { fn one() {} fn three() {} const TWO: i32 = 3; }",
        ];
        assert_eq!(
            written(&cells)[1..],
            [
                "type SlafImpl1 = (); impl <T> A<T> { const TWO: i32 = 2; } \
                 type SlafImpl2 = ();impl<T> A<T> { fn one() { 1; } }",
                "type SlafImpl3 = ();impl<T> A<T> { fn three() {} }",
                "type SlafImpl4 = ();impl A<u8> { fn one() {} }",
                "type SlafImpl2 = (); impl <T> A<T> {  } type SlafImpl3 = (); impl <T> A<T> {  } \
                 type SlafImpl1 = ();impl<T> A<T> { fn one() {} fn three() {} const TWO: i32 = 3; }",
            ]
        );
    }

    #[test]
    fn functions_of_c_are_declared_anew() {
        let cells = [
            "unsafe extern \"C\" { fn abs(x: i32) -> i32; }",
            "unsafe extern \"C\" { fn abs(x: i32) -> i32; safe fn labs(x: i64) -> i64; }",
        ];
        let want = |cell| format!("type SlafImpl1 = ();{cell}");
        assert_eq!(written(&cells), cells.map(want));
    }

    #[test]
    fn what_stood_behind_a_type_goes_with_it() {
        let cells = [
            "struct A; impl A { fn a() {} } impl Clone for A {}",
            "let b = 1;",
            ":opt 2\nstruct A; impl Clone for A {}",
        ];
        assert_eq!(
            written(&cells),
            [
                "struct A; type SlafImpl1 = ();impl A { fn a() {} } type SlafImpl2 = ();impl Clone for A {}",
                "let b = 1;",
                ":opt 2\ntype SlafImpl1 = (); struct A; type SlafImpl2 = ();impl Clone for A {}",
            ]
        );
    }

    #[test]
    fn what_does_not_fit_a_new_type_may_go() {
        let first = Impls::default().write("impl Into<Vec<A>> for B {}", Fit::Header);
        let again = first.after.write("struct A;", Fit::Types);
        assert_eq!(again.code, "type SlafImpl1 = (); struct A;");
        assert_eq!(again.dropped.len(), 1);
        assert!(
            first
                .after
                .write("struct C;", Fit::Types)
                .dropped
                .is_empty()
        );
    }

    #[test]
    fn the_same_trait_may_be_written_otherwise() {
        let first = Impls::default().write("impl std::fmt::Display for Cat<'_> {}", Fit::Header);
        let again = "impl<'a> Display for crate::Cat<'a> {}";
        let written = first.after.write(again, Fit::Names);
        assert_eq!(written.code, format!("type SlafImpl1 = ();{again}"));
        let written = first.after.write(again, Fit::Header);
        assert_eq!(written.code, format!("type SlafImpl2 = ();{again}"));
    }

    #[test]
    fn macros_are_found_from_everywhere() {
        assert_eq!(
            written(&["fn f() {}\nmacro_rules! m { () => {} }\nf()"]),
            ["fn f() {}\n#[macro_export] macro_rules! m { () => {} }\nf()"]
        );
    }
}
