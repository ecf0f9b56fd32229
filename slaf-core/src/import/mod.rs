//! Input of conversions: arrays in HDF5 files, and matrices stored by column.

mod csc_rows;
mod hdf5;

pub use self::csc_rows::RowsOfColumns;
pub use self::hdf5::{ChunkedArray, Filter, Number};
