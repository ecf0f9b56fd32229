//! The tables that hold several matrices in coordinate form, a column each:
//! `layers` (cells × genes), `cellsxcells` (obsp) and `genesxgenes` (varp).
//! slafdb promises nothing about the order of their rows.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, UInt16Array, UInt32Array};
use arrow::array::{Float32Array, Float64Array};
use arrow::datatypes::{Field, Schema};
use futures::TryStreamExt;

use crate::dataset::Dataset;
use crate::matrix::sort_row;
use crate::select::Places;
use crate::values::{Value, column, typed};
use crate::{Csr, Error, Result, Selection, ValueType, Values};

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

    fn ids(self) -> [&'static str; 2] {
        match self {
            Self::Layers => ["cell_integer_id", "gene_integer_id"],
            Self::Obsp => ["cell_integer_id_i", "cell_integer_id_j"],
            Self::Varp => ["gene_integer_id_i", "gene_integer_id_j"],
        }
    }

    /// What stands where a matrix has no value and another of the table has:
    /// nothing in `layers`, zero in the other two, as slafdb reads them.
    fn absent(self) -> Option<f64> {
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

/// One coordinate table of several matrices of the same shape: a row for every
/// place where one of them has a value, in row order. Rows of the matrices must
/// be sorted by column.
pub fn union(pairs: Pairs, matrices: &[(String, Csr)]) -> Result<RecordBatch> {
    let Some((_, first)) = matrices.first() else {
        return Err(Error::BadMatrix {
            reason: "a coordinate table needs at least one".into(),
        });
    };
    let shape = first.shape;
    if let Some((name, other)) = matrices.iter().find(|(_, m)| m.shape != shape) {
        return Err(Error::BadMatrix {
            reason: format!("`{name}` has shape {:?} beside {shape:?}", other.shape),
        });
    }
    let (mut rows, mut columns) = (Vec::new(), Vec::new());
    let mut sources: Vec<Vec<Option<usize>>> = vec![Vec::new(); matrices.len()];
    for row in 0..shape.0 {
        let mut at: Vec<usize> = matrices
            .iter()
            .map(|(_, m)| m.indptr[row] as usize)
            .collect();
        loop {
            let heads = matrices
                .iter()
                .zip(&at)
                .map(|((_, m), &p)| (p < m.indptr[row + 1] as usize).then(|| m.indices[p]));
            let heads: Vec<Option<i32>> = heads.collect();
            let Some(column) = heads.iter().flatten().min().copied() else {
                break;
            };
            rows.push(row as u32);
            columns.push(column as u32);
            for (m, head) in heads.into_iter().enumerate() {
                let here = head == Some(column);
                sources[m].push(here.then_some(at[m]));
                at[m] += usize::from(here);
            }
        }
    }
    let [i, j] = pairs.ids();
    let mut fields = vec![];
    let mut arrays: Vec<ArrayRef> = vec![];
    let narrow = |name: &str| name.starts_with("gene") && shape.1 <= 1 << 16;
    for (name, ids) in [(i, rows), (j, columns)] {
        let array: ArrayRef = if narrow(name) {
            Arc::new(UInt16Array::from_iter_values(
                ids.into_iter().map(|v| v as u16),
            ))
        } else {
            Arc::new(UInt32Array::from(ids))
        };
        fields.push(Field::new(name, array.data_type().clone(), false));
        arrays.push(array);
    }
    for ((name, matrix), sources) in matrices.iter().zip(&sources) {
        let array = gathered(&matrix.data, sources, pairs.absent());
        fields.push(Field::new(name, array.data_type().clone(), true));
        arrays.push(array);
    }
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)?)
}

/// The values at `sources`, as float32 where that loses nothing.
fn gathered(data: &Values, sources: &[Option<usize>], absent: Option<f64>) -> ArrayRef {
    let values: Vec<f64> = typed!(data, v => v.iter().map(|x| *x as f64).collect());
    let exact = values
        .iter()
        .all(|v| f64::from(*v as f32) == *v || v.is_nan());
    let picked = sources.iter().map(|s| s.map(|at| values[at]).or(absent));
    if exact {
        Arc::new(
            picked
                .map(|v| v.map(|v| v as f32))
                .collect::<Float32Array>(),
        )
    } else {
        Arc::new(picked.collect::<Float64Array>())
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use arrow::datatypes::{Float32Type, UInt16Type, UInt32Type};

    use super::*;

    fn csr(indptr: &[i64], indices: &[i32], data: &[f32]) -> Csr {
        Csr {
            shape: (2, 3),
            indptr: indptr.to_vec(),
            indices: indices.to_vec(),
            data: Values::F32(data.to_vec()),
        }
    }

    #[test]
    fn a_place_that_one_layer_has_is_null_in_the_other() {
        let a = csr(&[0, 2, 2], &[0, 2], &[1.0, 2.0]);
        let b = csr(&[0, 1, 2], &[2, 1], &[3.0, 4.0]);
        let table = union(Pairs::Layers, &[("a".into(), a), ("b".into(), b)]).unwrap();
        assert_eq!(
            table.column(0).as_primitive::<UInt32Type>().values(),
            &[0, 0, 1]
        );
        assert_eq!(
            table.column(1).as_primitive::<UInt16Type>().values(),
            &[0, 2, 1]
        );
        let a: Vec<_> = table
            .column(2)
            .as_primitive::<Float32Type>()
            .iter()
            .collect();
        let b: Vec<_> = table
            .column(3)
            .as_primitive::<Float32Type>()
            .iter()
            .collect();
        assert_eq!(a, [Some(1.0), Some(2.0), None]);
        assert_eq!(b, [None, Some(3.0), Some(4.0)]);
    }
}
