//! DataFusion: settles names, types and what is pushed down for both executors,
//! and runs what Polars does not.

pub(crate) mod arithmetic;
pub(crate) mod failure;
pub(crate) mod functions;
pub(crate) mod nulls;
pub(crate) mod patterns;
pub(crate) mod plan;
pub(crate) mod session;
pub(crate) mod slices;
pub(crate) mod spill;
