//! The engine over SLAF datasets: open, scan, slice, query, write.
//!
//! It knows Lance, Polars and DataFusion, and nothing of Jupyter or Python.
//! Everything that does I/O is `async`; [`runtime::wait`] drives it from a
//! synchronous caller that must stay interruptible.
//!
//! Each folder uses those above it alone:
//!
//! | folder | what it holds |
//! |---|---|
//! | `ground` | errors, threads, random numbers, from Arrow to Polars |
//! | `matrix` | sparse matrices in memory |
//! | `storage` | where datasets lie: folders, buckets, memory |
//! | `table` | one Lance table: columns, ranges of rows, a `LazyFrame` |
//! | `dataset` | an open dataset: configuration, tables, offsets, companions |
//! | `read` | matrices of a dataset as CSR |
//! | `import` | what conversions read: HDF5 arrays, columns as rows |
//! | [`stats`] | sums, moments, ranks and arithmetic over blocks of rows |
//! | [`search`] | nearest neighbours |
//! | [`tokens`] | cells as foundation models read them |
//! | [`loader`] | random batches of cells |
//! | `write` | new datasets and new versions |
//! | [`upkeep`] | history, checks, repairs, indices |
//! | [`query`] | SQL |

mod dataset;
mod ground;
mod import;
pub mod loader;
mod matrix;
pub mod query;
mod read;
pub mod search;
pub mod stats;
mod storage;
mod table;
pub mod tokens;
pub mod upkeep;
mod write;

pub use self::dataset::{Companions, Config, Dataset, Manifest};
pub use self::ground::{Error, Random, Result, nearest, runtime};
pub use self::import::{ChunkedArray, Filter, Number, RowsOfColumns};
pub use self::matrix::{
    CoordinateTable, Csr, Indices, RowBlock, Selection, ValueType, Values, ValuesRef,
};
pub use self::storage::Place;
pub use self::table::{Table, lazy_frame};
pub use self::write::{CoordinateWriter, Progress, RefusedValue, Revision, WritePlan, Writer};
