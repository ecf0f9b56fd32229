//! The engine for SLAF datasets: it opens, scans, slices, queries and writes them.
//!
//! It uses Lance, Polars and DataFusion, and knows nothing of Jupyter or Python.
//! Everything that does I/O is `async`; a synchronous caller drives it with
//! [`runtime::wait`], which can be interrupted.
//!
//! Each folder uses only the folders above it:
//!
//! | folder | contents |
//! |---|---|
//! | `ground` | errors, threads, random numbers, conversion between Arrow and Polars |
//! | `matrix` | sparse matrices in memory |
//! | `storage` | places of datasets: folders, buckets, memory |
//! | `table` | one Lance table: columns, ranges of rows, a `LazyFrame` |
//! | `dataset` | an open dataset: configuration, tables, row offsets, companion tables |
//! | `read` | matrices of a dataset as CSR |
//! | `import` | input of conversions: HDF5 arrays, matrices stored by column |
//! | [`stats`] | sums, moments, ranks and arithmetic over blocks of rows |
//! | [`search`] | nearest neighbours |
//! | [`tokens`] | cells as tokens for foundation models |
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
pub use self::ground::{Error, Progress, Random, Result, nearest, runtime};
pub use self::import::{ChunkedArray, Filter, Number, RowsOfColumns};
pub use self::matrix::{
    CoordinateTable, Csr, Indices, RowBlock, Selection, ValueType, Values, ValuesRef,
};
pub use self::storage::Place;
pub use self::table::{Table, lazy_frame};
pub use self::write::{CoordinateWriter, RefusedValue, Revision, WritePlan, Writer};
