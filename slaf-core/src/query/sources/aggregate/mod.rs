//! Aggregates by cells, by genes, or by their columns, as one operator.

mod accumulator;
mod aggregate_functions;
mod aggregation;
mod by_category_codes;
mod by_cells_and_genes;
mod equal_rows;
mod group_of_id;
mod group_states;
mod key_codes;
mod operator;
mod star_join;
mod stored_sums;

pub(crate) use self::by_category_codes::by_codes;
pub(crate) use self::by_cells_and_genes::by_axes;
pub(crate) use self::operator::{DenseAggregate, DenseScan};
