//! Runs statements, and chooses the executor.

mod explain;
mod prepare_query;
mod show_and_describe;
mod statement;

pub use self::statement::{bound, run};
