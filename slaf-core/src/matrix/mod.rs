//! Sparse matrices in memory: their values and rows, and selections of them.

mod coordinate_table;
pub(crate) mod csr;
mod indices;
mod row_block;
pub(crate) mod selection;
pub(crate) mod transposer;
pub(crate) mod values;

pub use self::coordinate_table::CoordinateTable;
pub use self::csr::Csr;
pub use self::indices::Indices;
pub use self::row_block::RowBlock;
pub use self::selection::Selection;
pub use self::values::{ValueType, Values, ValuesRef};
