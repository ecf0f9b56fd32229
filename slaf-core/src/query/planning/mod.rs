//! Plans statements, once for both executors.

pub(crate) mod answer_schema;
mod datafusion_errors;
pub(crate) mod planned;
mod tables;
