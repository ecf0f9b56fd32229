//! The SQL dialect: functions, arithmetic and NULLs, in the DataFusion sessions
//! that plan statements.

mod arithmetic;
mod expression_rule;
mod functions;
mod keep_nulls;
mod regexp_lists;
pub(crate) mod session;
mod signed_zeros;
pub(crate) mod sql_type;
mod text_slices;
