//! An open dataset: its configuration and the handles of its tables. Opening
//! reads manifests only; columns are read when somebody asks for them.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{Schema, SchemaRef};
use futures::TryStreamExt;
use lance::dataset::builder::DatasetBuilder;
use lance::dataset::cleanup::CleanupPolicyBuilder;
use lance::dataset::statistics::DatasetStatisticsExt;
use lance::io::RecordBatchStream;
use polars::prelude::Column;
use tokio::sync::OnceCell;

use crate::bridge::plain_to_polars;
use crate::companions::Companions;
use crate::coo::Parts;
use crate::error::is_storage_failure;
use crate::offsets::Index;
use crate::storage::Place;
use crate::suggest::nearest;
use crate::{Config, Error, Result, missing};

/// One Lance table, and the name it goes by in messages and in SQL.
#[derive(Debug, Clone)]
pub struct Table {
    pub name: String,
    /// Its folder, relative to the dataset.
    pub folder: String,
    pub lance: Arc<lance::Dataset>,
    pub rows: u64,
    pub schema: SchemaRef,
    place: Place,
    kept: Arc<Mutex<HashMap<String, Kept>>>,
    /// Of a coordinate table: see [`crate::coo`].
    pub(crate) parts: Arc<OnceCell<Parts>>,
}

/// A whole column, in memory.
#[derive(Debug, Clone)]
struct Kept {
    array: ArrayRef,
    /// The same for Polars, once it has asked.
    series: Arc<OnceLock<Column>>,
}

/// A SLAF dataset. Cheap to clone: clones share their caches.
#[derive(Debug, Clone)]
pub struct Dataset {
    pub config: Config,
    pub place: Place,
    pub cells: Table,
    pub genes: Table,
    pub expression: Table,
    /// `layers`, `cellsxcells` and `genesxgenes`, as far as they exist.
    pub others: Vec<Table>,
    pub(crate) index: Arc<Index>,
    companions: Arc<OnceCell<Option<Companions>>>,
}

/// Bytes of columns that a table keeps for later questions, about.
const KEPT: usize = 1 << 30;
/// The tables whose floats may be missing.
const METADATA: [&str; 2] = ["cells", "genes"];
/// The tables that a dataset may lack.
const OPTIONAL: [&str; 3] = ["layers", "cellsxcells", "genesxgenes"];

impl Dataset {
    /// Opens the dataset at `uri`, slafdb's formats 0.1 to 0.5 and ours: a
    /// folder, or an address on `s3://`, `gs://`, `az://`, `hf://` or
    /// `memory://`.
    pub async fn open(uri: &str) -> Result<Self> {
        Self::open_at(Place::new(uri, HashMap::new()).await?, None).await
    }

    /// The same of a place, as it was at `version`.
    pub async fn open_at(place: Place, version: Option<u64>) -> Result<Self> {
        let config = Config::read(&place, version).await?;
        let pins = config.manifest().map(|m| m.tables).unwrap_or_default();
        let open = |name: &'static str| {
            let folder = config.table_path(name).unwrap_or_default().to_owned();
            let pin = pins.get(&folder).copied();
            Table::open(name, folder, pin, place.clone())
        };
        let (cells, genes, expression) =
            tokio::try_join!(open("cells"), open("genes"), open("expression"))?;
        let mut others = Vec::new();
        for name in OPTIONAL {
            if config.table_path(name).is_some() {
                others.push(open(name).await?);
            }
        }
        let dataset = Self {
            config,
            place,
            cells,
            genes,
            expression,
            others,
            index: Arc::default(),
            companions: Arc::default(),
        };
        dataset.check()?;
        Ok(dataset)
    }

    /// Cells × genes.
    pub fn shape(&self) -> (u64, u64) {
        self.config.shape()
    }

    /// A table by its name: `cells`, `genes`, `expression`, `layers`, …
    pub fn table(&self, name: &str) -> Result<&Table> {
        self.tables()
            .find(|table| table.name == name)
            .ok_or_else(|| Error::Unknown {
                kind: "table",
                name: name.to_owned(),
                near: nearest(name, self.tables().map(|t| t.name.as_str())),
            })
    }

    pub fn tables(&self) -> impl Iterator<Item = &Table> {
        [&self.cells, &self.genes, &self.expression]
            .into_iter()
            .chain(&self.others)
    }

    /// What is wrong with the dataset's `cell_start_index`, if anything; it has
    /// been repaired in memory.
    pub async fn defect(&self) -> Result<Option<String>> {
        Ok(self.offsets().await?.defect.clone())
    }

    /// The gene-major copy and the sums, if they were made of this very
    /// expression table.
    pub async fn companions(&self) -> Result<Option<&Companions>> {
        let opened = self.companions.get_or_try_init(|| Companions::open(self));
        Ok(opened.await?.as_ref())
    }

    fn check(&self) -> Result<()> {
        let (cells, genes) = self.shape();
        for (table, expected) in [(&self.cells, cells), (&self.genes, genes)] {
            if table.rows != expected {
                return Err(table.corrupt(format!(
                    "it has {} rows where config.json says {expected}",
                    table.rows
                )));
            }
        }
        for (table, columns) in [
            (&self.cells, &["cell_integer_id", "cell_id"][..]),
            (&self.genes, &["gene_integer_id", "gene_id"]),
            (
                &self.expression,
                &["cell_integer_id", "gene_integer_id", "value"],
            ),
        ] {
            for column in columns {
                if table.schema.field_with_name(column).is_err() {
                    return Err(table.corrupt(format!("it lacks the column `{column}`")));
                }
            }
        }
        Ok(())
    }
}

impl Table {
    /// Opens `folder` of `place` at the version `pin`, or the newest.
    pub(crate) async fn open(
        name: &str,
        folder: String,
        pin: Option<u64>,
        place: Place,
    ) -> Result<Self> {
        let broken = |reason: String| Error::Corrupt {
            table: name.to_owned(),
            path: place.uri().to_owned(),
            reason,
        };
        if let Some(root) = place.local()
            && !root.join(&folder).is_dir()
        {
            return Err(broken(format!("the folder `{folder}` is missing")));
        }
        let load = async |pin: Option<u64>| {
            let mut builder = DatasetBuilder::from_uri(place.table_uri(&folder))
                .with_session(place.session())
                .with_storage_options(place.options());
            if let Some(version) = pin {
                builder = builder.with_version(version);
            }
            let lance = builder.load().await?;
            let rows = lance.count_rows(None).await? as u64;
            Ok::<_, lance::Error>((Arc::new(lance), rows))
        };
        let opened = match load(pin).await {
            // Another tool has removed the version that belongs here.
            Err(e) if pin.is_some() && !is_storage_failure(&e.to_string()) => load(None).await,
            opened => opened,
        };
        let (lance, rows) = opened.map_err(|e| {
            let text = e.to_string();
            if is_storage_failure(&text) {
                Error::storage(place.uri(), &text)
            } else {
                broken(crate::error::first_line(&text))
            }
        })?;
        if let Some(root) = place.local()
            && let Some(reason) = truncation(&root.join(&folder).join("data"), &lance)
        {
            return Err(broken(reason));
        }
        let mut schema = Arc::new(Schema::from(lance.schema()));
        if METADATA.contains(&name) {
            schema = missing::schema(&schema);
        }
        Ok(Self {
            name: name.to_owned(),
            folder,
            schema,
            lance,
            rows,
            place,
            kept: Arc::default(),
            parts: Arc::default(),
        })
    }

    pub fn column_names(&self) -> impl Iterator<Item = &str> {
        self.schema.fields().iter().map(|f| f.name().as_str())
    }

    /// Reads whole columns, in row order, as one batch.
    pub async fn read(&self, columns: &[&str]) -> Result<RecordBatch> {
        self.check(columns)?;
        let batches = async {
            let mut scanner = self.lance.scan();
            scanner.project(columns)?.scan_in_order(true);
            let stream = scanner.try_into_stream().await?;
            let schema: SchemaRef = stream.schema();
            Ok((schema, stream.try_collect::<Vec<_>>().await?))
        };
        let (schema, batches): (SchemaRef, Vec<RecordBatch>) = batches
            .await
            .map_err(|e: lance::Error| self.unreadable(&e))?;
        self.as_told(concat_batches(&schema, &batches)?)
    }

    /// Rows as they were read, with what is missing as NULL.
    pub(crate) fn as_told(&self, batch: RecordBatch) -> Result<RecordBatch> {
        if METADATA.contains(&self.name.as_str()) {
            return missing::nan_as_null(&batch);
        }
        Ok(batch)
    }

    /// Refuses columns that the table lacks.
    pub(crate) fn check(&self, columns: &[&str]) -> Result<()> {
        let missing = |column: &&&str| self.schema.field_with_name(column).is_err();
        match columns.iter().find(missing) {
            None => Ok(()),
            Some(column) => Err(Error::Unknown {
                kind: "column",
                name: (*column).to_owned(),
                near: nearest(column, self.column_names()),
            }),
        }
    }

    /// Whole columns, which are kept for who asks next.
    pub(crate) async fn kept(&self, columns: &[&str]) -> Result<Vec<ArrayRef>> {
        let kept = self.keep(columns).await?;
        Ok(kept.into_iter().map(|column| column.array).collect())
    }

    /// The same over the same buffers, for Polars.
    pub(crate) async fn kept_in_polars(&self, columns: &[&str]) -> Result<Vec<Column>> {
        let kept = self.keep(columns).await?;
        let in_polars = kept.iter().zip(columns).map(|(kept, name)| {
            if let Some(known) = kept.series.get() {
                return Ok(known.clone());
            }
            let new = plain_to_polars(name, &kept.array)?;
            Ok(kept.series.get_or_init(|| new).clone())
        });
        in_polars.collect()
    }

    async fn keep(&self, columns: &[&str]) -> Result<Vec<Kept>> {
        let lock = || self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found: HashMap<String, Kept> = lock().clone();
        let known = |column: &&&str| !found.contains_key(**column);
        let missing: Vec<&str> = columns.iter().filter(known).copied().collect();
        if !missing.is_empty() {
            let read = self.read(&missing).await?;
            let size = |column: &ArrayRef| column.get_array_memory_size();
            let new: usize = read.columns().iter().map(size).sum();
            let mut kept = lock();
            if kept.values().map(|kept| size(&kept.array)).sum::<usize>() + new > KEPT {
                kept.clear();
            }
            for (name, array) in missing.iter().zip(read.columns()) {
                let column = Kept {
                    array: Arc::clone(array),
                    series: Arc::default(),
                };
                kept.insert((*name).to_owned(), column.clone());
                found.insert((*name).to_owned(), column);
            }
        }
        let columns = columns.iter().filter_map(|name| found.get(*name).cloned());
        Ok(columns.collect())
    }

    /// Bytes of each column on disk.
    pub(crate) async fn column_bytes(&self) -> Result<Vec<(String, u64)>> {
        let told = self.lance.calculate_data_stats().await;
        let told = told.map_err(|e| self.unreadable(&e))?;
        let fields = told.fields.into_iter().filter_map(|field| {
            let name = &self.lance.schema().field_by_id(field.id as i32)?.name;
            Some((name.clone(), field.bytes_on_disk))
        });
        Ok(fields.collect())
    }

    /// Lance failed to read what the manifest promises.
    pub(crate) fn unreadable(&self, error: &lance::Error) -> Error {
        let text = error.to_string();
        if is_storage_failure(&text) {
            return Error::storage(self.place.uri(), &text);
        }
        self.corrupt(crate::error::first_line(&text))
    }

    /// Removes all of Lance's versions but `pinned` and the newest, and files
    /// that none of them names. What a died writer left as the newest is
    /// superseded first.
    pub(crate) async fn clean(&self, pinned: &BTreeSet<u64>) -> Result<()> {
        let outcome = async {
            let mut lance = (*self.lance).clone();
            if lance.latest_version_id().await? != lance.version_id() {
                lance.restore().await?;
            }
            let versions = lance.versions().await?;
            let gone: Vec<u64> = versions
                .iter()
                .map(|v| v.version)
                .filter(|v| !pinned.contains(v) && *v != lance.version_id())
                .collect();
            let mut policy = CleanupPolicyBuilder::default().delete_unverified(true);
            policy = if gone.is_empty() {
                policy.before_timestamp(chrono::DateTime::UNIX_EPOCH)
            } else {
                policy.versions(gone)?
            };
            lance.cleanup_with_policy(policy.build()).await
        };
        outcome.await.map_err(|e| self.unreadable(&e))?;
        Ok(())
    }

    pub(crate) fn corrupt(&self, reason: String) -> Error {
        Error::Corrupt {
            table: self.name.clone(),
            path: self.place.uri().to_owned(),
            reason,
        }
    }
}

/// A data file that is not as long as the manifest says. A question that is
/// answered from stored sums would not come upon it.
fn truncation(data: &Path, lance: &lance::Dataset) -> Option<String> {
    let fragments = lance.fragments().iter();
    let mut files = fragments.flat_map(|fragment| &fragment.files);
    files.find_map(|file| {
        let whole = file.file_size_bytes.get()?.get();
        let found = std::fs::metadata(data.join(&file.path)).map_or(0, |m| m.len());
        let path = &file.path;
        let here = file.base_id.is_none();
        (here && found != whole).then(|| format!("its file `{path}` has {found} of {whole} bytes"))
    })
}
