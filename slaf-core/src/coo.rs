//! The tables that hold several matrices in coordinate form, a column each:
//! `layers` (cells × genes), `cellsxcells` (obsp) and `genesxgenes` (varp).
//! slafdb promises nothing about the order of their rows.

use arrow::array::Array;
use futures::TryStreamExt;

use crate::dataset::Dataset;
use crate::matrix::sort_row;
use crate::select::Places;
use crate::values::{Value, column};
use crate::{Csr, Result, Selection, ValueType, Values};

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
            ValueType::U16 => self.coo_of(pairs, key, rows, columns, Values::U16).await,
            ValueType::I32 => self.coo_of(pairs, key, rows, columns, Values::I32).await,
            ValueType::I64 => self.coo_of(pairs, key, rows, columns, Values::I64).await,
            ValueType::F32 => self.coo_of(pairs, key, rows, columns, Values::F32).await,
            ValueType::F64 => self.coo_of(pairs, key, rows, columns, Values::F64).await,
        }
    }

    async fn coo_of<T: Value>(
        &self,
        pairs: Pairs,
        key: &str,
        rows: &Selection,
        columns: &Selection,
        wrap: fn(Vec<T>) -> Values,
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
        let unreadable = |e: lance::Error| table.unreadable(&e);
        let row_places = Places::new(rows, height as usize);
        let column_places = Places::new(columns, width as usize);

        let [i, j] = pairs.ids();
        let mut scanner = table.lance.scan();
        scanner.project(&[i, j, key]).map_err(unreadable)?;
        if let &Selection::Range {
            start,
            step: 1,
            len,
        } = rows
            && len < height
        {
            let filter = format!("{i} >= {start} AND {i} < {}", start + len);
            scanner.filter(&filter).map_err(unreadable)?;
        }
        let mut stream = scanner.try_into_stream().await.map_err(unreadable)?;
        let mut triplets: Vec<(i32, i32, T)> = Vec::new();
        while let Some(batch) = stream.try_next().await.map_err(unreadable)? {
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
        }
        Ok(to_csr(triplets, (rows.len(), columns.len()), wrap))
    }
}

pub(crate) fn to_csr<T: Copy>(
    triplets: Vec<(i32, i32, T)>,
    shape: (usize, usize),
    wrap: fn(Vec<T>) -> Values,
) -> Csr {
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
        data: wrap(data),
    }
}
