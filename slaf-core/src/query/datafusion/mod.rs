//! DataFusion as an executor: it runs the statements that Polars does not.

mod run_plan;
mod spilled_rows;

pub(crate) use self::run_plan::Running;
