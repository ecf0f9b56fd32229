//! The `expression` table as SQL reads it: only the rows of the cells or genes
//! that a query asks for, from the order in which they are fewer, on all cores.
//! `cell_integer_id` is not read where the rows tell it.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::buffer::BooleanBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::{Column, DFSchema, Statistics, ToDFSchema};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;

use crate::query::sources::expression_scan::ExpressionScan;
use crate::query::sources::path::Path;
use crate::query::sources::reading::Reading;
use crate::{Dataset, Table};
use crate::{Result as OurResult, Selection};

pub(crate) const CELL: &str = "cell_integer_id";
pub(crate) const GENE: &str = "gene_integer_id";
pub(crate) const VALUE: &str = "value";

/// What the start of a range costs, in rows.
const RANGE_COST: u64 = 2048;

/// Positions of an axis that are wanted; none: all.
pub(crate) type Mask = Option<BooleanBuffer>;

/// The cells and genes whose values are wanted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    pub(crate) cells: Mask,
    pub(crate) genes: Mask,
}

impl Wanted {
    pub(crate) fn of(cells: &Selection, genes: &Selection, shape: (u64, u64)) -> Self {
        let mask = |selection: &Selection, len: u64| {
            (!selection.is_all(len)).then(|| {
                let mut wanted = vec![false; len as usize];
                selection.iter().for_each(|i| wanted[i as usize] = true);
                BooleanBuffer::from(wanted)
            })
        };
        Self {
            cells: mask(cells, shape.0),
            genes: mask(genes, shape.1),
        }
    }

    pub(crate) fn and(&self, other: &Self) -> Self {
        Self {
            cells: both(&self.cells, &other.cells),
            genes: both(&self.genes, &other.genes),
        }
    }
}

fn both(a: &Mask, b: &Mask) -> Mask {
    match (a, b) {
        (Some(a), Some(b)) => Some(a & b),
        (one, None) | (None, one) => one.clone(),
    }
}

/// `expression`, or the part of it that is `wanted`.
#[derive(Debug, Clone)]
pub(crate) struct Expression {
    pub(crate) dataset: Dataset,
    pub(crate) wanted: Wanted,
    pub(crate) reading: Arc<Reading>,
}

impl Expression {
    fn table(&self) -> &Table {
        &self.dataset.expression
    }

    /// The part of it that satisfies conditions on the ids alone.
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

    /// How its rows are best read.
    pub(crate) async fn path(&self) -> OurResult<Path> {
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
        if let Some(genes) = &self.wanted.genes
            && let Some(companions) = self.dataset.companions().await?
            && let Some((_, rows_of)) = companions.by_gene()
        {
            let by_gene: Vec<(u32, Range<u64>)> = genes
                .set_indices()
                .map(|gene| (gene as u32, rows_of(gene as u64)))
                .filter(|(_, rows)| !rows.is_empty())
                .collect();
            if by_gene.iter().map(|(_, rows)| cost(rows)).sum::<u64>() < by_cell_cost {
                return Ok(Path::ByGene { genes: by_gene });
            }
        }
        Ok(Path::ByCell {
            rows: by_cell.into_iter().filter(|r| !r.is_empty()).collect(),
            starts,
        })
    }

    pub(crate) async fn plan(
        &self,
        projection: Option<&Vec<usize>>,
        partitions: usize,
        limit: Option<usize>,
    ) -> Result<ExpressionScan> {
        let path = self.path().await.map_err(external)?;
        let table = &self.table().schema;
        let schema = match projection {
            Some(columns) => Arc::new(table.project(columns)?),
            None => Arc::clone(table),
        };
        Ok(ExpressionScan::new(
            self.clone(),
            schema,
            path,
            partitions,
            limit,
        ))
    }
}

fn cost(rows: &Range<u64>) -> u64 {
    rows.end - rows.start + RANGE_COST
}

pub(crate) fn external(error: crate::Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// The only id that a condition is about.
fn axis(filter: &Expr) -> Option<&'static str> {
    let columns = filter.column_refs();
    let mut names = columns.iter().map(|c| c.name.as_str());
    let first = [CELL, GENE]
        .into_iter()
        .find(|id| columns.iter().any(|c| c.name == *id))?;
    (names.all(|name| name == first) && !filter.is_volatile()).then_some(first)
}

/// The ids below `len` that satisfy a condition.
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

pub(crate) fn strip_relations(expr: Expr) -> Result<Expr> {
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

#[async_trait]
impl TableProvider for Expression {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.table().schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        let told = |filter: &&Expr| match axis(filter) {
            Some(_) => TableProviderFilterPushDown::Exact,
            None => TableProviderFilterPushDown::Unsupported,
        };
        Ok(filters.iter().map(told).collect())
    }

    fn statistics(&self) -> Option<Statistics> {
        let rows = self.table().rows as usize;
        let mut statistics = Statistics::new_unknown(&self.schema());
        statistics.num_rows = Precision::Inexact(rows);
        Some(statistics)
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let part = self.restricted(filters, session)?;
        let partitions = session.config().target_partitions();
        Ok(Arc::new(part.plan(projection, partitions, limit).await?))
    }
}
