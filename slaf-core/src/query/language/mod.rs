//! From a text to a statement whose names and values are known: parsing, names,
//! parameters, and what is written out.

pub(crate) mod bind;
mod by_all;
mod column_names;
pub(crate) mod columns;
pub(crate) mod depth;
pub(crate) mod error_place;
pub(crate) mod expand;
pub(crate) mod macros;
pub(crate) mod params;
pub(crate) mod parse;
pub(crate) mod relations;
pub(crate) mod rewrite;
pub(crate) mod split;
mod subqueries;
pub(crate) mod template;
pub(crate) mod using;
