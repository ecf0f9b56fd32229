//! The rows that statements begin with, whoever runs them: tables in memory and on
//! disk, and what works on the values: the star of values with their cells and
//! genes, and sums by cells and genes.

pub(crate) mod accumulate;
pub(crate) mod catalog;
pub(crate) mod counted;
pub(crate) mod dense;
pub(crate) mod dense_scan;
pub(crate) mod expression;
pub(crate) mod expression_scan;
pub(crate) mod frame;
pub(crate) mod metadata;
pub(crate) mod path;
pub(crate) mod reading;
pub(crate) mod resolve;
pub(crate) mod rows;
pub(crate) mod star;
pub(crate) mod sums;
pub(crate) mod task;
pub(crate) mod told;
