//! The states of all aggregate functions in all groups.

use super::accumulator::Accumulator;
use super::measure::Measure;

/// The state of all groups, and of one more for the rows of none.
pub(super) struct GroupStates {
    pub(super) rows: Vec<u64>,
    pub(super) measures: Vec<Accumulator>,
    /// The groups of a morsel's rows.
    pub(super) slots: Vec<u32>,
}

impl GroupStates {
    pub(super) fn new(groups: usize, measures: &[Measure]) -> Self {
        let groups = groups + 1;
        Self {
            rows: vec![0; groups],
            measures: measures
                .iter()
                .map(|m| Accumulator::new(m, groups))
                .collect(),
            slots: vec![],
        }
    }

    pub(super) fn merge(&mut self, other: Self) {
        for (a, b) in self.rows.iter_mut().zip(other.rows) {
            *a += b;
        }
        for (a, b) in self.measures.iter_mut().zip(other.measures) {
            a.merge(b);
        }
    }
}
