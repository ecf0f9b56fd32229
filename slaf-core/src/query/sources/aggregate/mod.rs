//! Aggregates by cells, by genes, or by what is known of them, as one operator.

mod accumulator;
mod aggregation;
mod axis;
mod group_states;
mod measure;
mod operator;
mod plan;
mod star;
mod stored_sums;

pub(crate) use self::operator::DenseAggregate;
pub(crate) use self::plan::by_axes;
