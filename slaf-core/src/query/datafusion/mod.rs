//! DataFusion as an executor: it runs what Polars does not.

mod running;
mod spilled_rows;

pub(crate) use self::running::Running;
