//! From a text to a statement whose names and values are known: parsing, names,
//! parameters, what is written out, and what completes it.

pub(crate) mod bind;
pub(crate) mod columns;
pub(crate) mod complete;
pub(crate) mod depth;
pub(crate) mod expand;
pub(crate) mod inspect;
pub(crate) mod introspect;
pub(crate) mod macros;
pub(crate) mod params;
pub(crate) mod parse;
pub(crate) mod rewrite;
pub(crate) mod template;
pub(crate) mod using;
