//! Sums of groups of cells from the gene-major copy. Parts of it are decoded and summed
//! on all threads.

use std::ops::Range;
use std::sync::Arc;
use std::thread;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::UInt32Type;
use futures::stream::{self, StreamExt, TryStreamExt};

use super::cell_steps::CellSteps;
use super::group_sums::{GeneByGene, GroupSums, Groups, SumsOfGenes, Wanted};
use super::steps::Step;
use crate::matrix::selection::OutputPlaces;
use crate::matrix::values::{Value, column};
use crate::read::gene_rows::GeneRows;
use crate::runtime::{result_of, spawn};
use crate::table::row_ranges::read_rows;
use crate::{Dataset, Error, Result, Selection, Table, ValueType};

/// Approximate number of rows of a part.
const PART: u64 = 1 << 20;

/// The sums of `genes`, which must ascend, over `cells`, which must not repeat. `groups`
/// and `steps` are in the order of `cells`; the results of the steps have type `dtype`,
/// float32 or float64. Returns `None` if there is no gene-major copy.
pub async fn sums_by_gene(
    dataset: Dataset,
    cells: Selection,
    genes: Selection,
    groups: Groups,
    steps: Vec<Step>,
    dtype: ValueType,
    wanted: Wanted,
) -> Result<Option<GroupSums>> {
    let (n_cells, n_genes) = dataset.shape();
    cells.check("cell", n_cells)?;
    genes.check("gene", n_genes)?;
    let Some(companions) = dataset.companions().await? else {
        return Ok(None);
    };
    let Some((table, rows_of)) = companions.by_gene() else {
        return Ok(None);
    };
    let Some(places) = OutputPlaces::new(&cells, n_cells as usize).once() else {
        return Err(unfit("a cell that occurs twice"));
    };
    let genes: Vec<u64> = genes.iter().collect();
    if !genes.is_sorted_by(|a, b| a < b) {
        return Err(unfit("genes that do not ascend"));
    }
    let steps = match steps.is_empty() {
        true => None,
        false => Some(CellSteps::new(steps, dtype, &places, genes.len())?),
    };
    let n = groups.len();
    let work = Arc::new(Work {
        table: table.clone(),
        stored: ValueType::try_from(table.schema.field_with_name("value")?.data_type())?,
        n_cells,
        groups: groups.placed(&places)?,
        steps,
        wanted,
    });
    let rows = genes.iter().map(|gene| rows_of(*gene)).collect();
    let parts = stream::iter(parts(rows)).map(|part| {
        let work = work.clone();
        let summed = spawn(async move { work.sum(part).await });
        result_of(summed)
    });
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let parts: Vec<SumsOfGenes> = parts.buffered(threads).try_collect().await?;
    Ok(Some(GroupSums::beside(&parts, n, wanted)))
}

fn unfit(reason: &str) -> Error {
    Error::BadMatrix {
        reason: reason.into(),
    }
}

/// Consecutive genes: the number of the first, and the rows of each.
struct Part {
    first: usize,
    rows: Vec<Range<u64>>,
}

fn parts(rows: Vec<Range<u64>>) -> Vec<Part> {
    let mut parts: Vec<Part> = vec![];
    let mut left = 0;
    for (gene, rows) in rows.into_iter().enumerate() {
        let n = rows.end - rows.start;
        match parts.last_mut() {
            Some(part) if n <= left => part.rows.push(rows),
            _ => {
                left = PART.max(n);
                parts.push(Part {
                    first: gene,
                    rows: vec![rows],
                });
            }
        }
        left -= n;
    }
    parts
}

/// The input that all parts share.
struct Work {
    table: Table,
    stored: ValueType,
    n_cells: u64,
    groups: Groups,
    steps: Option<CellSteps>,
    wanted: Wanted,
}

impl Work {
    async fn sum(&self, part: Part) -> Result<SumsOfGenes> {
        let mut sums = GeneByGene::new(&self.groups, self.wanted);
        let genes = part.rows.iter().cloned().enumerate();
        let mut genes = GeneRows::new(self.n_cells, genes);
        let rows = part.rows.iter().filter(|rows| !rows.is_empty());
        let rows = joined(rows.cloned());
        read_rows(&self.table, &["cell_delta", "value"], rows, |batch| {
            let (genes, sums, first) = (&mut genes, &mut sums, part.first);
            match self.stored {
                ValueType::U16 => self.add::<u16, _>(&batch, genes, sums, first),
                ValueType::I32 => self.add::<i32, _>(&batch, genes, sums, first),
                ValueType::I64 => self.add::<i64, _>(&batch, genes, sums, first),
                ValueType::F32 => self.add::<f32, _>(&batch, genes, sums, first),
                ValueType::F64 => self.add::<f64, _>(&batch, genes, sums, first),
            }
        })
        .await?;
        Ok(sums.finish(part.rows.len()))
    }

    fn add<T: Value, N: Iterator<Item = (usize, Range<u64>)>>(
        &self,
        batch: &RecordBatch,
        genes: &mut GeneRows<N>,
        sums: &mut GeneByGene<'_>,
        first: usize,
    ) -> Result<()> {
        let gaps = batch.column(0).as_primitive::<UInt32Type>().values();
        let values = column::<T>(batch.column(1))?;
        let (mut after, mut kinds) = (vec![], vec![]);
        let split = genes.split(gaps, |gene, cells, rows| {
            sums.end_until(gene);
            let places = cells.iter().map(|cell| *cell as usize);
            let values = values[rows].iter().map(|value| value.to_f64());
            match &self.steps {
                None => sums.add(places, values),
                Some(steps) => {
                    after.clear();
                    after.extend(values);
                    steps.apply(first + gene, cells, &mut after, &mut kinds);
                    sums.add(places, after.iter().copied());
                }
            }
        });
        split.map_err(|reason| self.table.corrupt(reason))
    }
}

/// Joins ranges that follow directly on each other.
fn joined(ranges: impl Iterator<Item = Range<u64>>) -> Vec<Range<u64>> {
    let mut joined: Vec<Range<u64>> = vec![];
    for range in ranges {
        match joined.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => joined.push(range),
        }
    }
    joined
}
