//! Help for somebody who is writing a statement: completion and inspection.

mod complete;
mod inspect;
mod words;

pub use self::complete::{Completion, complete};
pub use self::inspect::inspect;
