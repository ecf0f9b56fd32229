//! Reads a matrix of `layers`, obsp or varp as CSR.

use std::ops::Range;

use arrow::array::Array;

use crate::matrix::selection::OutputPlaces;
use crate::matrix::values::{Value, column};
use crate::table::coordinate_row_offsets::{StretchFinder, Stretches};
use crate::table::row_ranges::read_rows;
use crate::{CoordinateTable, Csr, Dataset, Result, Selection, Table, ValueType};

impl Dataset {
    /// The matrix `key` of a coordinate table, restricted to `rows` × `columns`.
    pub async fn coordinate(
        &self,
        kind: CoordinateTable,
        key: &str,
        rows: &Selection,
        columns: &Selection,
        dtype: ValueType,
    ) -> Result<Csr> {
        match dtype {
            ValueType::U16 => self.coordinate_of::<u16>(kind, key, rows, columns).await,
            ValueType::I32 => self.coordinate_of::<i32>(kind, key, rows, columns).await,
            ValueType::I64 => self.coordinate_of::<i64>(kind, key, rows, columns).await,
            ValueType::F32 => self.coordinate_of::<f32>(kind, key, rows, columns).await,
            ValueType::F64 => self.coordinate_of::<f64>(kind, key, rows, columns).await,
        }
    }

    async fn coordinate_of<T: Value>(
        &self,
        kind: CoordinateTable,
        key: &str,
        rows: &Selection,
        columns: &Selection,
    ) -> Result<Csr> {
        let (cells, genes) = self.shape();
        let (height, width) = match kind {
            CoordinateTable::Layers => (cells, genes),
            CoordinateTable::Obsp => (cells, cells),
            CoordinateTable::Varp => (genes, genes),
        };
        rows.check("row", height)?;
        columns.check("column", width)?;
        let table = self.table(kind.table())?;
        let row_places = OutputPlaces::new(rows, height as usize);
        let column_places = OutputPlaces::new(columns, width as usize);

        let [i, j] = kind.ids();
        let mut triplets: Vec<(i32, i32, T)> = Vec::new();
        let spans = ranges_of(table, i, rows, height).await?;
        table.check(&[key])?;
        read_rows(table, &[i, j, key], spans, |batch| {
            let (i, j) = (
                column::<i64>(batch.column(0))?,
                column::<i64>(batch.column(1))?,
            );
            let stored = batch.column(2);
            let values = column::<T>(stored)?;
            let zero = kind
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
        Ok(Csr::from_triplets(triplets, (rows.len(), columns.len())))
    }
}

/// The ranges of `table` that contain the rows `wanted`.
async fn ranges_of(
    table: &Table,
    id: &str,
    wanted: &Selection,
    height: u64,
) -> Result<Vec<Range<u64>>> {
    if wanted.is_all(height) {
        return Ok(vec![0..table.rows]);
    }
    let find = || find_stretches(table, id, height);
    let stretches = table.stretches.get_or_try_init(find).await?;
    if stretches.is_empty() {
        return Ok(vec![0..table.rows]);
    }
    Ok(stretches.ranges(&wanted.read_order().runs))
}

async fn find_stretches(table: &Table, id: &str, height: u64) -> Result<Stretches> {
    let mut finder = StretchFinder::new(height);
    read_rows(table, &[id], vec![0..table.rows], |batch| {
        for id in column::<i64>(batch.column(0))?.iter().map(|id| *id as u64) {
            if id >= height {
                return Err(table.corrupt(format!("it holds the row {id} of {height}")));
            }
            finder.push(id);
        }
        Ok(())
    })
    .await?;
    Ok(finder.finish())
}
