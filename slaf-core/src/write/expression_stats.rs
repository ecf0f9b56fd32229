//! Statistics that are collected in one pass while X is written: the row offsets of
//! cells, the sums of cells and genes, and the order by gene.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, UInt32Array};
use arrow::datatypes::{ArrowNativeType, DataType, Float32Type, UInt16Type};
use futures::TryStreamExt;
use serde_json::{Value, json};

use super::expression_part::{ExpressionPart, part_of};
use super::sum::{Sum, columns};
use super::write_plan::WritePlan;
use crate::matrix::transposer::Transposer;
use crate::matrix::values::{Value as Number, column};
use crate::runtime::panic_error;
use crate::{Error, Place, Progress, Result, Table, ValueType};

/// Rows of `expression` that a replay reads at a time.
const REPLAYED: usize = 2 << 20;

/// A [`Transposer`] for each type of stored values.
pub(crate) enum ByGene {
    U16(Transposer<u16>),
    F32(Transposer<f32>),
    F64(Transposer<f64>),
}

pub(crate) struct ExpressionStats {
    /// The first row of each cell.
    pub(crate) starts: Vec<i64>,
    pub(crate) rows: u64,
    pub(crate) by_gene: Option<ByGene>,
    cells: Vec<Sum>,
    /// The sums of genes in the parts before `part`, which are added up in order. So the
    /// result is the same to the last bit if other processes collect the parts.
    genes: Vec<Sum>,
    /// The part that is collected, and its sums.
    part: u64,
    genes_of_part: Vec<Sum>,
}

impl ExpressionStats {
    /// For a matrix with `genes` columns. With `spill`, a local folder with
    /// room for all of X, the gene-major order is made too.
    pub(crate) fn new(genes: usize, values: ValueType, spill: Option<&Path>) -> Result<Self> {
        let by_gene = match (spill, values) {
            (None, _) => None,
            (Some(at), ValueType::U16) => Some(ByGene::U16(Transposer::new(genes, at)?)),
            (Some(at), ValueType::F32) => Some(ByGene::F32(Transposer::new(genes, at)?)),
            (Some(at), _) => Some(ByGene::F64(Transposer::new(genes, at)?)),
        };
        Ok(Self {
            starts: vec![],
            rows: 0,
            by_gene,
            cells: vec![],
            genes: vec![Sum::default(); genes],
            part: 0,
            genes_of_part: vec![Sum::default(); genes],
        })
    }

    /// For the dataset that `plan` writes at `place`. The gene-major order is
    /// sorted in a local folder: that of the dataset, or the one for temporary
    /// files.
    pub(crate) fn of_plan(place: &Place, plan: &WritePlan) -> Result<Self> {
        let spill: PathBuf = place.local().unwrap_or_else(std::env::temp_dir);
        Self::new(
            plan.shape.1 as usize,
            plan.value_type,
            plan.by_gene.then_some(spill.as_path()),
        )
    }

    /// Number of cells so far.
    pub(crate) fn n_cells(&self) -> u64 {
        self.starts.len() as u64
    }

    /// Starts the next cell, which has `rows` rows.
    pub(crate) fn begin_cell(&mut self, rows: u64) {
        self.starts.push(self.rows as i64);
        self.cells.push(Sum::default());
        self.rows += rows;
    }

    /// Adds the rows of cells that were started: the cell, gene and value of
    /// each.
    pub(crate) fn take(
        &mut self,
        cells: &[u32],
        genes: &ArrayRef,
        values: &ArrayRef,
    ) -> Result<()> {
        match genes.data_type() {
            DataType::UInt16 => {
                self.take_values(cells, genes.as_primitive::<UInt16Type>().values(), values)
            }
            _ => self.take_values(cells, &column::<i32>(genes)?, values),
        }
    }

    fn take_values<G>(&mut self, cells: &[u32], genes: &[G], values: &ArrayRef) -> Result<()>
    where
        G: ArrowNativeType,
    {
        match &mut self.by_gene {
            Some(ByGene::U16(t)) => t.push(cells, genes, &column::<u16>(values)?)?,
            Some(ByGene::F32(t)) => t.push(cells, genes, &column::<f32>(values)?)?,
            Some(ByGene::F64(t)) => t.push(cells, genes, &column::<f64>(values)?)?,
            None => {}
        }
        match values.data_type() {
            DataType::UInt16 => {
                self.add(cells, genes, values.as_primitive::<UInt16Type>().values())
            }
            DataType::Float32 => {
                self.add(cells, genes, values.as_primitive::<Float32Type>().values())
            }
            _ => self.add(cells, genes, &column::<f64>(values)?),
        }
        Ok(())
    }

    fn add<G: ArrowNativeType, T: Number>(&mut self, cells: &[u32], genes: &[G], values: &[T]) {
        let mut at = 0;
        for run in cells.chunk_by(|a, b| a == b) {
            let rows = at..at + run.len();
            at = rows.end;
            self.go_to_part(part_of(self.starts[run[0] as usize] as u64));
            let cell = &mut self.cells[run[0] as usize];
            let mut sum = *cell;
            for (gene, value) in genes[rows.clone()].iter().zip(&values[rows]) {
                let value: f64 = value.to_f64();
                sum.add(value);
                self.genes_of_part[gene.as_usize()].add(value);
            }
            *cell = sum;
        }
    }

    fn go_to_part(&mut self, part: u64) {
        if part != self.part {
            self.part = part;
            for (sum, more) in self.genes.iter_mut().zip(&mut self.genes_of_part) {
                sum.merge(&std::mem::take(more));
            }
        }
    }

    /// Adds all rows of an existing `expression` table. It has `cells` cells;
    /// the last ones can be empty. Progress counts rows.
    pub(crate) async fn replay(
        &mut self,
        table: &Table,
        cells: u64,
        progress: &Progress,
    ) -> Result<()> {
        progress.begin(table.rows);
        let unreadable = |e: lance::Error| table.unreadable(&e);
        let mut scanner = table.lance.scan();
        scanner
            .project(&["cell_integer_id", "gene_integer_id", "value"])
            .map_err(unreadable)?
            .scan_in_order(true)
            .batch_size(REPLAYED);
        let mut stream = scanner.try_into_stream().await.map_err(unreadable)?;
        let genes_end = self.genes.len();
        while let Some(batch) = stream.try_next().await.map_err(unreadable)? {
            self.replay_batch(table, &batch, cells, genes_end)?;
            progress.add(batch.num_rows() as u64);
        }
        self.end_cells(cells);
        Ok(())
    }

    /// Adds a part that was collected elsewhere. Parts are added in order.
    pub(crate) fn append(
        &mut self,
        table: &Table,
        part: &ExpressionPart,
        cells: u64,
    ) -> Result<()> {
        for (cell, rows, sum) in &part.cells {
            self.go_to_cell(table, *cell, *rows, cells)?;
            self.cells[*cell as usize].merge(sum);
        }
        if let Some(reason) = &part.wrong {
            return Err(table.corrupt(reason.clone()));
        }
        for (sum, more) in self.genes.iter_mut().zip(&part.genes) {
            sum.merge(more);
        }
        for block in &part.blocks {
            match &mut self.by_gene {
                Some(ByGene::U16(t)) => t.add(block.first_row, &block.bytes)?,
                Some(ByGene::F32(t)) => t.add(block.first_row, &block.bytes)?,
                Some(ByGene::F64(t)) => t.add(block.first_row, &block.bytes)?,
                None => {}
            }
        }
        Ok(())
    }

    /// Ends with empty cells, so that there are `cells`.
    pub(crate) fn end_cells(&mut self, cells: u64) {
        while self.n_cells() < cells {
            self.begin_cell(0);
        }
    }

    /// Adds `rows` rows of `cell`: the last cell, or a later one below `cells`.
    fn go_to_cell(&mut self, table: &Table, cell: i64, rows: u64, cells: u64) -> Result<()> {
        let here = cell as u64;
        if cell < 0 || here >= cells || here + 1 < self.n_cells() {
            return Err(table.corrupt(format!(
                "row {} belongs to cell {cell}, out of its order",
                self.rows
            )));
        }
        if here + 1 == self.n_cells() {
            self.rows += rows;
        } else {
            self.end_cells(here);
            self.begin_cell(rows);
        }
        Ok(())
    }

    fn replay_batch(
        &mut self,
        table: &Table,
        batch: &RecordBatch,
        cells: u64,
        genes_end: usize,
    ) -> Result<()> {
        let ids = column::<i64>(batch.column(0))?;
        let mut at = 0;
        while at < ids.len() {
            let cell = ids[at];
            let run = ids[at..].iter().take_while(|id| **id == cell).count();
            self.go_to_cell(table, cell, run as u64, cells)?;
            at += run;
        }
        let genes = column::<i32>(batch.column(1))?;
        if let Some(gene) = genes.iter().find(|g| !(0..genes_end as i32).contains(*g)) {
            return Err(table.corrupt(format!("it holds gene {gene} of {genes_end}")));
        }
        let cells: Vec<u32> = ids.iter().map(|id| *id as u32).collect();
        self.take(&cells, batch.column(1), batch.column(2))
    }

    /// `nnz`, `total`, `sum_of_squares`, `min` and `max` of the stored values
    /// of each cell. Stored zeros are included, but not counted in `nnz`.
    pub(crate) fn cell_sums(&self) -> Result<RecordBatch> {
        Ok(RecordBatch::try_from_iter(columns(&self.cells))?)
    }

    /// The same for each gene, and its first row in the gene-major copy.
    pub(crate) fn gene_sums(&self) -> Result<RecordBatch> {
        let counts = self.by_gene.as_ref().map(|by_gene| match by_gene {
            ByGene::U16(t) => t.counts(),
            ByGene::F32(t) => t.counts(),
            ByGene::F64(t) => t.counts(),
        });
        let mut columns = columns(&self.all_genes());
        if let Some(counts) = counts {
            let mut next = 0;
            let starts = counts.iter().map(|count| {
                next += *count as i64;
                next - *count as i64
            });
            let starts = Int64Array::from_iter_values(starts);
            columns.push(("gene_start_index", Arc::new(starts)));
        }
        Ok(RecordBatch::try_from_iter(columns)?)
    }

    fn all_genes(&self) -> Vec<Sum> {
        let mut genes = self.genes.clone();
        for (sum, more) in genes.iter_mut().zip(&self.genes_of_part) {
            sum.merge(more);
        }
        genes
    }

    /// slafdb's `expression_stats`, over the stored values.
    pub(crate) fn summary(&self) -> Value {
        let genes = self.all_genes();
        let stored = genes.iter().filter(|s| s.squares > 0.0 || s.nnz > 0);
        let (mut total, mut squares, mut range) = (0.0, 0.0, None::<(f64, f64)>);
        for sum in stored {
            total += sum.total;
            squares += sum.squares;
            let (min, max) = sum.extremes();
            let (low, high) = range.unwrap_or((min, max));
            range = Some((low.min(min), high.max(max)));
        }
        let n = self.rows.max(1) as f64;
        let mean = total / n;
        let (low, high) = range.unwrap_or_default();
        json!({
            "min_value": low,
            "max_value": high,
            "mean_value": mean,
            "std_value": (squares / n - mean * mean).max(0.0).sqrt(),
        })
    }
}

/// Collects the statistics on its own thread, beside reading and encoding.
pub(crate) struct StatsThread {
    blocks: SyncSender<CellRows>,
    thread: JoinHandle<Result<ExpressionStats>>,
}

/// Rows of cells: the number of rows of each cell; the cell, gene and value of
/// each row.
pub(crate) struct CellRows {
    pub(crate) lengths: Vec<u64>,
    pub(crate) cells: UInt32Array,
    pub(crate) genes: ArrayRef,
    pub(crate) values: ArrayRef,
}

impl StatsThread {
    pub(crate) fn start(mut stats: ExpressionStats) -> Self {
        let (blocks, queue) = sync_channel::<CellRows>(1);
        let work = move || {
            for rows in queue {
                for length in rows.lengths {
                    stats.begin_cell(length);
                }
                stats.take(rows.cells.values(), &rows.genes, &rows.values)?;
            }
            Ok(stats)
        };
        Self {
            blocks,
            thread: thread::spawn(work),
        }
    }

    /// `false` if the thread has failed; [`Self::finish`] returns the reason.
    pub(crate) fn take(&self, rows: CellRows) -> bool {
        self.blocks.send(rows).is_ok()
    }

    pub(crate) fn finish(self) -> Result<ExpressionStats> {
        drop(self.blocks);
        let outcome = self.thread.join();
        outcome.unwrap_or_else(|panic| Err(panic_error(panic)))
    }
}

/// The type in which a stored column is written, if we write that type.
pub(crate) fn writable(stored: &DataType) -> Result<ValueType> {
    match ValueType::try_from(stored)? {
        known @ (ValueType::U16 | ValueType::F32 | ValueType::F64) => Ok(known),
        other => Err(Error::Engine {
            message: format!(
                "Values stored as {} cannot be appended to. Convert the dataset first: \
                 `slaf convert old.slaf new.slaf`.",
                other.numpy_name()
            ),
        }),
    }
}
