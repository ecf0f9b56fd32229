//! The table `expression` in SQL. Only the rows of the requested cells or genes are
//! read, from the copy (by cell or by gene) in which they are fewer.

mod provider;
mod read_rows;
mod row_path;
mod scan;
mod source;
mod wanted;

pub(crate) use self::scan::ExpressionScan;
pub(crate) use self::source::Expression;
pub(crate) use self::wanted::{CELL, GENE, Mask, VALUE, Wanted, both};
