//! Aggregates by cells, by genes, or by what is known of them, as one operator.

mod accumulator;
mod axis;
mod measure;
mod operator;
mod plan;
mod star;
mod stored_sums;

pub(crate) use self::operator::DenseAggregate;
pub(crate) use self::plan::by_axes;
