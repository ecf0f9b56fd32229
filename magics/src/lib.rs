//! Cell languages and displays: what a `%%sql` cell says, and what its answer,
//! a handle or a matrix looks like. Static HTML and a text twin; everything
//! that comes from data is escaped.

mod card;
mod cell;
mod grid;
mod html;
mod matrix;
mod plan;
mod spark;
mod summary;
mod table;
mod values;

pub use card::{Card, Entry, Section, Value};
pub use cell::{Cell, CellError};
pub use matrix::{Compressed, SparseView};
pub use plan::PlanView;
pub use table::{TableView, Whole};
