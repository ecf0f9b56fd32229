//! Values joined with the columns of their cells and genes: a star join, by lookup
//! of ids.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::{cast, concat_batches, take};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use datafusion::common::{Column, DFSchema, JoinType};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Expr, Filter, Join, LogicalPlan, Projection, SubqueryAlias};
use futures::FutureExt;
use futures::future::BoxFuture;

use super::key_codes::KeyCodes;
use crate::Table;
use crate::query::sources::errors::external;
use crate::query::sources::expression::{CELL, Expression, GENE, VALUE};
use crate::query::sources::materialised::Materialised;
use crate::query::sources::metadata_rows::MetadataRows;
use crate::query::sources::plan_facts::{
    expression_of, in_terms_of, is_small, mentions_expression, plain_column,
};

/// Names of the columns of `expression` in the expressions of a [`Star`].
pub(crate) const NAMES: [(&str, &str); 3] = [(CELL, "#c"), (GENE, "#g"), (VALUE, "#v")];

/// The axis that something depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    Cells,
    Genes,
}

impl Side {
    pub(crate) fn id(self) -> &'static str {
        match self {
            Self::Cells => "#c",
            Self::Genes => "#g",
        }
    }
}

/// `expression`, joined to tables with one row per cell or gene.
pub(crate) struct Star {
    pub(crate) fact: Expression,
    pub(crate) dimensions: Vec<Dimension>,
    /// Each column of the plan as an expression of columns of the joined tables.
    columns: Vec<Expr>,
    pub(crate) filters: Vec<Expr>,
}

pub(crate) struct Dimension {
    pub(crate) side: Side,
    columns: Vec<ArrayRef>,
    /// The row of each id, NULL if it has none; `None` if the row is the id.
    pub(crate) row_of: Option<UInt32Array>,
    /// The table and its column names, if these are whole columns of it.
    whole: Option<(Table, Vec<String>)>,
}

impl Dimension {
    /// Joins `other` by `key` to the `len` ids of an axis. `None` if an id has two rows
    /// and `any` is false.
    async fn of(
        side: Side,
        len: u64,
        (other, key): (&LogicalPlan, &Expr),
        any: bool,
        state: &SessionState,
    ) -> Result<Option<Self>> {
        if let Some(found) = Self::of_whole(side, len, (other, key)).await? {
            return Ok(Some(found));
        }
        let read = Materialised::of(other, state).await?;
        let Some(row_of) = row_of_ids(read.keys(key, state)?, len, any) else {
            return Ok(None);
        };
        let rows = concat_batches(&schema_of(&read.batches, other), &read.batches)?;
        Ok(Some(Self {
            side,
            columns: rows.columns().to_vec(),
            row_of: Some(row_of),
            whole: None,
        }))
    }

    /// Joins whole columns of the axis' own table, which are not copied.
    async fn of_whole(
        side: Side,
        len: u64,
        (other, key): (&LogicalPlan, &Expr),
    ) -> Result<Option<Self>> {
        let Some(rows) = MetadataRows::of(other)? else {
            return Ok(None);
        };
        let table = rows.metadata.table.clone();
        let key = plain_column(key).and_then(|key| other.schema().maybe_index_of_column(&key));
        let (Some(names), Some(key), true) = (rows.whole_columns(), key, table.rows == len) else {
            return Ok(None);
        };
        let read: Vec<&str> = names.iter().map(String::as_str).collect();
        let columns = table.cached(&read).await.map_err(external)?;
        Ok(is_numbered(&columns[key]).then_some(Self {
            side,
            columns,
            row_of: None,
            whole: Some((table, names)),
        }))
    }
}

/// Whether the id of each row is the number of the row.
fn is_numbered(ids: &ArrayRef) -> bool {
    let Some(ids) = ids.as_primitive_opt::<Int64Type>() else {
        return false;
    };
    ids.null_count() == 0 && ids.values().iter().zip(0..).all(|(id, row)| *id == row)
}

pub(crate) fn star<'a>(
    plan: &'a LogicalPlan,
    state: &'a SessionState,
) -> BoxFuture<'a, Result<Option<Star>>> {
    async move {
        match plan {
            LogicalPlan::TableScan(scan) => {
                let Some(whole) = expression_of(scan).filter(|_| scan.fetch.is_none()) else {
                    return Ok(None);
                };
                let fact = whole.restricted(&scan.filters, state)?;
                let fields = scan.projected_schema.fields().iter();
                let columns = fields.map(|field| {
                    let known = NAMES.iter().find(|(name, _)| name == field.name());
                    known.map(|(_, ours)| Expr::Column(Column::new_unqualified(*ours)))
                });
                Ok(columns.collect::<Option<Vec<_>>>().map(|columns| Star {
                    fact,
                    dimensions: vec![],
                    columns,
                    filters: vec![],
                }))
            }
            LogicalPlan::SubqueryAlias(SubqueryAlias { input, .. }) => star(input, state).await,
            LogicalPlan::Projection(Projection { input, expr, .. }) => {
                let Some(mut found) = star(input, state).await? else {
                    return Ok(None);
                };
                let columns = expr.iter().map(|e| found.translate(e, input.schema()));
                found.columns = columns.collect::<Result<_>>()?;
                Ok(Some(found))
            }
            LogicalPlan::Filter(Filter {
                input, predicate, ..
            }) => {
                let Some(mut found) = star(input, state).await? else {
                    return Ok(None);
                };
                let predicate = found.translate(predicate, input.schema())?;
                found.filters.push(predicate);
                Ok(Some(found))
            }
            LogicalPlan::Join(join) => joined(join, state).await,
            _ => Ok(None),
        }
    }
    .boxed()
}

async fn joined(join: &Join, state: &SessionState) -> Result<Option<Star>> {
    let fact_is_left = mentions_expression(&join.left);
    let (fact, other) = match fact_is_left {
        true => (&join.left, &join.right),
        false => (&join.right, &join.left),
    };
    let semi = match join.join_type {
        JoinType::Inner => false,
        JoinType::LeftSemi if fact_is_left => true,
        JoinType::RightSemi if !fact_is_left => true,
        _ => return Ok(None),
    };
    let [(left, right)] = join.on.as_slice() else {
        return Ok(None);
    };
    if !is_small(other) || (semi && join.filter.is_some()) {
        return Ok(None);
    }
    let (of_fact, of_other) = if fact_is_left {
        (left, right)
    } else {
        (right, left)
    };
    let Some(mut found) = star(fact, state).await? else {
        return Ok(None);
    };
    let Some(side) = found.side_of_key(of_fact, fact.schema())? else {
        return Ok(None);
    };
    let shape = found.fact.dataset.shape();
    let len = match side {
        Side::Cells => shape.0,
        Side::Genes => shape.1,
    };
    // With two rows for one id the join multiplies rows.
    let Some(dimension) = Dimension::of(side, len, (other, of_other), semi, state).await? else {
        return Ok(None);
    };
    let number = found.dimensions.len();
    let named = (0..dimension.columns.len())
        .map(|column| Expr::Column(Column::new_unqualified(format!("#{number}.{column}"))));
    let named: Vec<Expr> = named.collect();
    found.dimensions.push(dimension);
    if !semi {
        let of_fact = std::mem::take(&mut found.columns);
        found.columns = if fact_is_left {
            of_fact.into_iter().chain(named).collect()
        } else {
            named.into_iter().chain(of_fact).collect()
        };
    }
    if let Some(filter) = &join.filter {
        let both = join.left.schema().join(join.right.schema())?;
        let filter = found.translate(filter, &both)?;
        found.filters.push(filter);
    }
    Ok(Some(found))
}

/// The row of each id below `len`; `None` if an id has two rows and `any` is false.
fn row_of_ids(keys: Vec<Option<i64>>, len: u64, any: bool) -> Option<UInt32Array> {
    let mut row_of: Vec<Option<u32>> = vec![None; len as usize];
    for (row, key) in keys.into_iter().enumerate() {
        let Some(slot) = key.and_then(|key| row_of.get_mut(usize::try_from(key).ok()?)) else {
            continue;
        };
        if slot.replace(row as u32).is_some() && !any {
            return None;
        }
    }
    Some(row_of.into())
}

fn schema_of(batches: &[RecordBatch], plan: &LogicalPlan) -> SchemaRef {
    batches
        .first()
        .map_or_else(|| Arc::clone(plan.schema().inner()), RecordBatch::schema)
}

impl Star {
    /// Rewrites `expr` to columns of the joined tables.
    pub(crate) fn translate(&self, expr: &Expr, schema: &DFSchema) -> Result<Expr> {
        in_terms_of(&self.columns, expr, schema)
    }

    /// The axis of a join key.
    fn side_of_key(&self, key: &Expr, schema: &DFSchema) -> Result<Option<Side>> {
        let key = plain_column(key).map(Expr::Column);
        let key = key.map(|key| self.translate(&key, schema)).transpose()?;
        let id = |side: &Side| Expr::Column(Column::new_unqualified(side.id()));
        let mut sides = [Side::Cells, Side::Genes].into_iter();
        Ok(sides.find(|side| key.as_ref() == Some(&id(side))))
    }

    /// The axis of a column; `None` for values.
    pub(crate) fn side(&self, column: &Column) -> Option<Side> {
        match column.name.as_str() {
            "#c" => Some(Side::Cells),
            "#g" => Some(Side::Genes),
            name => {
                let (number, _) = number_and_column(name)?;
                Some(self.dimensions[number].side)
            }
        }
    }

    /// The axis that `expr` depends on, if it is only one.
    pub(crate) fn axis(&self, expr: &Expr) -> Option<Side> {
        let mut sides = expr.column_refs().into_iter().map(|c| self.side(c));
        let first = sides.next()??;
        (sides.all(|side| side == Some(first)) && !expr.is_volatile()).then_some(first)
    }

    pub(crate) fn dtype(&self, name: &str) -> Result<DataType> {
        if let Some((stored, _)) = NAMES.iter().find(|(_, ours)| *ours == name) {
            let schema = &self.fact.dataset.expression.schema;
            return Ok(schema.field_with_name(stored)?.data_type().clone());
        }
        Ok(self.place(name)?.1.data_type().clone())
    }

    pub(crate) fn place(&self, name: &str) -> Result<(&Dimension, &ArrayRef)> {
        let (number, column) = number_and_column(name).ok_or_else(|| {
            DataFusionError::Internal(format!("there is no column {name} in a star"))
        })?;
        let dimension = &self.dimensions[number];
        Ok((dimension, &dimension.columns[column]))
    }

    /// A column of a joined table, in the order of ids.
    pub(crate) fn by_id(&self, name: &str, len: usize) -> Result<ArrayRef> {
        if name == "#c" || name == "#g" {
            let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..len as i64));
            return Ok(cast(&ids, &self.dtype(name)?)?);
        }
        let (dimension, column) = self.place(name)?;
        Ok(match &dimension.row_of {
            Some(row_of) => take(column, row_of, None)?,
            None => Arc::clone(column),
        })
    }

    /// The codes of `keys` by id, if they are whole columns of one table.
    pub(super) async fn codes(&self, keys: &[&Expr]) -> Result<Option<KeyCodes>> {
        let whole = keys.iter().map(|key| match key {
            Expr::Column(column) => self.whole(&column.name),
            _ => None,
        });
        let whole: Option<Vec<(&Table, &str)>> = whole.collect();
        let whole = whole.filter(|w| w.windows(2).all(|w| std::ptr::eq(w[0].0, w[1].0)));
        let Some((table, names)) = whole.and_then(|w| Some((w.first()?.0, w))) else {
            return Ok(None);
        };
        let names: Vec<&str> = names.iter().map(|(_, name)| *name).collect();
        KeyCodes::of(table, &names).await
    }

    /// The table and the name there, if a column is a whole column of a table.
    fn whole(&self, name: &str) -> Option<(&Table, &str)> {
        let (number, column) = number_and_column(name)?;
        let (table, names) = self.dimensions.get(number)?.whole.as_ref()?;
        Some((table, names.get(column)?))
    }

    /// The schema of some columns of the joined tables.
    pub(crate) fn schema(&self, names: &BTreeSet<String>) -> Result<SchemaRef> {
        let fields = names.iter().map(|name| {
            let stored = NAMES.iter().any(|(_, ours)| ours == name);
            Ok(Field::new(name, self.dtype(name)?, !stored))
        });
        Ok(Arc::new(Schema::new(fields.collect::<Result<Vec<_>>>()?)))
    }
}

/// Splits `#dimension.column`.
fn number_and_column(name: &str) -> Option<(usize, usize)> {
    let (number, column) = name.strip_prefix('#')?.split_once('.')?;
    Some((number.parse().ok()?, column.parse().ok()?))
}
