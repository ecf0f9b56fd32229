//! The engine over SLAF datasets: open, scan, slice, query, write.
//!
//! It knows Lance, Polars and DataFusion, and nothing of Jupyter or Python.
//! Everything that does I/O is `async`; [`runtime::wait`] drives it from a
//! synchronous caller that must stay interruptible.

mod bridge;
mod config;
mod coo;
mod dataset;
mod error;
mod matrix;
mod offsets;
pub mod query;
pub mod runtime;
mod scan;
mod select;
mod suggest;
mod values;
mod write;

pub use config::Config;
pub use coo::{Pairs, union};
pub use dataset::{Dataset, Table};
pub use error::{Error, Result};
pub use matrix::Csr;
pub use scan::lazy_frame;
pub use select::Selection;
pub use suggest::nearest;
pub use values::{ValueType, Values};
pub use write::{RowBlock, Writer, write_table};
