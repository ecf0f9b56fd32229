//! Polars as an executor: converts the typed plan of a statement to a `LazyFrame`.
//!
//! Both executors receive the same plan, in which names and types are resolved and
//! filters are pushed down. Every node and every expression is destructured with
//! all its fields, so that a field added by a later release does not compile until
//! somebody decides about it. If something may have a different meaning in Polars,
//! the result is an `Err` with the reason, and DataFusion runs the statement.

mod aggregates;
mod columns;
mod division;
mod expressions;
mod functions;
mod joins;
mod like;
mod literals;
mod lowering;
mod named_columns;
mod plan_inputs;
mod plan_shapes;
mod sorting;
mod types;
mod unsupported;
mod windows;

pub(crate) use self::plan_inputs::Leaves;
