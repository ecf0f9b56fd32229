//! The groups of cells or genes: the group of each id.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::take;
use arrow::row::{RowConverter, SortField};
use datafusion::common::{Column, ToDFSchema};
use datafusion::error::Result;
use datafusion::execution::SessionState;
use datafusion::logical_expr::Expr;

use super::star_join::{NAMES, Side, Star};

/// Up to this many groups, some may be empty.
const MOST: usize = 1 << 12;

/// The groups of the cells or genes.
#[derive(Debug)]
pub(crate) struct Axis {
    /// The group of each id; `u32::MAX` for none.
    pub(crate) codes: Vec<u32>,
    pub(crate) groups: usize,
    /// The group columns, with one row per group.
    pub(crate) keys: Vec<ArrayRef>,
    /// Columns that arguments use, by id.
    pub(crate) columns: HashMap<String, ArrayRef>,
    /// Whether all ids count.
    pub(crate) plain: bool,
}

impl Axis {
    pub(super) async fn of(
        star: &Star,
        side: Side,
        by: &[&Expr],
        used: &BTreeSet<String>,
        state: &SessionState,
    ) -> Result<Self> {
        let shape = star.fact.dataset.shape();
        let (len, wanted) = match side {
            Side::Cells => (shape.0 as usize, &star.fact.wanted.cells),
            Side::Genes => (shape.1 as usize, &star.fact.wanted.genes),
        };
        let mut alive = wanted
            .clone()
            .unwrap_or_else(|| BooleanBuffer::new_set(len));
        for dimension in star.dimensions.iter().filter(|d| d.side == side) {
            if let Some(rows) = dimension.row_of.as_ref().and_then(|rows| rows.nulls()) {
                alive = &alive & rows.inner();
            }
        }
        let all = alive.count_set_bits() == len;
        let (codes, firsts) = codes(star, side, by, &alive, state).await?;
        let columns = used
            .iter()
            .filter(|name| star.side(&Column::new_unqualified(name.as_str())) == Some(side));
        let columns = columns.filter(|name| !NAMES.iter().any(|(_, ours)| ours == name));
        let columns = columns.map(|name| Ok((name.clone(), star.by_id(name, len)?)));
        let groups = match &firsts {
            Some(keys) => keys.first().map_or(0, |key| key.len()),
            None => 1,
        };
        Ok(Self {
            codes,
            groups,
            plain: all && firsts.is_none(),
            keys: firsts.unwrap_or_default(),
            columns: columns.collect::<Result<_>>()?,
        })
    }

    pub(crate) fn alive(&self) -> Option<BooleanBuffer> {
        let alive: BooleanBuffer = self.codes.iter().map(|code| *code != u32::MAX).collect();
        (alive.count_set_bits() < alive.len()).then_some(alive)
    }
}

/// The group of each id, and the keys of each group; `None` if there is one group.
async fn codes(
    star: &Star,
    side: Side,
    by: &[&Expr],
    alive: &BooleanBuffer,
    state: &SessionState,
) -> Result<(Vec<u32>, Option<Vec<ArrayRef>>)> {
    if by.is_empty() {
        let code = |here| if here { 0 } else { u32::MAX };
        return Ok((alive.iter().map(code).collect(), None));
    }
    if let Some(keys) = star.codes(by).await?.filter(|k| k.groups() <= MOST) {
        let mut codes = keys.of_rows(0..alive.len());
        for (code, alive) in codes.iter_mut().zip(alive) {
            if !alive {
                *code = u32::MAX;
            }
        }
        let groups: Vec<usize> = (0..keys.groups()).collect();
        return Ok((codes, Some(keys.values(&groups)?)));
    }
    let columns = by.iter().flat_map(|e| e.column_refs());
    let names: BTreeSet<String> = columns.map(|c| c.name.clone()).collect();
    let keys = evaluate(star, by, &names, alive.len(), state)?;
    let id = Expr::Column(Column::new_unqualified(side.id()));
    let (codes, firsts) = match by.contains(&&id) {
        true => numbers(alive),
        false => grouped(&keys, alive)?,
    };
    let keys = keys.iter().map(|key| take(key, &firsts, None));
    Ok((codes, Some(keys.collect::<Result<Vec<_>, _>>()?)))
}

fn evaluate(
    star: &Star,
    exprs: &[&Expr],
    names: &BTreeSet<String>,
    len: usize,
    state: &SessionState,
) -> Result<Vec<ArrayRef>> {
    let schema = star.schema(names)?;
    let columns = names.iter().map(|name| star.by_id(name, len));
    let options = RecordBatchOptions::new().with_row_count(Some(len));
    let columns = columns.collect::<Result<Vec<_>>>()?;
    let batch = RecordBatch::try_new_with_options(Arc::clone(&schema), columns, &options)?;
    let schema = schema.to_dfschema()?;
    let exprs = exprs.iter().map(|expr| {
        let expr = state.create_physical_expr((*expr).clone(), &schema)?;
        expr.evaluate(&batch)?.into_array(len)
    });
    exprs.collect()
}

/// Gives each id a group of its own.
fn numbers(alive: &BooleanBuffer) -> (Vec<u32>, UInt32Array) {
    let firsts: Vec<u32> = alive.set_indices().map(|id| id as u32).collect();
    let mut codes = vec![u32::MAX; alive.len()];
    for (code, id) in firsts.iter().enumerate() {
        codes[*id as usize] = code as u32;
    }
    (codes, firsts.into())
}

/// Groups ids with equal keys. Returns the group of each id, and the first id of each
/// group.
fn grouped(keys: &[ArrayRef], alive: &BooleanBuffer) -> Result<(Vec<u32>, UInt32Array)> {
    let fields = keys
        .iter()
        .map(|key| SortField::new(key.data_type().clone()));
    let converter = RowConverter::new(fields.collect())?;
    let rows = converter.convert_columns(keys)?;
    let mut known: HashMap<&[u8], u32> = HashMap::new();
    let (mut codes, mut firsts) = (vec![u32::MAX; alive.len()], vec![]);
    for id in alive.set_indices() {
        let next = firsts.len() as u32;
        codes[id] = *known.entry(rows.row(id).data()).or_insert_with(|| {
            firsts.push(id as u32);
            next
        });
    }
    Ok((codes, firsts.into()))
}
