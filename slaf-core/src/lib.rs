//! The engine over SLAF datasets: open, scan, slice, query, write.
//!
//! It knows Lance, Polars and DataFusion, and nothing of Jupyter or Python.
//! Everything that does I/O is `async`; [`runtime::wait`] drives it from a
//! synchronous caller that must stay interruptible.

mod bridge;
mod companions;
mod config;
mod coo;
mod dataset;
mod error;
mod hdf5;
pub mod loader;
mod matrix;
mod missing;
mod offsets;
pub mod query;
mod random;
mod ranges;
pub mod runtime;
mod scan;
pub mod search;
mod select;
pub mod stats;
mod storage;
mod suggest;
pub mod tokens;
mod transpose;
mod validate;
mod values;
pub mod versions;
mod write;

pub use companions::Companions;
pub use config::Config;
pub use coo::Pairs;
pub use dataset::{Dataset, Table};
pub use error::{Error, Result};
pub use hdf5::{ChunkedArray, Filter, Number};
pub use matrix::Csr;
pub use random::Random;
pub use scan::lazy_frame;
pub use select::Selection;
pub use storage::Place;
pub use suggest::nearest;
pub use transpose::RowsOfColumns;
pub use validate::{Check, validate};
pub use values::{ValueType, Values, ValuesRef};
pub use write::{
    Indices, PairsWriter, Plan, Progress, Refused, Revision, RowBlock, Writer, index, repair,
};
