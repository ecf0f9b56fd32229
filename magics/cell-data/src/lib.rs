//! What a Rust cell uses of the session: its frames and matrices, mapped and
//! not copied.
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
//! A frame crosses between Python and Rust as sealed memory: a memory file that
//! nobody can write again, which both sides map. What lies there already, because
//! it came from the other side or was asked for before, crosses without a copy.

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
