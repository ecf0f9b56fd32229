//! Several columns with few values as one: each tuple of their values is a group.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, UInt32Array};
use arrow::compute::take;
use datafusion::error::Result;

use crate::Table;
use crate::query::sources::errors::external;
use crate::table::column_codes::Codes;

pub(super) struct KeyCodes(Vec<Arc<Codes>>);

impl KeyCodes {
    /// The codes of columns of `table`; `None` if a column has no codes, or if there
    /// are too many tuples.
    pub(super) async fn of(table: &Table, columns: &[&str]) -> Result<Option<Self>> {
        let codes = table.codes(columns).await.map_err(external)?;
        let found = codes.map(Self);
        Ok(found.filter(|found| found.groups() < u32::MAX as usize))
    }

    pub(super) fn columns(&self) -> usize {
        self.0.len()
    }

    /// The number of tuples, some of which may have no rows.
    pub(super) fn groups(&self) -> usize {
        let sizes = self.0.iter().map(|key| key.values.len());
        sizes.fold(1, usize::saturating_mul)
    }

    /// The group of each row.
    pub(super) fn of_rows(&self, rows: Range<usize>) -> Vec<u32> {
        let mut groups = vec![0; rows.len()];
        for key in &self.0 {
            let values = key.values.len() as u32;
            for (group, code) in groups.iter_mut().zip(&key.codes[rows.clone()]) {
                *group = *group * values + u32::from(*code);
            }
        }
        groups
    }

    /// The values of `groups`, one array per column.
    pub(super) fn values(&self, groups: &[usize]) -> Result<Vec<ArrayRef>> {
        let mut below = self.groups();
        let columns = self.0.iter().map(|key| {
            let values = key.values.len().max(1);
            below /= values;
            let places = groups.iter().map(|group| (group / below % values) as u32);
            let places = UInt32Array::from_iter_values(places);
            Ok(take(&key.values, &places, None)?)
        });
        columns.collect()
    }
}
