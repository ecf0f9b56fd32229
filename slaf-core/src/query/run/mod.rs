//! Runs statements, and chooses the executor.

mod about_tables;
mod explain;
mod prepare;
mod statement;

pub use self::statement::{bound, run};
