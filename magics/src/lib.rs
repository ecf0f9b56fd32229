//! Cell languages and displays: what a `%%sql` cell says, and what its answer,
//! a handle or a matrix looks like. Static HTML and a text twin; everything
//! that comes from data is escaped.

mod cell;
mod html;
mod matrix;
mod table;

pub use cell::{Cell, CellError};
pub use matrix::{Facts, Picture};
pub use table::TableView;
