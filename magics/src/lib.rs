//! Cell magics and displays: parses `%%sql` cells, and shows results, handles and
//! matrices. Displays are static HTML with a plain-text version; everything that
//! comes from data is escaped.

mod cell;
mod html;
mod matrix;
mod table;

pub use cell::{Cell, CellError};
pub use matrix::{Facts, Picture};
pub use table::TableView;
