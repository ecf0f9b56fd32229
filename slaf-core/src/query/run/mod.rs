//! Runs statements, and chooses the executor.

mod explain;
mod prepare_query;
mod shared;
mod show_and_describe;
mod statement;

pub use self::shared::{Shared, part};
pub use self::statement::{bound, run};
