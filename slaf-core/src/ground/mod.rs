//! What all other folders use: errors, threads, progress, random numbers, and conversion
//! between Arrow and Polars.

pub(crate) mod arrow_polars;
pub(crate) mod error;
pub(crate) mod ipc;
pub(crate) mod nan_as_null;
mod near_names;
pub(crate) mod number_format;
mod progress;
pub(crate) mod random;
pub mod runtime;

pub use self::error::{Error, Result};
pub use self::near_names::nearest;
pub use self::progress::Progress;
pub use self::random::Random;
