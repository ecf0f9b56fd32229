//! SQL over datasets, through one front door:
//!
//! ```text
//! language     text → statement: parse, bind names and values, write out
//!    ↓
//! datafusion   statement → plan: names, types, what is pushed down
//!    ↓
//! polars       plan → LazyFrame, if every node of it means the same there;
//! datafusion   plan → operators, of all others
//!    ↓
//! sources      the rows that both begin with
//! ```
//!
//! No engine sees the text. Meaning is DuckDB's where the two differ from it: `/`
//! divides to a float, NULLs sort last, arithmetic on small integers does not wrap.
//! Where a predicate turns into ranges of rows: [`sources::path`].

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
pub use self::language::split::split;
pub use self::language::template::{Hole, fill, holes};
pub use self::request::{Answer, Engine, Options, ReadProgress};
pub use self::run::{bound, run};
