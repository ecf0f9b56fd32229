//! Row offsets in a coordinate table. Its row ids ascend in a few stretches: one
//! from the first write, and one more for each later write.

use std::ops::Range;

/// For each stretch, the first row of each row id, and the end of the last. Empty if
/// there are too many stretches, or if the offsets have not been read.
#[derive(Debug, Default)]
pub(crate) struct Stretches(Vec<Vec<u64>>);

/// With more stretches than this, the whole table is read.
const MOST: usize = 16;

impl Stretches {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The rows whose ids are in `runs`.
    pub(crate) fn ranges(&self, runs: &[Range<u64>]) -> Vec<Range<u64>> {
        let ranges = self.0.iter().flat_map(|starts| {
            runs.iter()
                .map(|run| starts[run.start as usize]..starts[run.end as usize])
        });
        ranges.filter(|range| !range.is_empty()).collect()
    }
}

/// Finds the stretches from the row ids in stored order.
pub(crate) struct StretchFinder {
    found: Vec<Vec<u64>>,
    /// The number of row ids plus one.
    all: usize,
    row: u64,
    last: u64,
}

impl StretchFinder {
    pub(crate) fn new(ids: u64) -> Self {
        Self {
            found: vec![vec![]],
            all: ids as usize + 1,
            row: 0,
            last: 0,
        }
    }

    /// Adds the row id of the next row.
    pub(crate) fn push(&mut self, id: u64) {
        if id < self.last && self.found.len() <= MOST {
            if let Some(ended) = self.found.last_mut() {
                ended.resize(self.all, self.row);
            }
            self.found.push(vec![]);
        }
        let begun = self.found.last_mut();
        if let Some(starts) = begun.filter(|starts| starts.len() <= id as usize) {
            starts.resize(id as usize + 1, self.row);
        }
        (self.row, self.last) = (self.row + 1, id);
    }

    pub(crate) fn finish(mut self) -> Stretches {
        if self.found.len() > MOST {
            return Stretches::default();
        }
        if let Some(starts) = self.found.last_mut() {
            starts.resize(self.all, self.row);
        }
        Stretches(self.found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(ids: &[u64]) -> Stretches {
        let mut finder = StretchFinder::new(4);
        ids.iter().for_each(|id| finder.push(*id));
        finder.finish()
    }

    #[test]
    fn rows_of_an_id_are_found_in_every_stretch() {
        let stretches = found(&[0, 0, 2, 3, 0, 2, 2]);
        assert_eq!(stretches.ranges(&[0..1]), [0..2, 4..5]);
        assert_eq!(stretches.ranges(&[1..3]), [2..3, 5..7]);
        assert_eq!(stretches.ranges(&[1..2]), []);
    }

    #[test]
    fn too_many_stretches_are_none() {
        let ids: Vec<u64> = (0..40).map(|at| 3 - at % 4).collect();
        assert!(found(&ids).is_empty());
    }
}
