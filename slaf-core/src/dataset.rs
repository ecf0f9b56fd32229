//! An open dataset: its configuration and the handles of its tables. Opening
//! reads manifests only; columns are read when somebody asks for them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::{Schema, SchemaRef};
use futures::TryStreamExt;
use lance::dataset::builder::DatasetBuilder;
use lance::io::RecordBatchStream;
use lance::session::Session;
use tokio::sync::OnceCell;

use crate::offsets::Offsets;
use crate::suggest::nearest;
use crate::{Config, Error, Result};

/// One Lance table, and the name it goes by in messages and in SQL.
#[derive(Debug, Clone)]
pub struct Table {
    pub name: String,
    pub lance: Arc<lance::Dataset>,
    pub rows: u64,
    pub schema: SchemaRef,
    root: Arc<Path>,
}

/// A SLAF dataset. Cheap to clone: clones share their caches.
#[derive(Debug, Clone)]
pub struct Dataset {
    pub config: Config,
    pub root: Arc<Path>,
    pub cells: Table,
    pub genes: Table,
    pub expression: Table,
    /// `layers`, `cellsxcells` and `genesxgenes`, as far as they exist.
    pub others: Vec<Table>,
    offsets: Arc<OnceCell<Offsets>>,
}

/// The tables that a dataset may lack.
const OPTIONAL: [&str; 3] = ["layers", "cellsxcells", "genesxgenes"];

impl Dataset {
    /// Opens the dataset in the local folder `path`, slafdb's formats 0.1 to
    /// 0.5 and ours.
    pub async fn open(path: &str) -> Result<Self> {
        if let Some((scheme, _)) = path.split_once("://") {
            return Err(Error::Engine {
                message: format!(
                    "`{path}` is on `{scheme}`, and this build reads local folders only."
                ),
            });
        }
        let root: Arc<Path> = PathBuf::from(path).into();
        let config = Config::read(&root)?;
        let session = Arc::new(Session::default());
        let open = |name: &'static str| {
            let at = config.table_path(name).map(|relative| root.join(relative));
            Table::open(name, at, Arc::clone(&root), Arc::clone(&session))
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
            root,
            cells,
            genes,
            expression,
            others,
            offsets: Arc::default(),
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

    /// Where each cell's rows begin in `expression`, verified and, where slafdb
    /// stored them wrongly, repaired.
    pub(crate) async fn offsets(&self) -> Result<&Offsets> {
        self.offsets.get_or_try_init(|| Offsets::load(self)).await
    }

    /// What is wrong with the dataset's `cell_start_index`, if anything; it has
    /// been repaired in memory.
    pub async fn defect(&self) -> Result<Option<String>> {
        Ok(self.offsets().await?.defect.clone())
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
    async fn open(
        name: &str,
        at: Option<PathBuf>,
        root: Arc<Path>,
        session: Arc<Session>,
    ) -> Result<Self> {
        let broken = |reason: String| Error::Corrupt {
            table: name.to_owned(),
            path: root.display().to_string(),
            reason,
        };
        let at = at.ok_or_else(|| broken("config.json does not name it".into()))?;
        if !at.is_dir() {
            return Err(broken(format!("the folder `{}` is missing", at.display())));
        }
        let opened = async {
            let lance = DatasetBuilder::from_uri(at.to_string_lossy())
                .with_session(session)
                .load()
                .await?;
            let rows = lance.count_rows(None).await? as u64;
            Ok::<_, lance::Error>((Arc::new(lance), rows))
        };
        let (lance, rows) = opened
            .await
            .map_err(|e| broken(crate::error::first_line(&e.to_string())))?;
        Ok(Self {
            name: name.to_owned(),
            schema: Arc::new(Schema::from(lance.schema())),
            lance,
            rows,
            root,
        })
    }

    pub fn column_names(&self) -> impl Iterator<Item = &str> {
        self.schema.fields().iter().map(|f| f.name().as_str())
    }

    /// Reads whole columns, in row order, as one batch.
    pub async fn read(&self, columns: &[&str]) -> Result<RecordBatch> {
        for column in columns {
            if self.schema.field_with_name(column).is_err() {
                return Err(Error::Unknown {
                    kind: "column",
                    name: (*column).to_owned(),
                    near: nearest(column, self.column_names()),
                });
            }
        }
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
        Ok(concat_batches(&schema, &batches)?)
    }

    /// Lance failed to read what the manifest promises.
    pub(crate) fn unreadable(&self, error: &lance::Error) -> Error {
        self.corrupt(crate::error::first_line(&error.to_string()))
    }

    pub(crate) fn corrupt(&self, reason: String) -> Error {
        Error::Corrupt {
            table: self.name.clone(),
            path: self.root.display().to_string(),
            reason,
        }
    }
}
