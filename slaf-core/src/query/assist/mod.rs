//! Help for somebody who writes a statement.

mod complete;
mod inspect;

pub use self::complete::{Completion, complete};
pub use self::inspect::inspect;
