//! From a text to a statement whose names and values are known: parsing, names,
//! parameters, and what is written out.

pub(crate) mod bind_names;
mod by_all;
mod computed_names;
pub(crate) mod depth;
pub(crate) mod duckdb_functions;
pub(crate) mod error_place;
pub(crate) mod join_using;
pub(crate) mod output_columns;
pub(crate) mod params;
pub(crate) mod parse;
pub(crate) mod relations;
pub(crate) mod rewrite;
pub(crate) mod split_statements;
mod subqueries;
pub(crate) mod table_functions;
pub(crate) mod template;
