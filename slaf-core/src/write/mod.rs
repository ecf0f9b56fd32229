//! Writes datasets: rows of X stream in, and are encoded while the next are read. A
//! new dataset, or a new version, appears completely or not at all.

mod begin;
mod checkpoint;
pub(crate) mod commit;
pub(crate) mod companion_tables;
pub(crate) mod config_entries;
mod coordinate_writer;
mod encoder;
mod exact_values;
pub(crate) mod expression_part;
pub(crate) mod expression_stats;
mod finish;
pub(crate) mod lance_rows;
pub(crate) mod numbered_rows;
mod revision;
mod staging;
mod sum;
mod write_plan;
mod writer;

pub use self::coordinate_writer::{CoordinateWriter, RefusedValue};
pub use self::revision::Revision;
pub use self::write_plan::WritePlan;
pub use self::writer::Writer;
