//! What everything stands on: errors, threads, random numbers, and the ways
//! between Arrow and Polars.

pub(crate) mod arrow_polars;
pub(crate) mod error;
pub(crate) mod nan_as_null;
pub(crate) mod random;
pub mod runtime;
mod suggest;
pub(crate) mod thousands;

pub use self::error::{Error, Result};
pub use self::random::Random;
pub use self::suggest::nearest;
