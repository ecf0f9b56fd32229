//! From SQL text to a statement with resolved names and values: parsing, names,
//! parameters, and rewriting.

pub(crate) mod bind_names;
mod computed_names;
pub(crate) mod duckdb_functions;
pub(crate) mod error_place;
mod group_by_all;
pub(crate) mod join_using;
pub(crate) mod nesting_depth;
pub(crate) mod output_columns;
pub(crate) mod params;
pub(crate) mod parse;
pub(crate) mod relations;
pub(crate) mod rewrite;
pub(crate) mod split_statements;
mod subqueries;
pub(crate) mod table_functions;
pub(crate) mod template;
