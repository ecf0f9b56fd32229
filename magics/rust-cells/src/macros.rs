//! Expands a cell's `macro_rules!` that make items. evcxr treats every macro call
//! as a statement, whose items end with the cell. So a call that makes only items
//! is expanded before evcxr sees it.

use std::collections::{HashMap, HashSet};

use ra_ap_mbe::{DeclarativeMacro, MacroCallStyle};
use ra_ap_parser::TopEntryPoint;
use ra_ap_span::{
    EditionedFileId, FileId, ROOT_ERASED_FILE_AST_ID, Span, SpanAnchor, SyntaxContext,
};
use ra_ap_syntax::ast::{self, HasName};
use ra_ap_syntax::{AstNode, Edition, SyntaxNode, TextRange, TextSize};
use ra_ap_syntax_bridge::{parse_to_token_tree, token_tree_to_syntax_node};

use crate::source::{begin, flat, statements, words};

/// Limit on how deeply macros can call each other.
const DEPTH: usize = 16;

/// The macros of all cells, by name, with their rules.
#[derive(Debug, Clone, Default)]
pub(crate) struct Macros {
    rules: HashMap<String, String>,
}

impl Macros {
    /// Expands the items in a normalised cell. Also returns the lines, from 1,
    /// that were changed. The macros of this cell are known from now on.
    pub(crate) fn write(&mut self, code: &str) -> (String, HashSet<usize>) {
        let start = begin(code);
        let (mut written, mut touched) = (code[..start].to_owned(), HashSet::new());
        let mut done = start;
        for (at, node) in statements(&code[start..]) {
            self.learn(&node);
            let Some(items) = self.items_of(&node, DEPTH) else {
                continue;
            };
            let range = start + at..start + at + usize::from(node.text_range().len());
            written += &code[done..range.start];
            written += &items;
            // The code after it keeps its line numbers.
            let lines = code[range.clone()].matches('\n').count();
            written += &"\n".repeat(lines);
            let first = 1 + code[..range.start].matches('\n').count();
            touched.extend(first..=first + lines);
            done = range.end;
        }
        written += &code[done..];
        (written, touched)
    }

    fn learn(&mut self, node: &SyntaxNode) {
        if let Some(rules) = ast::MacroRules::cast(node.clone())
            && let (Some(name), Some(tree)) = (rules.name(), rules.token_tree())
        {
            self.rules.insert(name.text().to_string(), inside(&tree));
        }
    }

    /// The items that a statement makes, if it calls one of the macros and
    /// makes only items.
    fn items_of(&self, node: &SyntaxNode, depth: usize) -> Option<String> {
        let expression = match ast::ExprStmt::cast(node.clone()) {
            Some(statement) => statement.expr()?,
            None => ast::Expr::cast(node.clone())?,
        };
        let ast::Expr::MacroExpr(expression) = expression else {
            return None;
        };
        let call = expression.macro_call()?;
        let name = call.path()?.segment()?.name_ref()?.text().to_string();
        let arguments = inside(&call.token_tree()?);
        let made = match (name.as_str(), self.rules.get(&name)) {
            (_, Some(rules)) => expanded(rules, &arguments)?,
            ("thread_local", None) => statics(&arguments, |name, of, value| {
                format!(
                    "const {name}: std::thread::LocalKey<{of}> = \
                     {{ std::thread_local! {{ static {name}: {of} = {value}; }} {name} }};"
                )
            })?,
            ("lazy_static", None) => {
                let statics_of_it = arguments.replace("static ref ", "static ");
                statics(&statics_of_it, |name, of, value| {
                    format!(
                        "static {name}: std::sync::LazyLock<{of}> = \
                         std::sync::LazyLock::new(|| {value});"
                    )
                })?
            }
            _ => return None,
        };
        let mut items = Vec::new();
        for (_, node) in statements(&made) {
            if ast::Item::can_cast(node.kind()) {
                items.push(flat(&node));
            } else {
                items.push(self.items_of(&node, depth.checked_sub(1)?)?);
            }
        }
        (!items.is_empty()).then(|| items.join(" "))
    }
}

/// The text inside the brackets of a macro call.
fn inside(tree: &ast::TokenTree) -> String {
    let text = tree.syntax().text().to_string();
    let mut inside = text.chars();
    inside.next();
    inside.next_back();
    inside.as_str().to_owned()
}

/// The items that a macro makes from statics, by name, type and value.
fn statics(code: &str, item: impl Fn(&str, &str, &str) -> String) -> Option<String> {
    let statics = statements(code).into_iter().map(|(_, node)| {
        let one = ast::Static::cast(node)?;
        let (of, value) = (flat(one.ty()?.syntax()), flat(one.body()?.syntax()));
        Some(item(one.name()?.text(), &of, &value))
    });
    statics.collect()
}

/// The expansion of a macro with these rules; `None` if no rule matches, or if
/// it does not make items.
fn expanded(rules: &str, arguments: &str) -> Option<String> {
    const EDITION: Edition = Edition::Edition2024;
    let context = SyntaxContext::root(EDITION);
    let anchor = |file| SpanAnchor {
        file_id: EditionedFileId::new(FileId::from_raw(file), EDITION),
        ast_id: ROOT_ERASED_FILE_AST_ID,
    };
    let rules = parse_to_token_tree(EDITION, anchor(0), context, rules)?;
    let rules = DeclarativeMacro::parse_macro_rules(&rules, |_| EDITION);
    let site = Span {
        range: TextRange::up_to(TextSize::of(arguments)),
        anchor: anchor(1),
        ctx: context,
    };
    let arguments = parse_to_token_tree(EDITION, anchor(1), context, arguments)?;
    let db = salsa::DatabaseImpl::default();
    let made = rules.expand(&db, &arguments, |_| (), MacroCallStyle::FnLike, site);
    if made.err.is_some() {
        return None;
    }
    let (parsed, _) =
        token_tree_to_syntax_node(&made.value.0, TopEntryPoint::MacroItems, &mut |_| EDITION);
    if !parsed.errors().is_empty() {
        return None;
    }
    Some(words(&parsed.syntax_node()).replace("$crate", "crate"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_that_a_macro_makes_are_written_out() {
        let mut macros = Macros::default();
        let code = "macro_rules! make { ($($i:ident = $v:expr),*) => { $(#[derive(Debug)] struct $i; \
                    impl $i { const TWICE: i32 = $v * 2; })* }; }";
        assert_eq!(macros.write(code).0, code);
        let (written, touched) = macros.write("\nmake!(\n  A = 1 + 2\n);\n5");
        assert_eq!(
            written,
            "\n# [ derive ( Debug ) ] struct A ; impl A { const TWICE : i32 = ( 1 + 2 ) * 2 ; }\n\n\n5"
        );
        assert_eq!(touched, HashSet::from([2, 3, 4]));
    }

    #[test]
    fn macros_may_call_each_other() {
        let mut macros = Macros::default();
        macros.write("macro_rules! one { ($i:ident) => { fn $i() {} } }");
        macros.write("macro_rules! two { ($i:ident $j:ident) => { one!($i); one! { $j } } }");
        assert_eq!(macros.write("two!(a b);").0, "fn a ( ) { } fn b ( ) { }");
        macros.write("macro_rules! ever { () => { ever!(); } }");
        assert_eq!(macros.write("ever!();").0, "ever!();");
    }

    #[test]
    fn statics_of_known_macros_are_items() {
        let mut macros = Macros::default();
        assert_eq!(
            macros.write("thread_local! { static A: Cell<u8> = const { Cell::new(1) }; static B: u8 = 2 }").0,
            "const A: std::thread::LocalKey<Cell<u8>> = \
             { std::thread_local! { static A: Cell<u8> = const { Cell::new(1) }; } A }; \
             const B: std::thread::LocalKey<u8> = { std::thread_local! { static B: u8 = 2; } B };"
        );
        assert_eq!(
            macros
                .write("lazy_static! {\n    static ref A: Vec<u64> = vec![1];\n}\nA.len()")
                .0,
            "static A: std::sync::LazyLock<Vec<u64>> = std::sync::LazyLock::new(|| vec![1]);\n\n\nA.len()"
        );
    }

    #[test]
    fn other_calls_stay() {
        let mut macros = Macros::default();
        macros.write("macro_rules! twice { ($e:expr) => { $e * 2 }; }");
        macros.write("macro_rules! mixed { () => { struct A; println!(); }; }");
        for code in [
            "twice!(4)",
            "mixed!();",
            "vec![1];",
            "twice!(;",
            "let a = twice!(2);",
        ] {
            assert_eq!(macros.write(code).0, code);
        }
    }
}
