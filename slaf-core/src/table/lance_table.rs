//! A Lance table: its columns and rows, and checks of them.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::concat_batches;
use arrow::datatypes::{Schema, SchemaRef};
use futures::TryStreamExt;
use lance::dataset::builder::DatasetBuilder;
use lance::dataset::cleanup::CleanupPolicyBuilder;
use lance::dataset::statistics::DatasetStatisticsExt;
use lance::io::RecordBatchStream;
use polars::prelude::Column;
use tokio::sync::OnceCell;

use super::column_cache::{CachedColumn, ColumnCache};
use super::column_codes::Codes;
use super::coordinate_row_offsets::Stretches;
use crate::ground::error::{first_line, is_storage_failure};
use crate::ground::nan_as_null;
use crate::{Error, Place, Result, nearest};

/// A Lance table, with its name in messages and in SQL.
#[derive(Debug, Clone)]
pub struct Table {
    pub name: String,
    /// The folder, relative to the dataset.
    pub folder: String,
    pub lance: Arc<lance::Dataset>,
    pub rows: u64,
    pub schema: SchemaRef,
    place: Place,
    cache: Arc<ColumnCache>,
    /// For coordinate tables: the rows of each row id. Read when some of them are first
    /// requested.
    pub(crate) stretches: Arc<OnceCell<Stretches>>,
}

/// The schema without the settings of Lance's encoder. DataFusion's operators compare the
/// metadata of fields.
fn without_encodings(schema: &Schema) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| {
        let mut metadata = field.metadata().clone();
        metadata.retain(|key, _| !key.starts_with("lance-encoding:"));
        field.as_ref().clone().with_metadata(metadata)
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// Tables whose floats may be missing.
const METADATA: [&str; 2] = ["cells", "genes"];

impl Table {
    /// Opens `folder` in `place` at the version `pin`, or at the newest one.
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
            // Another tool has removed this version, so the newest one is used.
            Err(e) if pin.is_some() && !is_storage_failure(&e.to_string()) => load(None).await,
            opened => opened,
        };
        let (lance, rows) = opened.map_err(|e| {
            let text = e.to_string();
            if is_storage_failure(&text) {
                Error::storage(place.uri(), &text)
            } else {
                broken(first_line(&text))
            }
        })?;
        if let Some(root) = place.local()
            && let Some(reason) = truncation(&root.join(&folder).join("data"), &lance)
        {
            return Err(broken(reason));
        }
        let mut schema = without_encodings(&Schema::from(lance.schema()));
        if METADATA.contains(&name) {
            schema = nan_as_null::of_schema(&schema);
        }
        Ok(Self {
            name: name.to_owned(),
            folder,
            schema,
            lance,
            rows,
            place,
            cache: Arc::default(),
            stretches: Arc::default(),
        })
    }

    pub fn column_names(&self) -> impl Iterator<Item = &str> {
        self.schema.fields().iter().map(|f| f.name().as_str())
    }

    /// Reads whole columns in stored order, as one batch. Fails if a column does not
    /// exist.
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
        self.with_nulls(concat_batches(&schema, &batches)?)
    }

    /// Replaces missing values in rows of cells or genes by NULL.
    pub(crate) fn with_nulls(&self, batch: RecordBatch) -> Result<RecordBatch> {
        if METADATA.contains(&self.name.as_str()) {
            return nan_as_null::of_rows(&batch);
        }
        Ok(batch)
    }

    /// Fails if the table lacks one of the columns.
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

    /// Some columns and rows of the table.
    pub(crate) fn batch(
        &self,
        names: &[&str],
        columns: Vec<ArrayRef>,
        rows: usize,
    ) -> Result<RecordBatch> {
        self.check(names)?;
        let fields = names
            .iter()
            .filter_map(|name| self.schema.field_with_name(name).ok());
        let schema = Arc::new(Schema::new(fields.cloned().collect::<Vec<_>>()));
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(
            schema, columns, &options,
        )?)
    }

    /// Whole columns, which are kept in memory.
    pub(crate) async fn cached(&self, columns: &[&str]) -> Result<Vec<ArrayRef>> {
        let cached = self.cache(columns).await?;
        Ok(cached.into_iter().map(|column| column.array).collect())
    }

    /// Whole columns as Polars columns, with the same buffers.
    pub(crate) async fn cached_in_polars(&self, columns: &[&str]) -> Result<Vec<Column>> {
        let cached = self.cache(columns).await?;
        let cached = cached.iter().zip(columns);
        cached
            .map(|(column, name)| column.in_polars(name))
            .collect()
    }

    /// The codes of whole columns, which are kept in memory; `None` if a column has no
    /// codes.
    pub(crate) async fn codes(&self, columns: &[&str]) -> Result<Option<Vec<Arc<Codes>>>> {
        let cached = self.cache(columns).await?;
        cached.iter().map(CachedColumn::codes).collect()
    }

    async fn cache(&self, columns: &[&str]) -> Result<Vec<CachedColumn>> {
        let mut found = self.cache.columns();
        let unknown = |column: &&&str| !found.contains_key(**column);
        let missing: Vec<&str> = columns.iter().filter(unknown).copied().collect();
        if !missing.is_empty() {
            let read = self.read(&missing).await?;
            found.extend(self.cache.insert(&missing, read.columns()));
        }
        let columns = columns.iter().filter_map(|name| found.get(*name).cloned());
        Ok(columns.collect())
    }

    /// The size of the table's files in bytes, from its manifest. Files whose size is
    /// not in the manifest do not count. Reads nothing.
    pub fn bytes(&self) -> u64 {
        let files = self.lance.fragments().iter().flat_map(|f| &f.files);
        files
            .filter_map(|file| Some(file.file_size_bytes.get()?.get()))
            .sum()
    }

    /// The size of each column on disk, in bytes.
    pub async fn column_bytes(&self) -> Result<Vec<(String, u64)>> {
        let stats = self.lance.calculate_data_stats().await;
        let stats = stats.map_err(|e| self.unreadable(&e))?;
        let fields = stats.fields.into_iter().filter_map(|field| {
            let name = &self.lance.schema().field_by_id(field.id as i32)?.name;
            Some((name.clone(), field.bytes_on_disk))
        });
        Ok(fields.collect())
    }

    /// The error if Lance cannot read what the manifest lists.
    pub(crate) fn unreadable(&self, error: &lance::Error) -> Error {
        let text = error.to_string();
        if is_storage_failure(&text) {
            return Error::storage(self.place.uri(), &text);
        }
        self.corrupt(first_line(&text))
    }

    /// Removes all versions except `pinned` and the newest one, and files that no
    /// version uses. If the newest version is that of a writer that died, it is
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

/// A message if a data file is shorter or longer than the manifest says. Queries that
/// use only stored sums would not notice it.
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
