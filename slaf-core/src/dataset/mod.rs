//! An open dataset: its configuration, its tables, and the row offsets of cells and
//! genes.

mod cell_offsets;
pub(crate) mod companions;
pub(crate) mod config;
pub(crate) mod manifest;
mod open_dataset;

pub use self::companions::Companions;
pub use self::config::Config;
pub use self::manifest::Manifest;
pub use self::open_dataset::Dataset;
