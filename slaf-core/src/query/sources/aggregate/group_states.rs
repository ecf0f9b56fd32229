//! The states of all aggregate functions in all groups.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch, UInt32Array, UInt64Array};
use arrow::datatypes::{Field, UInt32Type, UInt64Type};
use datafusion::error::{DataFusionError, Result};
use datafusion::physical_expr::PhysicalExpr;

use super::accumulator::{Accumulator, GroupedRows};
use super::aggregate_functions::Measure;

/// Rows that are added together, so that they and their groups stay in the cache of a
/// core.
pub(super) const MORSEL: usize = 1 << 14;

/// The states of all groups, and an extra one for rows without a group.
#[derive(Debug)]
pub(super) struct GroupStates {
    pub(super) rows: Vec<u64>,
    pub(super) measures: Vec<Accumulator>,
    /// The group of each row of a morsel.
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

    /// Adds the rows of a morsel, whose groups are in `slots`. `times` is how many equal
    /// rows each stands for; none: one.
    pub(super) fn add(
        &mut self,
        morsel: &RecordBatch,
        times: Option<&[u64]>,
        measures: &[Measure],
    ) -> Result<()> {
        let rows = GroupedRows {
            groups: &self.slots,
            times,
        };
        let of_rows = |expr: &Arc<dyn PhysicalExpr>| -> Result<ArrayRef> {
            expr.evaluate(morsel)?.into_array(morsel.num_rows())
        };
        for (measure, accumulator) in measures.iter().zip(&mut self.measures) {
            let values = measure.argument.as_ref().map(of_rows).transpose()?;
            let kept = measure.filter.as_ref().map(of_rows).transpose()?;
            let kept: Option<&BooleanArray> = kept.as_ref().map(|kept| kept.as_boolean());
            accumulator.update(rows, values.as_ref(), kept, &self.rows)?;
        }
        let all = &mut self.rows;
        rows.each(None, |group, _, times| all[group] += times);
        Ok(())
    }

    pub(super) fn merge(&mut self, other: &Self) {
        let groups = other.with_rows();
        for (a, b) in self.measures.iter_mut().zip(&other.measures) {
            a.merge(b, &groups, &self.rows, &other.rows);
        }
        for group in groups {
            self.rows[group] += other.rows[group];
        }
    }

    /// The state of the groups that have rows, to be sent to another process: their
    /// numbers, their rows, and the columns of each function.
    pub(super) fn packed(&self) -> Result<RecordBatch> {
        let groups = self.with_rows();
        let numbers = UInt32Array::from_iter_values(groups.iter().map(|g| *g as u32));
        let rows = UInt64Array::from_iter_values(groups.iter().map(|g| self.rows[*g]));
        let mut columns: Vec<ArrayRef> = vec![Arc::new(numbers), Arc::new(rows)];
        columns.extend(
            self.measures
                .iter()
                .flat_map(|m| m.packed(&groups, &self.rows)),
        );
        let columns = columns.into_iter().enumerate();
        let columns = columns.map(|(number, column)| (number.to_string(), column));
        Ok(RecordBatch::try_from_iter(columns)?)
    }

    /// The states that [`Self::packed`] has packed; all other groups are empty.
    pub(super) fn unpacked(
        packed: &RecordBatch,
        groups: usize,
        measures: &[Measure],
    ) -> Result<Self> {
        let mut states = Self::new(groups, measures);
        let numbers = packed.column(0).as_primitive::<UInt32Type>().values();
        let numbers: Vec<usize> = numbers.iter().map(|g| *g as usize).collect();
        let of_measures = states.measures.iter().map(|m| m.packed(&[], &[]).len());
        let columns = 2 + of_measures.sum::<usize>();
        if packed.num_columns() != columns || numbers.iter().any(|group| *group >= groups) {
            let text = "the state is of another query".to_owned();
            return Err(DataFusionError::Internal(text));
        }
        let rows = packed.column(1).as_primitive::<UInt64Type>().values();
        for (group, rows) in numbers.iter().zip(rows) {
            states.rows[*group] = *rows;
        }
        let mut columns = packed.columns()[2..].iter();
        for measure in &mut states.measures {
            measure.unpack(&numbers, groups + 1, &mut columns);
        }
        Ok(states)
    }

    /// The groups that have rows.
    pub(super) fn with_rows(&self) -> Vec<usize> {
        let groups = 0..self.rows.len() - 1;
        groups.filter(|group| self.rows[*group] > 0).collect()
    }

    /// The results of `groups`: one column per function, with the types of `fields`.
    pub(super) fn results(&self, groups: &[usize], fields: &[Arc<Field>]) -> Result<Vec<ArrayRef>> {
        let measures = self.measures.iter().zip(fields);
        let results =
            measures.map(|(measure, field)| measure.finish(groups, &self.rows, field.data_type()));
        results.collect()
    }
}
