//! The `expression` table as SQL reads it: only the rows of the cells or genes
//! that a query asks for, from the order in which they are fewer.

mod provider;
mod read_rows;
mod row_path;
mod scan;
mod source;
mod wanted;

pub(crate) use self::scan::ExpressionScan;
pub(crate) use self::source::Expression;
pub(crate) use self::wanted::{CELL, GENE, Mask, VALUE, Wanted};
