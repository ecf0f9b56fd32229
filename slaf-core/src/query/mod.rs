//! SQL over datasets, with two executors behind one interface. A statement passes
//! through these folders:
//!
//! | folder | step |
//! |---|---|
//! | `language` | text → statement: parsed, names and values bound, rewritten |
//! | `planning` | statement → plan: names, types, pushdown |
//! | `polars` | plan → `LazyFrame`, if every node has the same meaning there |
//! | `datafusion` | plan → operators, for all other plans |
//! | `run` | → answer; chooses the executor, and explains |
//!
//! They all use `request` (what a caller passes and receives), `catalog` (the
//! tables that can be named), `dialect` (functions, arithmetic, NULLs) and
//! `sources` (the rows that both executors start from). `assist` completes and
//! inspects.
//!
//! No engine sees the text. Where engines differ, the meaning is DuckDB's: `/`
//! divides to a float, NULLs sort last, arithmetic on small integers does not
//! overflow. A predicate becomes ranges of rows in `sources::expression`.

mod assist;
mod catalog;
mod datafusion;
mod dialect;
mod language;
mod planning;
mod polars;
mod request;
mod run;
mod sources;

pub use self::assist::{Completion, complete, inspect};
pub use self::catalog::{Catalog, Comparison, Frame, FrameRows, Handle, Open, Value};
pub use self::language::params::{FEW, Param, Params};
pub use self::language::parse::{Command, Parsed, Taken, parse};
pub use self::language::split_statements::split;
pub use self::language::template::{Hole, fill, holes};
pub use self::request::{Answer, Engine, Options, ReadProgress};
pub use self::run::{Shared, bound, part, run};
