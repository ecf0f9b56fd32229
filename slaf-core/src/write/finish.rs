//! Finishes a writer: writes metadata and companion tables, and publishes the
//! dataset.

use arrow::array::{Int64Array, RecordBatchReader};
use serde_json::{Map, Value};

use super::checkpoint::Checkpoint;
use super::commit::Commit;
use super::companion_tables;
use super::config_entries::{merge, new_config};
use super::encoder::{self, EXPRESSION};
use super::lance_rows::write_stream;
use super::numbered_rows::NumberedRows;
use super::staging::LOCK;
use super::writer::Writer;
use crate::dataset::config::slaf_entries;
use crate::dataset::manifest::Manifest;
use crate::{Error, Progress, Result};

impl Writer {
    async fn write_metadata(&mut self, folder: &str, rows: NumberedRows) -> Result<()> {
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
        let Some(stats) = self.stats.take().filter(|_| self.cells == n_cells) else {
            return Err(Error::bad_matrix(format!(
                "{} of {n_cells} cells arrived",
                self.cells
            )));
        };
        let mut stats = stats.finish()?;
        let starts = Int64Array::from(std::mem::take(&mut stats.starts));

        let fragments = match self.encoder.take() {
            Some(encoder) => encoder.finish().await?,
            None => vec![],
        };
        let companions = companion_tables::write(&self.place, &stats, progress).await?;
        let cells = NumberedRows::new(cells, "cell_integer_id", n_cells).with_starts(starts);
        self.write_metadata("cells.lance", cells).await?;
        let genes = NumberedRows::new(genes, "gene_integer_id", n_genes);
        self.write_metadata("genes.lance", genes).await?;
        let base = self.base.take().map(|table| table.lance);
        let expression = encoder::commit(&self.place, &self.schema, base, fragments).await?;
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
        merge(&mut whole, new_config(&stats, self.plan.shape, stamp));
        merge(&mut whole, config);
        let note = companions.note(&expression, stats.rows);
        slaf_entries(&mut whole).insert("companions".to_owned(), note);
        Checkpoint::remove(&self.place).await?;
        let commit = Commit {
            place: &self.place,
            operation: if appending { "append" } else { "convert" },
            parent,
            shape: self.plan.shape,
            tables: self.tables.clone(),
        };
        let manifest = commit.publish(whole).await?;
        self.publish().await?;
        Ok(manifest)
    }

    /// Moves a new dataset to its target.
    async fn publish(&mut self) -> Result<()> {
        let Some(target) = self.target.take() else {
            return Ok(());
        };
        if !self.plan.overwrite && target.occupied().await? {
            self.target = Some(target);
            return Err(Error::Exists {
                path: self.place.uri().to_owned(),
            });
        }
        self.place.remove_file(LOCK).await?;
        self.place.replace(&target).await
    }
}
