//! Statements are run: by which executor is decided here.

mod about_tables;
mod explain;
mod prepare;
mod statement;

pub use self::statement::{bound, run};
