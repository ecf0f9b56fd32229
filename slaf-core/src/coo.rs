//! The tables that hold several matrices in coordinate form, a column each:
//! `layers` (cells × genes), `cellsxcells` (obsp) and `genesxgenes` (varp).
//! slafdb promises nothing about the order of their rows.

use std::ops::Range;

use arrow::array::Array;

use crate::dataset::{Dataset, Table};
use crate::matrix::sort_row;
use crate::ranges::read_rows;
use crate::select::Places;
use crate::values::{Value, column};
use crate::{Csr, Result, Selection, ValueType};

/// The three coordinate tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pairs {
    Layers,
    Obsp,
    Varp,
}

impl Pairs {
    pub fn table(self) -> &'static str {
        match self {
            Self::Layers => "layers",
            Self::Obsp => "cellsxcells",
            Self::Varp => "genesxgenes",
        }
    }

    pub(crate) fn ids(self) -> [&'static str; 2] {
        match self {
            Self::Layers => ["cell_integer_id", "gene_integer_id"],
            Self::Obsp => ["cell_integer_id_i", "cell_integer_id_j"],
            Self::Varp => ["gene_integer_id_i", "gene_integer_id_j"],
        }
    }

    /// What stands where a matrix has no value and another of the table has:
    /// nothing in `layers`, zero in the other two, as slafdb reads them.
    pub(crate) fn absent(self) -> Option<f64> {
        match self {
            Self::Layers => None,
            Self::Obsp | Self::Varp => Some(0.0),
        }
    }
}

impl Dataset {
    /// The matrix `key` of a coordinate table, restricted to `rows` × `columns`.
    pub async fn coo(
        &self,
        pairs: Pairs,
        key: &str,
        rows: &Selection,
        columns: &Selection,
        dtype: ValueType,
    ) -> Result<Csr> {
        match dtype {
            ValueType::U16 => self.coo_of::<u16>(pairs, key, rows, columns).await,
            ValueType::I32 => self.coo_of::<i32>(pairs, key, rows, columns).await,
            ValueType::I64 => self.coo_of::<i64>(pairs, key, rows, columns).await,
            ValueType::F32 => self.coo_of::<f32>(pairs, key, rows, columns).await,
            ValueType::F64 => self.coo_of::<f64>(pairs, key, rows, columns).await,
        }
    }

    async fn coo_of<T: Value>(
        &self,
        pairs: Pairs,
        key: &str,
        rows: &Selection,
        columns: &Selection,
    ) -> Result<Csr> {
        let (cells, genes) = self.shape();
        let (height, width) = match pairs {
            Pairs::Layers => (cells, genes),
            Pairs::Obsp => (cells, cells),
            Pairs::Varp => (genes, genes),
        };
        rows.check("row", height)?;
        columns.check("column", width)?;
        let table = self.table(pairs.table())?;
        let row_places = Places::new(rows, height as usize);
        let column_places = Places::new(columns, width as usize);

        let [i, j] = pairs.ids();
        let mut triplets: Vec<(i32, i32, T)> = Vec::new();
        let spans = self.spans(table, i, rows, height).await?;
        table.check(&[key])?;
        read_rows(table, &[i, j, key], spans, |batch| {
            let (i, j) = (
                column::<i64>(batch.column(0))?,
                column::<i64>(batch.column(1))?,
            );
            let stored = batch.column(2);
            let values = column::<T>(stored)?;
            let zero = pairs
                .absent()
                .is_some()
                .then(|| column::<f64>(stored))
                .transpose()?;
            for row in 0..batch.num_rows() {
                if stored.is_null(row) || zero.as_ref().is_some_and(|z| z[row] == 0.0) {
                    continue;
                }
                let (Some(to_rows), Some(to_columns)) =
                    (row_places.get(i[row]), column_places.get(j[row]))
                else {
                    return Err(
                        table.corrupt(format!("it holds the pair ({}, {})", i[row], j[row]))
                    );
                };
                for &r in to_rows {
                    triplets.extend(to_columns.iter().map(|&c| (r, c, values[row])));
                }
            }
            Ok(())
        })
        .await?;
        Ok(to_csr(triplets, (rows.len(), columns.len())))
    }
}

/// The stretches of a coordinate table in which the row ids ascend: one as it
/// was written, one more for every time that matrices were added. Of each,
/// where the rows of each row id begin, and the end of the last.
#[derive(Debug, Default)]
pub(crate) struct Parts(Vec<Vec<u64>>);

/// More stretches than this, and the table is read whole.
const PARTS: usize = 16;

impl Dataset {
    /// The ranges of `table` in which the rows `wanted` lie.
    async fn spans(
        &self,
        table: &Table,
        id: &str,
        wanted: &Selection,
        height: u64,
    ) -> Result<Vec<Range<u64>>> {
        if wanted.is_all(height) {
            return Ok(vec![0..table.rows]);
        }
        let parts = table
            .parts
            .get_or_try_init(|| find_parts(table, id, height));
        let Parts(parts) = parts.await?;
        if parts.is_empty() {
            return Ok(vec![0..table.rows]);
        }
        let runs = wanted.plan().runs;
        let spans = parts.iter().flat_map(|starts| {
            runs.iter()
                .map(|run| starts[run.start as usize]..starts[run.end as usize])
        });
        Ok(spans.filter(|span| !span.is_empty()).collect())
    }
}

async fn find_parts(table: &Table, id: &str, height: u64) -> Result<Parts> {
    let all = height as usize + 1;
    let mut parts: Vec<Vec<u64>> = vec![vec![]];
    let (mut row, mut last) = (0, 0);
    read_rows(table, &[id], vec![0..table.rows], |batch| {
        for id in column::<i64>(batch.column(0))?.iter().map(|id| *id as u64) {
            if id >= height {
                return Err(table.corrupt(format!("it holds the row {id} of {height}")));
            }
            if id < last && parts.len() <= PARTS {
                parts.push(vec![]);
            }
            let before = parts.len().saturating_sub(2);
            if id < last {
                parts[before].resize(all, row);
            }
            if let Some(starts) = parts
                .last_mut()
                .filter(|starts| starts.len() <= id as usize)
            {
                starts.resize(id as usize + 1, row);
            }
            (row, last) = (row + 1, id);
        }
        Ok(())
    })
    .await?;
    if parts.len() > PARTS {
        return Ok(Parts::default());
    }
    if let Some(starts) = parts.last_mut() {
        starts.resize(all, row);
    }
    Ok(Parts(parts))
}

pub(crate) fn to_csr<T: Value>(triplets: Vec<(i32, i32, T)>, shape: (usize, usize)) -> Csr {
    let mut indptr = vec![0i64; shape.0 + 1];
    for (row, ..) in &triplets {
        indptr[*row as usize + 1] += 1;
    }
    for row in 0..shape.0 {
        indptr[row + 1] += indptr[row];
    }
    let mut next = indptr.clone();
    let mut indices = vec![0; triplets.len()];
    let mut data: Vec<T> = triplets.iter().map(|(.., value)| *value).collect();
    for (row, column, value) in triplets {
        let slot = &mut next[row as usize];
        indices[*slot as usize] = column;
        data[*slot as usize] = value;
        *slot += 1;
    }
    for row in indptr.windows(2) {
        let span = row[0] as usize..row[1] as usize;
        if !indices[span.clone()].is_sorted() {
            sort_row(&mut indices[span.clone()], &mut data[span]);
        }
    }
    Csr {
        shape,
        indptr,
        indices,
        data: T::wrap(data),
    }
}
