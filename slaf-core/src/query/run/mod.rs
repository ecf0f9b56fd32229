//! Runs statements, and chooses the executor.

mod about_tables;
mod explain;
mod prepare;
mod shared;
mod statement;

pub use self::shared::{Shared, part};
pub use self::statement::{bound, run};
