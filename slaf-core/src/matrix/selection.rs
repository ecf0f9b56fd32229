//! A selection on one axis, and how it is read: as ascending runs of positions
//! without repeats, so that every row is read at most once and in stored order. The
//! requested order is restored afterwards.

use std::ops::Range;

use crate::{Error, Result};

/// Positions on an axis, in the requested order; they can repeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// `start`, `start + step`, … (`len` of them). A whole axis is a range.
    Range {
        start: u64,
        step: i64,
        len: u64,
    },
    List(Vec<u64>),
}

/// A selection ready to read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ReadOrder {
    /// Ascending, disjoint, and not adjacent.
    pub(crate) runs: Vec<Range<u64>>,
    /// For each requested position, its index among the positions that are
    /// read. `None` if they are the same.
    pub(crate) order: Option<Vec<usize>>,
}

impl Selection {
    pub fn all(len: u64) -> Self {
        Self::Range {
            start: 0,
            step: 1,
            len,
        }
    }

    pub fn len(&self) -> usize {
        match self {
            Self::Range { len, .. } => *len as usize,
            Self::List(list) => list.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether this is every position of an axis of `len`, in order.
    pub fn is_all(&self, len: u64) -> bool {
        *self == Self::all(len)
    }

    pub fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        (0..self.len()).map(|i| match self {
            Self::Range { start, step, .. } => start.wrapping_add_signed(step * i as i64),
            Self::List(list) => list[i],
        })
    }

    /// Returns an error for positions outside an axis of length `len`.
    pub fn check(&self, axis: &'static str, len: u64) -> Result<()> {
        match self.iter().find(|index| *index >= len) {
            Some(index) => Err(Error::OutOfBounds { axis, index, len }),
            None => Ok(()),
        }
    }

    pub(crate) fn read_order(&self) -> ReadOrder {
        if let Self::Range {
            start,
            step: 1,
            len,
        } = *self
        {
            let runs = if len == 0 {
                vec![]
            } else {
                vec![start..start + len]
            };
            return ReadOrder { runs, order: None };
        }
        let requested: Vec<u64> = self.iter().collect();
        let mut read = requested.clone();
        read.sort_unstable();
        read.dedup();
        let order = (read != requested).then(|| {
            let place = |index: &u64| read.partition_point(|r| r < index);
            requested.iter().map(place).collect()
        });
        let mut runs: Vec<Range<u64>> = Vec::new();
        for index in read {
            match runs.last_mut() {
                Some(run) if run.end == index => run.end += 1,
                _ => runs.push(index..index + 1),
            }
        }
        ReadOrder { runs, order }
    }
}

/// Where a stored position goes in the output: its output indices, ascending. A
/// position that was requested twice has two.
pub(crate) struct OutputPlaces {
    first: Vec<u32>,
    places: Vec<i32>,
}

impl OutputPlaces {
    pub(crate) fn new(selection: &Selection, axis_len: usize) -> Self {
        let mut first = vec![0u32; axis_len + 1];
        for index in selection.iter() {
            first[index as usize + 1] += 1;
        }
        for index in 0..axis_len {
            first[index + 1] += first[index];
        }
        let mut next = first.clone();
        let mut places = vec![0; selection.len()];
        for (place, index) in selection.iter().enumerate() {
            let slot = &mut next[index as usize];
            places[*slot as usize] = place as i32;
            *slot += 1;
        }
        Self { first, places }
    }

    /// The length of the axis.
    pub(crate) fn len(&self) -> usize {
        self.first.len() - 1
    }

    /// How many positions are selected.
    pub(crate) fn selected(&self) -> usize {
        self.places.len()
    }

    /// The output index of each position, -1 if it is not selected. `None` if a position
    /// is selected several times.
    pub(crate) fn once(&self) -> Option<Vec<i32>> {
        let places = self.first.windows(2).map(|ends| match ends[1] - ends[0] {
            0 => Some(-1),
            1 => Some(self.places[ends[0] as usize]),
            _ => None,
        });
        places.collect()
    }

    /// The output indices of a position, which can be outside the axis.
    pub(crate) fn get(&self, index: i64) -> Option<&[i32]> {
        let index = usize::try_from(index).ok()?;
        (index + 1 < self.first.len()).then(|| self.of(index))
    }

    pub(crate) fn of(&self, index: usize) -> &[i32] {
        &self.places[self.first[index] as usize..self.first[index + 1] as usize]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn neighbours_join_and_the_order_comes_back() {
        let plan = Selection::List(vec![7, 3, 4, 3]).read_order();
        assert_eq!(
            plan,
            ReadOrder {
                runs: vec![3..5, 7..8],
                order: Some(vec![2, 0, 1, 0]),
            }
        );
    }

    #[test]
    fn a_range_backwards_is_read_forwards() {
        let back = Selection::Range {
            start: 4,
            step: -2,
            len: 3,
        };
        assert_eq!(back.iter().collect::<Vec<_>>(), [4, 2, 0]);
        assert_eq!(back.read_order().order, Some(vec![2, 1, 0]));
    }

    #[test]
    fn a_position_past_the_end_is_named() {
        let error = Selection::List(vec![0, 9]).check("cell", 9).unwrap_err();
        assert_eq!(
            error.to_string(),
            "The cell index 9 is out of bounds for 9 cells."
        );
    }

    proptest! {
        #[test]
        fn reading_the_runs_in_order_gives_what_was_asked(asked in prop::collection::vec(0u64..50, 0..60)) {
            let plan = Selection::List(asked.clone()).read_order();
            let read: Vec<u64> = plan.runs.iter().cloned().flatten().collect();
            let got = match plan.order {
                Some(order) => order.into_iter().map(|i| read[i]).collect(),
                None => read,
            };
            prop_assert_eq!(got, asked);
        }
    }
}
