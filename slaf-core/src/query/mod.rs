//! SQL over datasets, through one front door. A statement passes
//!
//! | folder | |
//! |---|---|
//! | `language` | text → statement: parsed, names and values bound, written out |
//! | `planning` | statement → plan: names, types, what is pushed down |
//! | `polars` | plan → `LazyFrame`, if every node of it means the same there |
//! | `datafusion` | plan → operators, of all others |
//! | `run` | → answer; it chooses between the two, and explains |
//!
//! on the ground of `request` (what a caller hands in and gets back), `catalog` (the
//! tables that may be named), `dialect` (functions, arithmetic, NULLs) and `sources`
//! (the rows that both executors begin with). `assist` completes and inspects.
//!
//! No engine sees the text. Meaning is DuckDB's where the two differ from it: `/`
//! divides to a float, NULLs sort last, arithmetic on small integers does not wrap.
//! A predicate turns into ranges of rows in `sources::expression`.

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
pub use self::run::{bound, run};
