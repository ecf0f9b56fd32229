//! Nearest neighbours on embeddings of cells and genes: exact, or through an IVF
//! index that Lance stores with the column.

pub(crate) mod embeddings;
mod exact;
mod input_and_result;
pub(crate) mod ivf_index;
pub(crate) mod metric;

pub use self::exact::exact;
pub use self::input_and_result::{Neighbours, Question};
pub use self::ivf_index::{VectorIndex, vector_index};
pub use self::metric::Metric;
