//! The rows that statements start from, in either executor: tables in memory and on
//! disk, and the operators on values (values joined with their cells and genes, and
//! sums by cells and genes).

mod aggregate;
mod comparisons;
pub(crate) mod errors;
pub(crate) mod expression;
pub(crate) mod frame_provider;
pub(crate) mod lance_provider;
pub(crate) mod materialised;
pub(crate) mod metadata;
mod metadata_rows;
mod narrow_joins;
pub(crate) mod plan_facts;
pub(crate) mod planned_reads;
pub(crate) mod reduce_reads;
pub(crate) mod shares;
pub(crate) mod task_context;
