//! One Lance table: whole columns, ranges of rows, and as a `LazyFrame`.

pub(crate) mod codes;
mod column_cache;
mod lance_table;
mod lazy_frame;
pub(crate) mod row_ranges;
pub(crate) mod stretches;

pub use self::lance_table::Table;
pub use self::lazy_frame::lazy_frame;
