//! A dataset that is being written: rows of X stream in, and are encoded while the
//! next are read.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, RecordBatch, UInt32Array};
use arrow::datatypes::{DataType, SchemaRef};
use serde_json::{Map, Value};

use super::coordinate_writer::CoordinateWriter;
use super::encoder::Encoder;
use super::exact_values::{exactly, no_count};
use super::expression_stats::{CellRows, StatsThread};
use super::lance_rows::FRAGMENT_ROWS;
use super::write_plan::WritePlan;
use crate::storage::remove_folder;
use crate::{CoordinateTable, Error, Place, Result, RowBlock, Table, ValueType, runtime};

/// A dataset that is being written or appended to. If it is dropped before it
/// has finished, nothing new can be opened.
pub struct Writer {
    /// A folder beside the target, or the dataset that is being appended to.
    pub(super) place: Place,
    /// The final place of a new dataset.
    pub(super) target: Option<Place>,
    pub(super) plan: WritePlan,
    pub(super) schema: SchemaRef,
    pub(super) encoder: Option<Encoder>,
    pub(super) stats: Option<StatsThread>,
    /// Number of cells so far.
    pub(super) cells: u64,
    pub(super) base: Option<Table>,
    /// Number of rows since the last fragment ended.
    pub(super) pending: usize,
    /// The configuration and version of the dataset that is being appended to.
    pub(super) old: Option<(Map<String, Value>, Option<u64>)>,
    pub(super) tables: BTreeMap<String, u64>,
    /// Whether the folder is kept if the writer does not finish.
    pub(super) keep: bool,
    pub(super) _lock: Option<File>,
}

impl Writer {
    /// Number of cells that are already written; a conversion continues after
    /// them.
    pub fn cells_done(&self) -> u64 {
        self.cells
    }

    pub fn value_type(&self) -> ValueType {
        self.plan.value_type
    }

    /// Where the tables are being written.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Keeps what is written, for a later conversion of the same source.
    pub fn suspend(mut self) {
        self.keep = true;
    }

    /// Removes what is written.
    pub async fn discard(mut self) -> Result<()> {
        if let Some(encoder) = self.encoder.take() {
            // If it were just dropped, its tasks would keep writing to the folder.
            let _ = encoder.finish().await;
        }
        match self.target.take() {
            Some(_) => self.place.remove().await,
            None => Ok(()),
        }
    }

    /// Adds the next rows. Fails with [`Error::NotRepresentable`] on a value
    /// that the value type cannot hold, and with [`Error::NotACount`] on a
    /// value that is not a count, if counts are required. After an error, the
    /// writer cannot be used any more.
    pub fn append(&mut self, block: &RowBlock<'_>) -> Result<()> {
        let rows = self.encode(block)?;
        let (Some(encoder), Some(stats)) = (&self.encoder, &self.stats) else {
            return Err(Error::bad_matrix("the writer has failed before".into()));
        };
        let batch = self.batch(&rows)?;
        self.cells += rows.lengths.len() as u64;
        self.pending += batch.num_rows();
        let mut running = batch.num_rows() == 0 || encoder.rows(batch);
        running = running && stats.take(rows);
        let full = self.plan.fragment_rows.unwrap_or(FRAGMENT_ROWS);
        if self.pending >= full.min(FRAGMENT_ROWS) {
            running = running && encoder.end_fragment(self.cells);
            self.pending = 0;
        }
        if running { Ok(()) } else { self.stopped() }
    }

    /// Ends the fragment if it has at least `rows` rows; the next rows start a
    /// new one.
    pub fn end_fragment(&mut self, rows: usize) -> Result<()> {
        if self.pending == 0 || self.pending < rows {
            return Ok(());
        }
        let Some(encoder) = &self.encoder else {
            return Err(Error::bad_matrix("the writer has failed before".into()));
        };
        self.pending = 0;
        match encoder.end_fragment(self.cells) {
            true => Ok(()),
            false => self.stopped(),
        }
    }

    /// Why the encoder or the statistics stopped.
    fn stopped(&mut self) -> Result<()> {
        let stats = self.stats.take().map(StatsThread::finish).transpose();
        let encoder = self.encoder.take();
        let encoded = encoder.map(|encoder| runtime::wait(encoder.finish(), || false));
        stats?;
        encoded.transpose()?;
        Err(Error::bad_matrix(
            "the encoder stopped before the last row".into(),
        ))
    }

    /// The rows in the form of `expression`.
    fn batch(&self, rows: &CellRows) -> Result<RecordBatch> {
        let cells: ArrayRef = if *self.schema.field(0).data_type() == DataType::UInt32 {
            Arc::new(rows.cells.clone())
        } else {
            let cells = rows.cells.values().iter();
            Arc::new(Int32Array::from_iter_values(cells.map(|c| *c as i32)))
        };
        let columns = vec![cells, Arc::clone(&rows.genes), Arc::clone(&rows.values)];
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }

    fn encode(&self, block: &RowBlock<'_>) -> Result<CellRows> {
        block.check()?;
        let (rows, n) = (block.rows(), block.indices.len());
        let first = self.cells;
        if first + rows as u64 > self.plan.shape.0 {
            return Err(Error::bad_matrix(format!(
                "more than the {} cells announced",
                self.plan.shape.0
            )));
        }
        let mut cells: Vec<u32> = Vec::with_capacity(n);
        for (row, pair) in block.indptr.windows(2).enumerate() {
            let cell = first + row as u64;
            let len = (pair[1] - pair[0]) as usize;
            cells.resize(cells.len() + len, cell as u32);
        }
        let at = |place: usize| (u64::from(cells[place]), block.indices.at(place));
        let narrow = *self.schema.field(1).data_type() == DataType::UInt16;
        let genes = block
            .indices
            .gene_ids(self.plan.shape.1, narrow)
            .map_err(|place| {
                let (cell, gene) = at(place);
                let genes = self.plan.shape.1;
                Error::bad_matrix(format!(
                    "cell {cell} has a value for gene {gene} of {genes}"
                ))
            })?;
        if self.plan.counts
            && let Some((place, value)) = no_count(block.data)
        {
            let (cell, gene) = at(place);
            return Err(Error::NotACount {
                cell,
                gene: gene as u64,
                value,
            });
        }
        let values = exactly(block.data, self.plan.value_type).map_err(|(place, value)| {
            let (cell, gene) = at(place);
            Error::NotRepresentable {
                cell,
                gene: gene as u64,
                value,
                target: self.plan.value_type.numpy_name(),
            }
        })?;
        let lengths = block.indptr.windows(2).map(|p| (p[1] - p[0]) as u64);
        Ok(CellRows {
            lengths: lengths.collect(),
            cells: UInt32Array::from(cells),
            genes,
            values,
        })
    }

    /// Starts a coordinate table of matrices with `width` columns.
    pub fn begin_coordinate(
        &self,
        folder: &str,
        kind: CoordinateTable,
        width: u64,
        matrices: &[(String, ValueType)],
    ) -> CoordinateWriter {
        CoordinateWriter::start(&self.place, folder, None, kind, width, matrices)
    }

    pub async fn end_coordinate(&mut self, writer: CoordinateWriter) -> Result<()> {
        let folder = writer.folder.clone();
        let version = writer.finish().await?;
        self.tables.insert(folder, version);
        Ok(())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if let Some(encoder) = self.encoder.take() {
            encoder.abort();
        }
        if self.target.is_none() || self.keep {
            return;
        }
        match self.place.local() {
            Some(folder) => drop(remove_folder(&folder)),
            None => {
                let place = self.place.clone();
                runtime::spawn(async move { place.remove().await });
            }
        }
    }
}
