//! An open dataset: its configuration and the handles of its tables. Opening reads
//! only manifests; columns are read when they are first used.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::OnceCell;

use super::cell_offsets::CellOffsets;
use super::companions::Companions;
use super::config::Config;
use crate::{Error, Place, Result, Table, nearest};

/// A SLAF dataset. Cheap to clone: clones share their caches.
#[derive(Debug, Clone)]
pub struct Dataset {
    pub config: Config,
    pub place: Place,
    pub cells: Table,
    pub genes: Table,
    pub expression: Table,
    /// `layers`, `cellsxcells` and `genesxgenes`, if they exist.
    pub others: Vec<Table>,
    pub(crate) cell_offsets: Arc<CellOffsets>,
    companions: Arc<OnceCell<Option<Companions>>>,
}

/// The tables that a dataset need not have.
const OPTIONAL: [&str; 3] = ["layers", "cellsxcells", "genesxgenes"];

impl Dataset {
    /// Opens the dataset at `uri`, in slafdb's formats 0.1 to 0.5 or ours: a
    /// folder, or an address on `s3://`, `gs://`, `az://`, `hf://` or
    /// `memory://`.
    pub async fn open(uri: &str) -> Result<Self> {
        Self::open_at(Place::new(uri, HashMap::new()).await?, None).await
    }

    /// Opens the dataset at a place, in its state at `version`.
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
            cell_offsets: Arc::new(CellOffsets::new(&cells, &expression, config.is_ours())),
            config,
            place,
            cells,
            genes,
            expression,
            others,
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

    /// What is wrong with the dataset's `cell_start_index`, if anything. It is
    /// repaired in memory.
    pub async fn defect(&self) -> Result<Option<String>> {
        Ok(self.cell_offsets.whole().await?.defect.clone())
    }

    /// The gene-major copy and the sums, if they were made from this version of
    /// the expression table.
    pub async fn companions(&self) -> Result<Option<&Companions>> {
        let open = || Companions::open(&self.config, &self.place, &self.expression);
        Ok(self.companions.get_or_try_init(open).await?.as_ref())
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
