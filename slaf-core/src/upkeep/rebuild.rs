//! New versions of a dataset in which everything derived from X is made again.

use std::collections::BTreeMap;

use arrow::array::{Int64Array, RecordBatchIterator};
use serde_json::{Map, Value};

use crate::dataset::config::slaf_entries;
use crate::dataset::manifest::Manifest;
use crate::write::commit::Commit;
use crate::write::companion_tables;
use crate::write::config_entries::statistics;
use crate::write::expression_part::{ExpressionPart, parts_of};
use crate::write::expression_stats::{ExpressionStats, writable};
use crate::write::lance_rows::write_stream;
use crate::write::numbered_rows::NumberedRows;
use crate::{Dataset, Progress, Result, ValueType, WritePlan};

/// Makes the companion tables of a dataset again.
pub struct Indexing {
    dataset: Dataset,
    plan: WritePlan,
    stats: ExpressionStats,
}

impl Indexing {
    /// With `by_gene`, the gene-major copy is made, too.
    pub fn of(dataset: &Dataset, by_gene: bool) -> Result<Self> {
        let stored = dataset.expression.schema.field_with_name("value")?;
        let plan = WritePlan {
            shape: dataset.shape(),
            value_type: writable(stored.data_type())?,
            counts: false,
            by_gene,
            overwrite: false,
            fragment_rows: None,
            source: None,
        };
        Ok(Self {
            dataset: dataset.clone(),
            stats: ExpressionStats::of_plan(&dataset.place, &plan)?,
            plan,
        })
    }

    /// The number of parts of the pass over X.
    pub fn parts(&self) -> u64 {
        parts_of(self.dataset.expression.rows)
    }

    /// A part of the pass. Several processes can read parts; one takes them.
    pub async fn part(dataset: &Dataset, by_gene: bool, number: u64) -> Result<Vec<u8>> {
        let sorted = match by_gene {
            true => Some(Self::of(dataset, false)?.plan.value_type),
            false => None,
        };
        let genes = dataset.shape().1 as usize;
        let part = ExpressionPart::read(&dataset.expression, number, genes, sorted);
        part.await?.to_bytes()
    }

    /// Takes the next part. Parts come in order.
    pub fn take(&mut self, part: &[u8]) -> Result<()> {
        let part = ExpressionPart::from_bytes(part)?;
        let table = &self.dataset.expression;
        self.stats.append(table, &part, self.plan.shape.0)
    }

    /// Makes the whole pass in this process.
    pub async fn replay(&mut self, progress: &Progress) -> Result<()> {
        let table = &self.dataset.expression;
        self.stats.replay(table, self.plan.shape.0, progress).await
    }

    /// Writes the tables, and publishes them as the next version.
    pub async fn publish(mut self, progress: &Progress) -> Result<Manifest> {
        self.stats.end_cells(self.plan.shape.0);
        let (dataset, stats) = (&self.dataset, &self.stats);
        let companions = companion_tables::write(&dataset.place, stats, progress).await?;
        let note = companions.note(&dataset.expression.lance, stats.rows);
        change(dataset, "index", companions.versions, stats, |config| {
            slaf_entries(config).insert("companions".to_owned(), note);
        })
        .await
    }
}

/// Writes the correct `cell_start_index`, ids and statistics. `None` if they
/// are already correct. Progress counts rows of X.
pub async fn repair(dataset: &Dataset, progress: &Progress) -> Result<Option<Manifest>> {
    let counted = dataset.config.value_count();
    let miscounted = counted.is_some_and(|n| n != dataset.expression.rows);
    if dataset.defect().await?.is_none() && !miscounted {
        return Ok(None);
    }
    let (n_cells, n_genes) = dataset.shape();
    let mut stats = ExpressionStats::new(n_genes as usize, ValueType::F64, None)?;
    stats.replay(&dataset.expression, n_cells, progress).await?;
    let names: Vec<&str> = dataset
        .cells
        .column_names()
        .filter(|name| !["cell_start_index", "cell_integer_id"].contains(name))
        .collect();
    let cells = dataset.cells.read(&names).await?;
    let cells = RecordBatchIterator::new([Ok(cells.clone())], cells.schema());
    let starts = Int64Array::from(stats.starts.clone());
    let cells = NumberedRows::new(Box::new(cells), "cell_integer_id", n_cells).with_starts(starts);
    let folder = dataset.cells.folder.clone();
    let schema = cells.schema();
    let version = write_stream(&dataset.place, &folder, &schema, cells.stream()).await?;
    let tables = BTreeMap::from([(folder, version)]);
    change(dataset, "repair", tables, &stats, |_| ())
        .await
        .map(Some)
}

/// A version of `dataset` in which some tables are new.
async fn change(
    dataset: &Dataset,
    operation: &str,
    new: BTreeMap<String, u64>,
    stats: &ExpressionStats,
    edit: impl FnOnce(&mut Map<String, Value>),
) -> Result<Manifest> {
    let mut tables: BTreeMap<String, u64> = dataset
        .tables()
        .map(|table| (table.folder.clone(), table.lance.version_id()))
        .collect();
    tables.extend(new);
    let mut config = dataset.config.as_json().clone();
    config.insert("metadata".to_owned(), statistics(stats, dataset.shape()));
    edit(&mut config);
    let commit = Commit {
        place: &dataset.place,
        operation,
        parent: dataset.config.manifest().map(|m| m.version),
        shape: dataset.shape(),
        tables,
    };
    commit.publish(config).await
}
