//! Decides when rust-analyzer reads the standard library and the data-sharing
//! crate, which takes it seconds: when it must find the type of a variable, when it
//! completes, or when nothing else is running.

use std::io;
use std::path::Path;

use evcxr::{CommandContext, Error};
use ra_ap_syntax::ast::{self, AstNode, LiteralKind, UnaryOp};

use crate::source::{begin, commands, statements};

/// The variable that tells rust-analyzer where the library's source is.
const SOURCE: &str = "RUST_SRC_PATH";

/// Imports for every cell that rust-analyzer need not see at first.
const HIDDEN: &str = "\
    #![allow(unexpected_cfgs)]\n\
    #[cfg(not(rust_analyzer))] mod slaf_cell_uses { pub use slaf::Array; }\n\
    use slaf_cell_uses::*;\n";
/// The same, visible to it: it writes the type of a column with this trait.
const SEEN: &str = "use slaf::Array; ";

#[derive(Debug, Default, PartialEq)]
enum Stage {
    #[default]
    WithoutStd,
    WithStd,
    Ready,
}

/// Which sources rust-analyzer has read.
#[derive(Debug, Default)]
pub(crate) struct Analysis {
    stage: Stage,
    /// Whether cells use what it needs.
    seen: bool,
    /// evcxr's optimization level. rust-analyzer reads everything again when
    /// cargo's manifest changes, and adding a space to the level is such a
    /// change.
    level: String,
}

impl Analysis {
    pub(crate) fn without_std(level: &str) -> Self {
        Self {
            level: level.to_owned(),
            ..Self::default()
        }
    }

    pub(crate) fn begin(&self, context: &mut CommandContext) -> Result<(), Error> {
        context.set_opt_level(&format!(" {}", self.level))
    }

    /// The imports at the beginning of a session.
    pub(crate) fn uses(&mut self) -> &'static str {
        self.seen = self.stage != Stage::WithoutStd;
        if self.seen { SEEN } else { HIDDEN }
    }

    /// Prepares rust-analyzer for a cell that may need the type of a variable;
    /// returns the imports that the cell then needs.
    pub(crate) fn ready_for(
        &mut self,
        code: &str,
        context: &mut CommandContext,
    ) -> Result<&'static str, Error> {
        let rust = &code[begin(code)..];
        if commands(code).next().is_none() && !asks_for_types(rust) {
            return Ok("");
        }
        self.load(context)?;
        let is_rust = !rust.is_empty();
        Ok(if is_rust && !self.seen { SEEN } else { "" })
    }

    /// Makes rust-analyzer read the standard library the next time, unless it
    /// has.
    fn load(&mut self, context: &mut CommandContext) -> Result<(), Error> {
        if self.stage == Stage::WithoutStd {
            context.set_opt_level(&self.level)?;
            self.stage = Stage::WithStd;
        }
        Ok(())
    }

    /// Records that a cell with these imports was compiled.
    pub(crate) fn used(&mut self, uses: &str) {
        self.seen |= uses == SEEN;
    }

    /// Makes rust-analyzer read everything.
    pub(crate) fn read(&mut self, context: &mut CommandContext) -> Result<(), Error> {
        self.load(context)?;
        if !self.seen {
            context.execute(SEEN)?;
            self.seen = true;
        }
        Ok(())
    }

    /// Makes it read a little more; returns whether there was anything left.
    pub(crate) fn next(&mut self, context: &mut CommandContext) -> bool {
        match self.stage {
            Stage::WithoutStd => _ = self.read(context),
            Stage::WithStd => {
                self.stage = Stage::Ready;
                let code = "let all = vec![1]; all.";
                _ = context.completions(code, code.len());
            }
            Stage::Ready => return false,
        }
        true
    }
}

/// Whether the code keeps a variable whose type is only known through the
/// standard library.
fn asks_for_types(rust: &str) -> bool {
    let mut kept = statements(rust)
        .into_iter()
        .filter_map(|(_, node)| ast::LetStmt::cast(node));
    let is_plain = |kept: ast::LetStmt| {
        matches!(kept.pat(), Some(ast::Pat::IdentPat(name)) if name.pat().is_none())
            && match kept.ty() {
                Some(written) => is_primitive(&written),
                None => kept.initializer().is_some_and(|value| is_literal(&value)),
            }
    };
    !kept.all(is_plain)
}

fn is_primitive(written: &ast::Type) -> bool {
    const NAMES: [&str; 16] = [
        "bool", "char", "f32", "f64", "i8", "i16", "i32", "i64", "i128", "isize", "u8", "u16",
        "u32", "u64", "u128", "usize",
    ];
    NAMES.contains(&written.syntax().text().to_string().as_str())
}

fn is_literal(value: &ast::Expr) -> bool {
    match value {
        ast::Expr::Literal(literal) => !matches!(literal.kind(), LiteralKind::CString(_)),
        ast::Expr::PrefixExpr(signed) => {
            signed.op_kind() == Some(UnaryOp::Neg)
                && signed.expr().is_some_and(|of| is_literal(&of))
        }
        ast::Expr::ParenExpr(inner) => inner.expr().is_some_and(|of| is_literal(&of)),
        ast::Expr::TupleExpr(tuple) => tuple.fields().all(|of| is_literal(&of)),
        _ => false,
    }
}

/// Runs `work` while rust-analyzer finds an empty standard library.
pub(crate) fn without_std<T>(folder: &Path, work: impl FnOnce() -> T) -> io::Result<T> {
    let empty = folder.join("library");
    // This folder makes rust-analyzer take the other one for a library.
    std::fs::create_dir_all(empty.join("core"))?;
    let before = std::env::var_os(SOURCE);
    // SAFETY: Rust's own readers take a lock, and this process has no others.
    unsafe { std::env::set_var(SOURCE, empty) };
    let done = work();
    // SAFETY: as above.
    unsafe {
        match before {
            Some(before) => std::env::set_var(SOURCE, before),
            None => std::env::remove_var(SOURCE),
        }
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_and_written_primitives_have_types_without_a_library() {
        for code in [
            "1 + 1",
            "let a = 5; a",
            "let mut a = -1.5f32;",
            "let a = (1, 'x', \"text\");",
            "let n: u64 = (0..10).sum();",
            "fn f() { let v = vec![1]; }",
            "if let Some(x) = None::<u8> {}",
        ] {
            assert!(!asks_for_types(code), "{code}");
        }
        for code in [
            "let v = vec![1];",
            "let a = 5; let b = a + 1;",
            "let (a, b) = (1, 2);",
            "let s: String = \"x\".into();",
            "let s = c\"x\";",
            "let x;",
            "let Some(x) = f() else { return };",
        ] {
            assert!(asks_for_types(code), "{code}");
        }
    }
}
