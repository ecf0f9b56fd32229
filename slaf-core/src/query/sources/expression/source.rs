//! The table `expression` in SQL. Only the rows of the requested cells or genes are
//! read, on all cores, from the copy (by cell or by gene) in which they are fewer.
//! `cell_integer_id` is not read if the row offsets give it.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::buffer::BooleanBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::catalog::Session;
use datafusion::common::{Column, DFSchema, ToDFSchema};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::Expr;

use super::requested_ids::{CELL, GENE, Wanted, both};
use super::rows_per_core::RowPath;
use crate::query::request::ReadProgress;
use crate::table::row_ranges::RANGE_COST;
use crate::{Dataset, Result as OurResult, Table};

/// The table `expression`, or the requested part of it.
#[derive(Debug, Clone)]
pub(crate) struct Expression {
    pub(crate) dataset: Dataset,
    pub(crate) wanted: Wanted,
    pub(crate) reading: Arc<ReadProgress>,
}

impl Expression {
    pub(super) fn table(&self) -> &Table {
        &self.dataset.expression
    }

    /// The part that meets conditions on the ids alone.
    pub(crate) fn restricted(&self, filters: &[Expr], session: &dyn Session) -> Result<Self> {
        let mut wanted = self.wanted.clone();
        let (cells, genes) = self.dataset.shape();
        for filter in filters {
            let met = |name: &str, len: u64| {
                let dtype = self
                    .table()
                    .schema
                    .field_with_name(name)?
                    .data_type()
                    .clone();
                satisfying(filter, name, &dtype, len, session)
            };
            match axis(filter) {
                Some(CELL) => wanted.cells = both(&wanted.cells, &Some(met(CELL, cells)?)),
                Some(_) => wanted.genes = both(&wanted.genes, &Some(met(GENE, genes)?)),
                None => {
                    let text = format!("the condition {filter} is not on ids");
                    return Err(DataFusionError::Internal(text));
                }
            }
        }
        Ok(Self {
            wanted,
            ..self.clone()
        })
    }

    /// The cheapest way to read the columns of `schema`, in any order of rows. The
    /// gene-major copy need not store the genes.
    pub(super) async fn path_in_any_order(&self, schema: &Schema) -> OurResult<RowPath> {
        let whole = self.wanted.cells.is_none() && self.wanted.genes.is_none();
        if !whole || schema.index_of(GENE).is_err() {
            return self.path().await;
        }
        let genes = 0..self.dataset.shape().1;
        match self.rows_by_gene(genes).await? {
            Some(genes) => Ok(RowPath::ByGene { genes }),
            None => self.path().await,
        }
    }

    /// The rows of some genes in the gene-major copy, if there is one.
    async fn rows_by_gene(
        &self,
        genes: impl Iterator<Item = u64>,
    ) -> OurResult<Option<Vec<(u32, Range<u64>)>>> {
        let companions = self.dataset.companions().await?;
        let rows_of = companions.and_then(|c| c.by_gene()).map(|(_, rows)| rows);
        Ok(rows_of.map(|rows_of| {
            let rows = genes.map(|gene| (gene as u32, rows_of(gene)));
            rows.filter(|(_, rows)| !rows.is_empty()).collect()
        }))
    }

    /// The cheaper way to read the rows.
    pub(crate) async fn path(&self) -> OurResult<RowPath> {
        let starts = Arc::clone(&self.dataset.cell_offsets.whole().await?.starts);
        let all = self.dataset.expression.rows;
        let by_cell: Vec<Range<u64>> = match &self.wanted.cells {
            None => vec![0..all],
            Some(cells) => cells
                .set_slices()
                .map(|(from, to)| starts[from]..starts[to])
                .filter(|rows| !rows.is_empty())
                .collect(),
        };
        let by_cell_cost: u64 = by_cell.iter().map(cost).sum();
        if let Some(genes) = &self.wanted.genes {
            let genes = genes.set_indices().map(|gene| gene as u64);
            if let Some(genes) = self.rows_by_gene(genes).await?
                && genes.iter().map(|(_, rows)| cost(rows)).sum::<u64>() < by_cell_cost
            {
                return Ok(RowPath::ByGene { genes });
            }
        }
        Ok(RowPath::ByCell {
            rows: by_cell.into_iter().filter(|r| !r.is_empty()).collect(),
            starts,
        })
    }
}

fn cost(rows: &Range<u64>) -> u64 {
    rows.end - rows.start + RANGE_COST
}

/// The id column of a condition, if it uses only one.
pub(super) fn axis(filter: &Expr) -> Option<&'static str> {
    let columns = filter.column_refs();
    let mut names = columns.iter().map(|c| c.name.as_str());
    let first = [CELL, GENE]
        .into_iter()
        .find(|id| columns.iter().any(|c| c.name == *id))?;
    (names.all(|name| name == first) && !filter.is_volatile()).then_some(first)
}

/// The ids below `len` that meet a condition.
fn satisfying(
    filter: &Expr,
    name: &str,
    dtype: &DataType,
    len: u64,
    session: &dyn Session,
) -> Result<BooleanBuffer> {
    let schema = Arc::new(Schema::new(vec![Field::new(name, dtype.clone(), false)]));
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..len as i64));
    let batch = RecordBatch::try_new(Arc::clone(&schema), vec![cast(&ids, dtype)?])?;
    let bare = strip_relations(filter.clone())?;
    let schema: DFSchema = schema.to_dfschema()?;
    let met = session
        .create_physical_expr(bare, &schema)?
        .evaluate(&batch)?;
    let met = met.into_array(batch.num_rows())?;
    let met = met.as_boolean();
    Ok(match met.nulls() {
        Some(nulls) => met.values() & nulls.inner(),
        None => met.values().clone(),
    })
}

fn strip_relations(expr: Expr) -> Result<Expr> {
    use datafusion::common::tree_node::{Transformed, TreeNode};
    let stripped = expr.transform(|expr| {
        Ok(match expr {
            Expr::Column(column) if column.relation.is_some() => {
                Transformed::yes(Expr::Column(Column::new_unqualified(column.name)))
            }
            other => Transformed::no(other),
        })
    })?;
    Ok(stripped.data)
}
