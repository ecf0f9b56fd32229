//! Nearest neighbours on embeddings of cells and genes: exact, or through an IVF
//! index that Lance stores with the column.

pub(crate) mod embeddings;
mod exact;
pub(crate) mod ivf_index;
pub(crate) mod metric;
mod question;

pub use self::exact::exact;
pub use self::ivf_index::{VectorIndex, vector_index};
pub use self::metric::Metric;
pub use self::question::{Neighbours, Question};
