//! Cell magics and displays: parses `%%sql` cells, and shows results, handles and
//! matrices. Displays are static HTML with a plain-text version; everything that
//! comes from data is escaped.

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
