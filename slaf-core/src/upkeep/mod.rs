//! Maintenance of a dataset: its history, checks, repairs and indices.

mod history;
mod rebuild;
mod validate;
mod vector_index;

pub use self::history::{Vacuumed, history, vacuum};
pub use self::rebuild::{index, repair};
pub use self::validate::{Check, validate};
pub use self::vector_index::index_vectors;
