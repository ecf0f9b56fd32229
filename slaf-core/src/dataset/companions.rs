//! The companion tables of X, which slafdb does not know: a second copy of X sorted
//! by gene, and the sums of its rows and columns. They are made from one version of
//! `expression` and ignored for any other version.

use std::ops::Range;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use serde_json::json;

use super::config::Config;
use crate::{Error, Place, Result, Table};

/// The folders of the three tables.
pub(crate) const BY_GENE: &str = "expression_by_gene.lance";
pub(crate) const CELL_SUMS: &str = "cell_sums.lance";
pub(crate) const GENE_SUMS: &str = "gene_sums.lance";

/// The open companion tables of a dataset.
#[derive(Debug)]
pub struct Companions {
    /// `cell_delta` and `value`, sorted by gene and cell. `cell_delta` is the
    /// difference to the cell of the row before, or the cell itself in the
    /// first row of a gene.
    pub by_gene: Option<Table>,
    /// `nnz`, `total`, `sum_of_squares`, `min` and `max`: one row per cell.
    pub cell_sums: Table,
    /// The same with one row per gene, and `gene_start_index` into `by_gene`.
    pub gene_sums: Table,
    /// The first row of each gene in `by_gene`, and the end of the last.
    starts: Vec<u64>,
}

impl Companions {
    /// Opens the tables that `config` names, unless they are missing or belong
    /// to another version of `expression`.
    pub(crate) async fn open(
        config: &Config,
        place: &Place,
        expression: &Table,
    ) -> Result<Option<Self>> {
        let note = config.as_json().get("slaf");
        let Some(note) = note.and_then(|slaf| slaf.get("companions")) else {
            return Ok(None);
        };
        if note["of"] != json!(expression.lance.version_id())
            || note["rows"] != json!(expression.rows)
        {
            return Ok(None);
        }
        let open = async |name: &str, folder: &str| {
            let pin = note["versions"][folder].as_u64();
            Table::open(name, folder.to_owned(), pin, place.clone()).await
        };
        let opened = async {
            let by_gene = async {
                Ok(match note["versions"].get(BY_GENE) {
                    Some(_) => Some(open("expression_by_gene", BY_GENE).await?),
                    None => None,
                })
            };
            let (cell_sums, gene_sums, by_gene) = tokio::try_join!(
                open("cell_sums", CELL_SUMS),
                open("gene_sums", GENE_SUMS),
                by_gene
            )?;
            let mut starts = vec![];
            if let Some(table) = &by_gene {
                let column = gene_sums.read(&["gene_start_index"]).await?;
                let column = column.column(0).as_primitive::<Int64Type>();
                starts = column.values().iter().map(|s| *s as u64).collect();
                starts.push(table.rows);
            }
            Ok(Self {
                by_gene,
                cell_sums,
                gene_sums,
                starts,
            })
        };
        match opened.await {
            Ok(companions) => Ok(Some(companions)),
            // They are optional.
            Err(Error::Corrupt { .. } | Error::Unknown { .. }) => Ok(None),
            Err(other) => Err(other),
        }
    }

    pub(crate) fn tables(&self) -> impl Iterator<Item = &Table> {
        [&self.cell_sums, &self.gene_sums]
            .into_iter()
            .chain(&self.by_gene)
    }

    /// The gene-major copy, and a function from genes to their first rows.
    pub(crate) fn by_gene(&self) -> Option<(&Table, impl Fn(u64) -> Range<u64>)> {
        let rows = |gene: u64| self.starts[gene as usize]..self.starts[gene as usize + 1];
        Some((self.by_gene.as_ref()?, rows))
    }
}
