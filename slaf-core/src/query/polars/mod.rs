//! Polars as an executor: the typed plan of a statement as a `LazyFrame`.
//!
//! The plan is the one that names, types and pushdown are settled in, so that
//! both executors are asked the same. Every node and every expression is taken
//! apart by name: what a later release adds does not compile until somebody has
//! decided about it. Whatever is not known to mean the same in Polars is an `Err`
//! with the reason, and DataFusion runs the statement.

mod aggregates;
mod columns;
mod expressions;
mod functions;
mod joins;
mod leaves;
mod like;
mod literals;
mod lowering;
mod plan_shapes;
mod quotient;
mod refusal;
mod scope;
mod sorting;
mod types;
mod windows;

pub(crate) use self::leaves::Leaves;
