//! Cell magics and displays: parses `%%sql` cells, and shows results, handles and
//! matrices. Displays are static HTML with a plain-text version; everything that
//! comes from data is escaped.

mod card;
mod column_summary;
mod density_picture;
mod html;
mod matrix;
mod plan;
mod sparklines;
mod sql_cell;
mod table;
mod values;

pub use card::{Card, Entry, Section, Value};
pub use matrix::{Compressed, SparseView};
pub use plan::PlanView;
pub use sql_cell::{Cell, CellError};
pub use table::{TableView, Whole};
