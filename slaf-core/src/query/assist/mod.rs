//! Help for somebody who writes a statement.

mod complete;
mod inspect;
mod words;

pub use self::complete::{Completion, complete};
pub use self::inspect::inspect;
