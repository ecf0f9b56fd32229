//! Aggregates by cells, by genes, or by their columns, as one operator.

mod accumulator;
mod aggregation;
mod axis;
mod by_axes;
mod by_codes;
mod group_states;
mod key_codes;
mod measure;
mod operator;
mod star;
mod stored_sums;

pub(crate) use self::by_axes::by_axes;
pub(crate) use self::by_codes::by_codes;
pub(crate) use self::operator::{DenseAggregate, DenseScan};
