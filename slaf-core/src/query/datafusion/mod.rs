//! DataFusion as an executor: it runs the statements that Polars does not.

mod running;
mod spilled_rows;

pub(crate) use self::running::Running;
