//! Plans statements, once for both executors.

pub(crate) mod answer_schema;
mod datafusion_errors;
mod known_plans;
pub(crate) mod planned;
mod tables;
