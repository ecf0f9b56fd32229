//! One Lance table: whole columns, ranges of rows, and as a `LazyFrame`.

mod column_cache;
pub(crate) mod column_codes;
pub(crate) mod coordinate_row_offsets;
mod lance_table;
mod lazy_frame;
pub(crate) mod row_ranges;

pub use self::lance_table::Table;
pub use self::lazy_frame::lazy_frame;
