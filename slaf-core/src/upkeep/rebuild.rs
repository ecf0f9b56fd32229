//! New versions of a dataset in which everything derived from X is made again.

use std::collections::BTreeMap;

use arrow::array::{Int64Array, RecordBatchIterator};
use serde_json::{Map, Value};

use crate::dataset::config::slaf_entries;
use crate::dataset::manifest::Manifest;
use crate::write::commit::Commit;
use crate::write::companion_tables;
use crate::write::config_entries::statistics;
use crate::write::expression_stats::{ExpressionStats, writable};
use crate::write::lance_rows::write_stream;
use crate::write::numbered_rows::NumberedRows;
use crate::{Dataset, Progress, Result, ValueType, WritePlan};

/// Makes the companion tables of `dataset` again.
pub async fn index(dataset: &Dataset, by_gene: bool, progress: &Progress) -> Result<Manifest> {
    let plan = WritePlan {
        shape: dataset.shape(),
        value_type: writable(
            dataset
                .expression
                .schema
                .field_with_name("value")?
                .data_type(),
        )?,
        counts: false,
        by_gene,
        overwrite: false,
        fragment_rows: None,
        source: None,
    };
    let mut stats = ExpressionStats::of_plan(&dataset.place, &plan)?;
    stats.replay(&dataset.expression, dataset.shape().0).await?;
    let companions = companion_tables::write(&dataset.place, &stats, progress).await?;
    let note = companions.note(&dataset.expression.lance, stats.rows);
    change(dataset, "index", companions.versions, &stats, |config| {
        slaf_entries(config).insert("companions".to_owned(), note);
    })
    .await
}

/// Writes the correct `cell_start_index`, ids and statistics. `None` if they
/// are already correct.
pub async fn repair(dataset: &Dataset) -> Result<Option<Manifest>> {
    let counted = dataset.config.value_count();
    let miscounted = counted.is_some_and(|n| n != dataset.expression.rows);
    if dataset.defect().await?.is_none() && !miscounted {
        return Ok(None);
    }
    let (n_cells, n_genes) = dataset.shape();
    let mut stats = ExpressionStats::new(n_genes as usize, ValueType::F64, None)?;
    stats.replay(&dataset.expression, n_cells).await?;
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
