//! Writes datasets: rows of X stream in, encoding runs beside the reader, and
//! a new dataset, or a new version of one, appears at once or not at all.

mod columns;
mod describe;
mod encode;
mod pairs;
mod revise;
mod staging;
mod store;
pub(crate) mod tally;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch, RecordBatchReader, UInt32Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use serde_json::{Map, Value};

pub use self::columns::Revision;
pub(crate) use self::describe::ours;
use self::describe::{Numbered, merge};
pub(crate) use self::encode::write_stream;
use self::encode::{Checkpoint, EXPRESSION, Encoder, FRAGMENT_ROWS};
pub use self::pairs::{PairsWriter, Refused};
pub use self::revise::{index, repair};
use self::staging::{LOCK, clear, lock};
pub use self::store::Indices;
use self::store::{bad, no_count, store};
use self::tally::{Rows, Tally, Tallying, writable};
use crate::coo::Pairs;
use crate::dataset::Table;
use crate::storage::{Place, remove_folder};
use crate::values::ValuesRef;
use crate::versions::{Commit, Manifest};
use crate::{Dataset, Error, Result, ValueType, companions, runtime};

/// Some consecutive rows of a CSR matrix.
pub struct RowBlock<'a> {
    /// Length rows + 1; differences count, the first entry may be any.
    pub indptr: &'a [i64],
    pub indices: Indices<'a>,
    pub data: ValuesRef<'a>,
}

impl RowBlock<'_> {
    fn rows(&self) -> usize {
        self.indptr.len().saturating_sub(1)
    }

    /// Whether the arrays fit each other.
    fn check(&self) -> Result<()> {
        let (Some(first), Some(last)) = (self.indptr.first(), self.indptr.last()) else {
            return Err(bad("an empty indptr".into()));
        };
        if let Some(row) = self.indptr.windows(2).position(|pair| pair[1] < pair[0]) {
            return Err(bad(format!("indptr decreases at row {row} of a block")));
        }
        let (indices, data) = (self.indices.len(), self.data.len());
        if data != indices || last - first != indices as i64 {
            let counted = last - first;
            return Err(bad(format!(
                "indptr counts {counted} values, with {indices} indices and {data} data"
            )));
        }
        let starts = self.indptr.windows(2);
        let rows = starts.map(|pair| (pair[0] - first) as usize..(pair[1] - first) as usize);
        if let Some((row, at)) = self.indices.unordered(rows) {
            let (before, column) = (self.indices.at(at - 1), self.indices.at(at));
            return Err(bad(format!(
                "row {row} of a block names column {column} after column {before}"
            )));
        }
        Ok(())
    }

    fn row_of(&self, place: usize) -> usize {
        let value = place as i64 + self.indptr[0];
        self.indptr.partition_point(|start| *start <= value) - 1
    }

    fn same_places(&self, other: &RowBlock<'_>) -> bool {
        let starts = |block: &RowBlock<'_>| block.indptr[0];
        let pairs = self.indptr.iter().zip(other.indptr);
        self.indices == other.indices
            && pairs.fold(true, |all, (a, b)| {
                all & (a - starts(self) == b - starts(other))
            })
    }
}

/// What a new dataset is made of.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Cells × genes.
    pub shape: (u64, u64),
    /// uint16, float32 or float64.
    pub value_type: ValueType,
    /// Whether values that count nothing are refused.
    pub counts: bool,
    /// Whether the gene-major copy is written too.
    pub by_gene: bool,
    /// Whether what stands at the target is replaced, by a whole dataset.
    pub overwrite: bool,
    /// Rows of a fragment at most, if fewer than usual.
    pub fragment_rows: Option<usize>,
    /// Names the input and its state. A conversion of the same that died is
    /// taken up where it was.
    pub source: Option<String>,
}

/// How much of how much is done; looked at from another thread.
#[derive(Debug, Default)]
pub struct Progress {
    pub done: AtomicU64,
    pub total: AtomicU64,
}

/// A dataset under construction, or one that is being appended to. Dropping it
/// unfinished leaves nothing new that could be opened.
pub struct Writer {
    /// A folder beside the target, or the dataset that is appended to.
    place: Place,
    /// Where a new dataset will stand.
    target: Option<Place>,
    plan: Plan,
    schema: SchemaRef,
    encoder: Option<Encoder>,
    tally: Option<Tallying>,
    /// Cells so far.
    cells: u64,
    base: Option<Table>,
    /// Rows since the last fragment ended.
    pending: usize,
    /// Of the dataset that is appended to.
    old: Option<(Map<String, Value>, Option<u64>)>,
    tables: BTreeMap<String, u64>,
    /// Whether the folder outlives an unfinished writer.
    keep: bool,
    _lock: Option<File>,
}

impl Writer {
    /// Begins a dataset at `target`.
    pub async fn create(target: Place, plan: Plan) -> Result<Self> {
        if target.local().is_some_and(|path| path.is_file()) {
            return Err(Error::NotSlaf {
                path: target.uri().to_owned(),
                reason: "it is a file, and a dataset is a folder".into(),
            });
        }
        if !plan.overwrite && target.occupied().await? {
            return Err(Error::Exists {
                path: target.uri().to_owned(),
            });
        }
        if plan.overwrite && target.holds_other_files() {
            return Err(Error::NotOurs {
                path: target.uri().to_owned(),
            });
        }
        let place = target.staging()?;
        let lock = lock(&place)?;
        let resumed = match (&plan.source, Checkpoint::read(&place).await?) {
            (Some(source), Some(found))
                if found.source == *source && found.shape == plan.shape && found.cells > 0 =>
            {
                Some(found)
            }
            _ => None,
        };
        let mut plan = plan;
        if let Some(found) = &resumed {
            plan.value_type = ValueType::from_numpy(&found.value_type).unwrap_or(plan.value_type);
        } else {
            clear(&place).await?;
        }
        let narrow = plan.shape.1 <= 1 << 16;
        let gene_type = if narrow {
            DataType::UInt16
        } else {
            DataType::Int32
        };
        let schema = Arc::new(Schema::new(vec![
            Field::new("cell_integer_id", DataType::UInt32, false),
            Field::new("gene_integer_id", gene_type, false),
            Field::new("value", plan.value_type.arrow(), false),
        ]));
        let mut tally = tally(&place, &plan)?;
        let mut base = None;
        if let Some(found) = &resumed {
            encode::commit(&place, &schema, None, found.fragments.clone()).await?;
            let table = Table::open("expression", EXPRESSION.into(), None, place.clone()).await?;
            tally.replay(&table, found.cells).await?;
            base = Some(table);
        }
        let fresh = || Checkpoint {
            source: plan.source.clone().unwrap_or_default(),
            shape: plan.shape,
            value_type: plan.value_type.numpy_name().to_owned(),
            cells: 0,
            fragments: vec![],
        };
        let checkpoint = plan.source.is_some().then(|| resumed.unwrap_or_else(fresh));
        let lance = base.as_ref().map(|table: &Table| Arc::clone(&table.lance));
        let encoder = Encoder::start(&place, &schema, lance, checkpoint);
        Ok(Self {
            place,
            target: Some(target),
            plan,
            schema,
            encoder: Some(encoder),
            cells: tally.n_cells(),
            tally: Some(Tallying::start(tally)),
            base,
            pending: 0,
            old: None,
            tables: BTreeMap::new(),
            keep: false,
            _lock: lock,
        })
    }

    /// Begins a new version of `dataset` with more cells: `shape` is that of
    /// the whole. Genes that are new come after the old ones.
    pub async fn append_to(dataset: &Dataset, shape: (u64, u64), by_gene: bool) -> Result<Self> {
        let expression = dataset.expression.clone();
        let field = |name: &str| expression.schema.field_with_name(name).cloned();
        let schema = Arc::new(Schema::new(vec![
            field("cell_integer_id")?,
            field("gene_integer_id")?,
            field("value")?,
        ]));
        if expression.schema.fields().len() != schema.fields().len() {
            return Err(Error::Engine {
                message: format!(
                    "`{}` stores the ids as text in every row, and cannot be appended to. \
                     Convert it first: `slaf convert old.slaf new.slaf`.",
                    dataset.place.uri()
                ),
            });
        }
        let plan = Plan {
            shape,
            value_type: writable(schema.field(2).data_type())?,
            counts: false,
            by_gene,
            overwrite: false,
            fragment_rows: None,
            source: None,
        };
        if *schema.field(1).data_type() == DataType::UInt16 && shape.1 > 1 << 16 {
            return Err(Error::Engine {
                message: format!(
                    "`{}` numbers its genes with 16 bits, and {} are too many. Convert all files \
                     together instead.",
                    dataset.place.uri(),
                    shape.1
                ),
            });
        }
        let mut tally = tally(&dataset.place, &plan)?;
        tally.replay(&expression, dataset.shape().0).await?;
        let place = dataset.place.clone();
        let encoder = Encoder::start(&place, &schema, Some(Arc::clone(&expression.lance)), None);
        let config = dataset.config.as_json().clone();
        let parent = dataset.config.manifest().map(|m| m.version);
        Ok(Self {
            place,
            target: None,
            plan,
            schema,
            encoder: Some(encoder),
            cells: tally.n_cells(),
            tally: Some(Tallying::start(tally)),
            base: Some(expression),
            pending: 0,
            old: Some((config, parent)),
            tables: BTreeMap::new(),
            keep: false,
            _lock: None,
        })
    }

    /// Cells that are there already: a conversion goes on after them.
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

    /// Leaves what is written so far for a later conversion of the same source.
    pub fn suspend(mut self) {
        self.keep = true;
    }

    /// Removes what is written so far.
    pub async fn discard(mut self) -> Result<()> {
        if let Some(encoder) = self.encoder.take() {
            // Cut off, its tasks would go on writing into the folder.
            let _ = encoder.finish().await;
        }
        match self.target.take() {
            Some(_) => self.place.remove().await,
            None => Ok(()),
        }
    }

    /// Takes the next rows. Fails with [`Error::NotRepresentable`] on a value
    /// that the value type cannot hold, and with [`Error::NotACount`] on one
    /// that counts nothing where counts are claimed; nothing of the writer is
    /// usable then.
    pub fn append(&mut self, block: &RowBlock<'_>) -> Result<()> {
        let rows = self.encode(block)?;
        let (Some(encoder), Some(tally)) = (&self.encoder, &self.tally) else {
            return Err(bad("the writer has failed before".into()));
        };
        let batch = self.batch(&rows)?;
        self.cells += rows.lengths.len() as u64;
        self.pending += batch.num_rows();
        let mut running = batch.num_rows() == 0 || encoder.rows(batch);
        running = running && tally.take(rows);
        let full = self.plan.fragment_rows.unwrap_or(FRAGMENT_ROWS);
        if self.pending >= full.min(FRAGMENT_ROWS) {
            running = running && encoder.end_fragment(self.cells);
            self.pending = 0;
        }
        if running { Ok(()) } else { self.stopped() }
    }

    /// Ends the fragment, if there are `rows` or more in it: the next rows begin
    /// another one.
    pub fn end_fragment(&mut self, rows: usize) -> Result<()> {
        if self.pending == 0 || self.pending < rows {
            return Ok(());
        }
        let Some(encoder) = &self.encoder else {
            return Err(bad("the writer has failed before".into()));
        };
        self.pending = 0;
        match encoder.end_fragment(self.cells) {
            true => Ok(()),
            false => self.stopped(),
        }
    }

    /// Why the encoder or the tally has stopped.
    fn stopped(&mut self) -> Result<()> {
        let tally = self.tally.take().map(Tallying::finish).transpose();
        let encoder = self.encoder.take();
        let encoded = encoder.map(|encoder| runtime::wait(encoder.finish(), || false));
        tally?;
        encoded.transpose()?;
        Err(bad("the encoder stopped before the last row".into()))
    }

    /// The rows as `expression` holds them.
    fn batch(&self, rows: &Rows) -> Result<RecordBatch> {
        let cells: ArrayRef = if *self.schema.field(0).data_type() == DataType::UInt32 {
            Arc::new(rows.cells.clone())
        } else {
            let cells = rows.cells.values().iter();
            Arc::new(Int32Array::from_iter_values(cells.map(|c| *c as i32)))
        };
        let columns = vec![cells, Arc::clone(&rows.genes), Arc::clone(&rows.values)];
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }

    fn encode(&self, block: &RowBlock<'_>) -> Result<Rows> {
        block.check()?;
        let (rows, n) = (block.rows(), block.indices.len());
        let first = self.cells;
        if first + rows as u64 > self.plan.shape.0 {
            return Err(bad(format!(
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
                bad(format!(
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
        let values = store(block.data, self.plan.value_type).map_err(|(place, value)| {
            let (cell, gene) = at(place);
            Error::NotRepresentable {
                cell,
                gene: gene as u64,
                value,
                target: self.plan.value_type.numpy_name(),
            }
        })?;
        let lengths = block.indptr.windows(2).map(|p| (p[1] - p[0]) as u64);
        Ok(Rows {
            lengths: lengths.collect(),
            cells: UInt32Array::from(cells),
            genes,
            values,
        })
    }

    /// Begins a coordinate table of matrices with `width` columns.
    pub fn pairs(
        &self,
        folder: &str,
        pairs: Pairs,
        width: u64,
        matrices: &[(String, ValueType)],
    ) -> PairsWriter {
        PairsWriter::start(&self.place, folder, None, pairs, width, matrices)
    }

    pub async fn end_pairs(&mut self, pairs: PairsWriter) -> Result<()> {
        let folder = pairs.folder.clone();
        let version = pairs.finish().await?;
        self.tables.insert(folder, version);
        Ok(())
    }

    async fn write_metadata(&mut self, folder: &str, rows: Numbered) -> Result<()> {
        let schema = rows.schema();
        let version = write_stream(&self.place, folder, &schema, rows.stream()).await?;
        self.tables.insert(folder.to_owned(), version);
        Ok(())
    }

    /// Writes the metadata and publishes the dataset. `cells` and `genes` are
    /// obs and var with `cell_id` and `gene_id`; `config` is merged into
    /// `config.json`.
    pub async fn finish(
        mut self,
        cells: Box<dyn RecordBatchReader + Send>,
        genes: Box<dyn RecordBatchReader + Send>,
        config: Map<String, Value>,
        progress: &Progress,
    ) -> Result<Manifest> {
        let (n_cells, n_genes) = self.plan.shape;
        let Some(tally) = self.tally.take().filter(|_| self.cells == n_cells) else {
            return Err(bad(format!("{} of {n_cells} cells arrived", self.cells)));
        };
        let mut tally = tally.finish()?;
        let starts = Int64Array::from(std::mem::take(&mut tally.starts));

        let fragments = match self.encoder.take() {
            Some(encoder) => encoder.finish().await?,
            None => vec![],
        };
        let companions = companions::write(&self.place, &tally, progress).await?;
        let cells = Numbered::new(cells, "cell_integer_id", n_cells).with_starts(starts);
        self.write_metadata("cells.lance", cells).await?;
        let genes = Numbered::new(genes, "gene_integer_id", n_genes);
        self.write_metadata("genes.lance", genes).await?;
        let base = self.base.take().map(|table| table.lance);
        let expression = encode::commit(&self.place, &self.schema, base, fragments).await?;
        self.tables
            .insert(EXPRESSION.to_owned(), expression.version_id());
        self.tables.extend(companions.versions.clone());

        let appending = self.old.is_some();
        let (mut whole, parent) = self.old.take().unwrap_or_default();
        let stamp = if appending {
            "last_updated"
        } else {
            "created_at"
        };
        merge(&mut whole, describe::config(&tally, self.plan.shape, stamp));
        merge(&mut whole, config);
        let note = companions.note(&expression, tally.rows);
        ours(&mut whole).insert("companions".to_owned(), note);
        Checkpoint::remove(&self.place).await?;
        let commit = Commit {
            place: &self.place,
            operation: if appending { "append" } else { "convert" },
            parent,
            shape: self.plan.shape,
            tables: self.tables.clone(),
        };
        let manifest = commit.publish(whole).await?;
        if let Some(target) = self.target.take() {
            if !self.plan.overwrite && target.occupied().await? {
                self.target = Some(target);
                return Err(Error::Exists {
                    path: self.place.uri().to_owned(),
                });
            }
            self.place.remove_file(LOCK).await?;
            self.place.replace(&target).await?;
        }
        Ok(manifest)
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

/// The gene-major order is sorted in a local folder: where the dataset is
/// written, or that for temporary files.
fn tally(place: &Place, plan: &Plan) -> Result<Tally> {
    let spill: PathBuf = place.local().unwrap_or_else(std::env::temp_dir);
    Tally::new(
        plan.shape.1 as usize,
        plan.value_type,
        plan.by_gene.then_some(spill.as_path()),
    )
}
