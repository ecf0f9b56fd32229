//! What SQL means here: functions, arithmetic and NULLs, in the sessions that
//! plan statements.

mod arithmetic;
mod functions;
mod nulls;
mod patterns;
pub(crate) mod session;
mod slices;
pub(crate) mod sql_type;
