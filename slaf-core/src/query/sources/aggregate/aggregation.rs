//! Computes an aggregate. The dataset and the query alone determine the parts in which
//! values are read. Each has its own slots, and the slots are added up in order, so that
//! the result is the same to the last bit on any number of cores and processes. If the
//! stored sums are enough, they are added up instead.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, SchemaRef, UInt32Type};
use datafusion::common::runtime::SpawnedTask;
use datafusion::error::{DataFusionError, Result};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;
use futures::{StreamExt, stream};

use super::aggregate_functions::Measure;
use super::equal_rows::count_equal;
use super::group_of_id::Axis;
use super::group_states::{GroupStates, MORSEL};
use super::star_join::Side;
use super::stored_sums::Sums;
use crate::query::sources::errors::external;
use crate::query::sources::expression::{CELL, Expression, ExpressionScan, GENE, VALUE};
use crate::runtime::task_error;

#[derive(Debug)]
pub(super) struct Aggregation {
    pub(super) fact: Expression,
    pub(super) cells: Axis,
    pub(super) genes: Axis,
    /// The axis of each group column.
    pub(super) sides: Vec<Side>,
    pub(super) measures: Vec<Measure>,
    pub(super) filters: Vec<Arc<dyn PhysicalExpr>>,
    /// The schema of the columns that arguments and filters use.
    pub(super) arguments: SchemaRef,
    pub(super) schema: SchemaRef,
    /// Whether rows that are equal may be computed once.
    pub(super) count_equal: bool,
    /// The axis whose stored sums are used instead of values.
    pub(super) sums: Option<Side>,
    pub(super) scan: ExpressionScan,
    /// Parts that are read at the same time, at most.
    pub(super) at_once: usize,
    /// The states that other processes have computed, if they compute the parts.
    pub(super) taken: OnceLock<Mutex<GroupStates>>,
}

impl Aggregation {
    pub(super) fn groups(&self) -> usize {
        self.cells.groups * self.genes.groups
    }

    /// Reads and aggregates all rows, and returns one row per group.
    pub(super) async fn run(self: Arc<Self>) -> Result<RecordBatch> {
        let mut groups = self.states();
        if let Some(side) = self.sums {
            self.add_sums(side, &mut groups).await?;
            return self.finish(&groups);
        }
        if let Some(taken) = self.taken.get() {
            return self.finish(&taken.lock().unwrap_or_else(PoisonError::into_inner));
        }
        let mut parts = stream::iter(0..self.parts())
            .map(|part| {
                let work = Arc::clone(&self);
                SpawnedTask::spawn(async move { work.part(part).await })
            })
            .buffered(self.at_once);
        while let Some(part) = parts.next().await {
            groups.merge(&part.map_err(|e| external(task_error(e)))??);
        }
        self.finish(&groups)
    }

    /// The number of parts in which values are read.
    pub(super) fn parts(&self) -> usize {
        self.scan.properties().partitioning.partition_count()
    }

    /// The state of the groups after the rows of a part.
    async fn part(&self, part: usize) -> Result<GroupStates> {
        let mut groups = self.states();
        let mut counting = self.count_equal;
        let mut batches = self.scan.read(part);
        while let Some(batch) = batches.next().await {
            let batch = batch?;
            let mut at = 0;
            while at < batch.num_rows() {
                let rows = MORSEL.min(batch.num_rows() - at);
                self.add(&batch.slice(at, rows), &mut groups, &mut counting)?;
                at += rows;
            }
            tokio::task::yield_now().await;
        }
        Ok(groups)
    }

    /// The same, to be sent to another process.
    pub(super) async fn packed_part(&self, part: usize) -> Result<RecordBatch> {
        self.part(part).await?.packed()
    }

    /// From now on, the states come from other processes, by [`Self::take`].
    pub(super) fn leave_to_others(&self) {
        self.taken.get_or_init(|| Mutex::new(self.states()));
    }

    /// Takes the state of a part from another process. Parts are taken in order.
    pub(super) fn take(&self, state: &RecordBatch) -> Result<()> {
        let state = GroupStates::unpacked(state, self.groups(), &self.measures)?;
        if let Some(taken) = self.taken.get() {
            let mut taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
            taken.merge(&state);
        }
        Ok(())
    }

    fn states(&self) -> GroupStates {
        GroupStates::new(self.groups(), &self.measures)
    }

    async fn add_sums(&self, side: Side, groups: &mut GroupStates) -> Result<()> {
        let sums = Sums::of(&self.fact, side).await?;
        let codes = if side == Side::Cells {
            &self.cells.codes
        } else {
            &self.genes.codes
        };
        for (id, code) in codes
            .iter()
            .enumerate()
            .filter(|(_, code)| **code != u32::MAX)
        {
            let (group, sum) = (*code as usize, sums.of_id(id));
            groups.rows[group] += sum.n;
            for measure in &mut groups.measures {
                measure.take_sum(group, &sum);
            }
        }
        Ok(())
    }

    /// Adds a morsel. `counting` is whether equal rows are computed once; it is given up
    /// where few are equal.
    fn add(
        &self,
        morsel: &RecordBatch,
        groups: &mut GroupStates,
        counting: &mut bool,
    ) -> Result<()> {
        let counted = match *counting {
            true => count_equal(morsel)?,
            false => None,
        };
        *counting = counted.is_some();
        let (rows, times) = match &counted {
            Some((rows, times)) => (rows, Some(times.as_slice())),
            None => (morsel, None),
        };
        let ids = |name: &str| {
            let column = rows.column_by_name(name);
            column.map(|c| {
                Ok::<_, DataFusionError>(
                    cast(c, &DataType::UInt32)?
                        .as_primitive::<UInt32Type>()
                        .clone(),
                )
            })
        };
        let (cells, genes) = (ids(CELL).transpose()?, ids(GENE).transpose()?);
        self.place(
            cells.as_ref(),
            genes.as_ref(),
            rows.num_rows(),
            &mut groups.slots,
        );
        let arguments = self.arguments(rows, cells.as_ref(), genes.as_ref())?;
        self.filter(&arguments, &mut groups.slots)?;
        groups.add(&arguments, times, &self.measures)
    }

    /// Moves the rows that a filter removes to the extra slot.
    fn filter(&self, arguments: &RecordBatch, slots: &mut [u32]) -> Result<()> {
        let no_group = self.groups() as u32;
        for filter in &self.filters {
            let kept = filter
                .evaluate(arguments)?
                .into_array(arguments.num_rows())?;
            let kept = kept.as_boolean();
            for (row, slot) in slots.iter_mut().enumerate() {
                if !(kept.is_valid(row) && kept.value(row)) {
                    *slot = no_group;
                }
            }
        }
        Ok(())
    }

    /// Finds the group of each row. Rows without a group get an extra slot.
    fn place(
        &self,
        cells: Option<&UInt32Array>,
        genes: Option<&UInt32Array>,
        rows: usize,
        slots: &mut Vec<u32>,
    ) {
        let (trash, width) = (self.groups() as u32, self.genes.groups as u32);
        slots.clear();
        match (
            cells.filter(|_| !self.cells.plain),
            genes.filter(|_| !self.genes.plain),
        ) {
            (None, None) => slots.resize(rows, 0),
            (None, Some(genes)) => slots.extend(
                genes
                    .values()
                    .iter()
                    .map(|gene| self.genes.codes[*gene as usize].min(trash)),
            ),
            (Some(cells), None) => slots.extend(
                cells
                    .values()
                    .iter()
                    .map(|cell| self.cells.codes[*cell as usize].min(trash)),
            ),
            (Some(cells), Some(genes)) => {
                let pairs = cells.values().iter().zip(genes.values());
                slots.extend(pairs.map(|(cell, gene)| {
                    let cell = self.cells.codes[*cell as usize];
                    let gene = self.genes.codes[*gene as usize];
                    if cell == u32::MAX || gene == u32::MAX {
                        trash
                    } else {
                        cell * width + gene
                    }
                }));
            }
        }
    }

    /// The columns that arguments and filters use.
    fn arguments(
        &self,
        batch: &RecordBatch,
        cells: Option<&UInt32Array>,
        genes: Option<&UInt32Array>,
    ) -> Result<RecordBatch> {
        let missing = || DataFusionError::Internal("an argument's column is missing".into());
        let stored = |name: &str| batch.column_by_name(name).cloned().ok_or_else(missing);
        let columns = self
            .arguments
            .fields()
            .iter()
            .map(|field| match field.name().as_str() {
                "#c" => stored(CELL),
                "#g" => stored(GENE),
                "#v" => stored(VALUE),
                name => {
                    let of_axis =
                        |axis: &Axis, ids: Option<&UInt32Array>| -> Option<Result<ArrayRef>> {
                            let column = axis.columns.get(name)?;
                            Some(take(column, ids?, None).map_err(DataFusionError::from))
                        };
                    of_axis(&self.cells, cells)
                        .or_else(|| of_axis(&self.genes, genes))
                        .ok_or_else(missing)?
                }
            });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        Ok(RecordBatch::try_new_with_options(
            Arc::clone(&self.arguments),
            columns,
            &options,
        )?)
    }

    fn finish(&self, groups: &GroupStates) -> Result<RecordBatch> {
        // Without GROUP BY there is one row, of nothing if need be.
        let kept = match self.sides.is_empty() {
            true => vec![0],
            false => groups.with_rows(),
        };
        let width = self.genes.groups;
        let of_side = |side: Side| {
            let group = |g: &usize| match side {
                Side::Cells => (g / width) as u32,
                Side::Genes => (g % width) as u32,
            };
            UInt32Array::from_iter_values(kept.iter().map(group))
        };
        let mut columns = vec![];
        let (mut cells, mut genes) = (self.cells.keys.iter(), self.genes.keys.iter());
        for side in &self.sides {
            let keys = if *side == Side::Cells {
                cells.next()
            } else {
                genes.next()
            };
            let keys =
                keys.ok_or_else(|| DataFusionError::Internal("a group has no key".into()))?;
            columns.push(take(keys, &of_side(*side), None)?);
        }
        let fields = &self.schema.fields()[self.sides.len()..];
        columns.extend(groups.results(&kept, fields)?);
        let columns = columns.iter().zip(self.schema.fields());
        let columns = columns.map(|(column, field)| cast(column, field.data_type()));
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(kept.len()));
        Ok(RecordBatch::try_new_with_options(
            Arc::clone(&self.schema),
            columns,
            &options,
        )?)
    }
}
