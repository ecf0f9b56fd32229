//! The table `expression` in SQL. Only the rows of the requested cells or genes are
//! read, from the copy (by cell or by gene) in which they are fewer.

mod provider;
mod read_rows;
mod requested_ids;
mod rows_per_core;
mod scan;
mod source;

pub(crate) use self::requested_ids::{CELL, GENE, Mask, VALUE, Wanted, both};
pub(crate) use self::scan::ExpressionScan;
pub(crate) use self::source::Expression;
