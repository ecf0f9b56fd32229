//! A new version of a dataset with more or other columns: obs, var, embeddings,
//! layers. Only what changed is written. Lance versions each table when it is
//! changed; readers see the changes when [`Revision::publish`] records these
//! versions together.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatchReader;
use arrow::datatypes::{Field, Schema};
use lance::dataset::NewColumnTransform;
use serde_json::{Map, Value};

use super::commit::Commit;
use super::coordinate_writer::CoordinateWriter;
use super::lance_rows::failed;
use crate::dataset::manifest::Manifest;
use crate::{Config, CoordinateTable, Dataset, Error, Place, Result, ValueType};

/// Changes that are published in one step. If it is dropped before, readers of
/// this crate see none of them.
pub struct Revision {
    dataset: Dataset,
    /// The changed tables, by folder.
    tables: BTreeMap<String, Arc<lance::Dataset>>,
    versions: BTreeMap<String, u64>,
}

impl Revision {
    /// Starts a change of `dataset`. Fails if somebody else has changed it
    /// since it was opened.
    pub async fn new(dataset: &Dataset) -> Result<Self> {
        let newest = Config::read(&dataset.place, None).await?.manifest();
        if newest != dataset.config.manifest() {
            return Err(Error::Conflict {
                uri: dataset.place.uri().to_owned(),
            });
        }
        Ok(Self {
            dataset: dataset.clone(),
            tables: BTreeMap::new(),
            versions: BTreeMap::new(),
        })
    }

    pub fn place(&self) -> &Place {
        &self.dataset.place
    }

    /// Adds columns to a table, with one row for each of its rows. Existing
    /// columns of these names are replaced.
    pub async fn put(
        &mut self,
        table: &str,
        columns: Box<dyn RecordBatchReader + Send>,
    ) -> Result<()> {
        let names: Vec<String> = columns
            .schema()
            .fields()
            .iter()
            .map(|field| field.name().clone())
            .collect();
        self.drop_columns(table, &names).await?;
        self.add(table, NewColumnTransform::Reader(columns)).await
    }

    /// Removes columns from a table, if it has them.
    pub async fn drop_columns(&mut self, table: &str, names: &[String]) -> Result<()> {
        let folder = self.dataset.table(table)?.folder.clone();
        let mut lance = self.current(table).await?;
        let present = |name: &&str| lance.schema().field(name).is_some();
        let names: Vec<&str> = names.iter().map(String::as_str).filter(present).collect();
        if names.is_empty() {
            return Ok(());
        }
        let dropped = lance.drop_columns(&names).await;
        dropped.map_err(|e| failed(&self.dataset.place, &folder, &e))?;
        self.changed(folder, lance);
        Ok(())
    }

    /// Starts writing matrices of `layers`, `obsp` or `varp`: in addition to
    /// those in the table, or instead of them.
    pub async fn begin_coordinate(
        &mut self,
        kind: CoordinateTable,
        width: u64,
        matrices: &[(String, ValueType)],
        replace: bool,
    ) -> Result<CoordinateWriter> {
        let place = self.dataset.place.clone();
        let start = |folder: &str, base| {
            CoordinateWriter::start(&place, folder, base, kind, width, matrices)
        };
        let Ok(table) = self.dataset.table(kind.table()) else {
            return Ok(start(&format!("{}.lance", kind.table()), None));
        };
        let folder = table.folder.clone();
        if replace {
            return Ok(start(&folder, None));
        }
        let names: Vec<String> = matrices.iter().map(|(name, _)| name.clone()).collect();
        self.drop_columns(kind.table(), &names).await?;
        let fields: Vec<Field> = matrices
            .iter()
            .map(|(name, kind)| Field::new(name, kind.arrow(), true))
            .collect();
        let nulls = NewColumnTransform::AllNulls(Arc::new(Schema::new(fields)));
        self.add(kind.table(), nulls).await?;
        Ok(start(&folder, self.tables.get(&folder).cloned()))
    }

    pub async fn end_coordinate(&mut self, writer: CoordinateWriter) -> Result<()> {
        let folder = writer.folder.clone();
        let version = writer.finish().await?;
        self.versions.insert(folder, version);
        Ok(())
    }

    /// Publishes `config` and the changed tables as the dataset's next version.
    pub async fn publish(self, config: Map<String, Value>, operation: &str) -> Result<Manifest> {
        let old = self.dataset.tables();
        let mut tables: BTreeMap<String, u64> = old
            .map(|table| (table.folder.clone(), table.lance.version_id()))
            .collect();
        tables.extend(self.versions);
        let commit = Commit {
            place: &self.dataset.place,
            operation,
            parent: self.dataset.config.manifest().map(|m| m.version),
            shape: self.dataset.shape(),
            tables,
        };
        commit.publish(config).await
    }

    /// Changes a table with `work`, and returns it.
    pub(crate) async fn change(
        &mut self,
        table: &str,
        work: impl AsyncFnOnce(&mut lance::Dataset) -> lance::Result<()>,
    ) -> Result<lance::Dataset> {
        let folder = self.dataset.table(table)?.folder.clone();
        let mut lance = self.current(table).await?;
        let done = work(&mut lance).await;
        done.map_err(|e| failed(&self.dataset.place, &folder, &e))?;
        self.changed(folder, lance.clone());
        Ok(lance)
    }

    async fn add(&mut self, table: &str, columns: NewColumnTransform) -> Result<()> {
        let folder = self.dataset.table(table)?.folder.clone();
        let mut lance = self.current(table).await?;
        let added = lance.add_columns(columns, None, None).await;
        added.map_err(|e| failed(&self.dataset.place, &folder, &e))?;
        self.changed(folder, lance);
        Ok(())
    }

    /// A table in the version that belongs to the dataset. What a killed writer
    /// left is replaced.
    async fn current(&self, table: &str) -> Result<lance::Dataset> {
        let table = self.dataset.table(table)?;
        if let Some(changed) = self.tables.get(&table.folder) {
            return Ok((**changed).clone());
        }
        let mut lance = (*table.lance).clone();
        let settled = async {
            if lance.latest_version_id().await? != lance.version_id() {
                lance.restore().await?;
            }
            Ok(())
        };
        settled
            .await
            .map_err(|e: lance::Error| table.unreadable(&e))?;
        Ok(lance)
    }

    fn changed(&mut self, folder: String, lance: lance::Dataset) {
        self.versions.insert(folder.clone(), lance.version_id());
        self.tables.insert(folder, Arc::new(lance));
    }
}
