//! Statements are planned, once for both executors.

pub(crate) mod answer_schema;
mod failure;
pub(crate) mod plan;
mod tables;
