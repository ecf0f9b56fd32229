//! Maintenance of a dataset: its history, checks, repairs and indices.

mod gene_totals;
mod history;
mod rebuild;
mod validate;
mod vector_index;

pub use self::history::{Vacuumed, history, vacuum};
pub use self::rebuild::{Indexing, repair};
pub use self::validate::{Check, Validation, validate, validation_part};
pub use self::vector_index::index_vectors;
