//! How a Rust cell uses the session's frames and matrices: mapped into memory, not
//! copied.
//!
//! ```ignore
//! let cells = slaf::get("cells")?;                        // a frame, as a RecordBatch
//! let counts = slaf::values::<f64>(&cells, "total_counts")?;
//! let x = slaf::csr("X")?;                                // a sparse matrix, as CSR
//! let values = x.values::<f32>()?;
//! let sums: Vec<f32> = (0..x.rows()).map(|i| values[x.row(i)].iter().sum()).collect();
//! slaf::put("sums", slaf::frame([("sum", slaf::column(sums))])?)?;
//! ```
//!
//! Python and Rust share a frame as a sealed memory file, which nobody can write
//! again and both sides map. Data that is already in such a file, because the other
//! side made it or it was shared before, is not copied.

mod channel;
mod column;
mod csr;
mod error;
#[doc(hidden)]
pub mod layout;
#[doc(hidden)]
pub mod memory;
mod session;

pub use arrow_array::{Array, ArrayRef, RecordBatch, array, cast::AsArray, types};
pub use arrow_buffer::ScalarBuffer;
pub use arrow_schema as schema;
pub use column::{Column, Value, column, frame, values};
pub use csr::Csr;
pub use error::{Error, Result};
pub use session::{begin, cancelled, csr, get, put};
