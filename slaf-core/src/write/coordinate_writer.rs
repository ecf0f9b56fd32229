//! Writes coordinate tables block by block: one row for each position at which any
//! of several matrices of the same shape has a value, in row order.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, ArrowPrimitiveType, AsArray, PrimitiveArray, RecordBatch, UInt16Array, UInt32Array,
};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, Float32Type, Float64Type, Schema, SchemaRef};
use futures::{StreamExt, stream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::exact_values::exactly;
use super::lance_rows::{append_stream, packed, write_stream};
use crate::{CoordinateTable, Error, Place, Result, RowBlock, ValueType, runtime};

/// Batches that can wait to be encoded.
const AHEAD: usize = 2;

/// Writes one of the three coordinate tables. If it is dropped before it has
/// finished, no table is left that could be opened.
pub struct CoordinateWriter {
    pub(super) folder: String,
    layout: Layout,
    rows: u64,
    batches: Option<mpsc::Sender<RecordBatch>>,
    written: Option<JoinHandle<Result<u64>>>,
}

/// A value that its column cannot hold.
pub struct RefusedValue {
    /// The index of the matrix.
    pub key: usize,
    pub row: u64,
    pub column: i64,
    pub value: String,
}

impl CoordinateWriter {
    /// With a `base`, the rows are added to that table.
    pub(super) fn start(
        place: &Place,
        folder: &str,
        base: Option<Arc<lance::Dataset>>,
        table: CoordinateTable,
        width: u64,
        columns: &[(String, ValueType)],
    ) -> Self {
        let layout = Layout::new(table, width, columns);
        let (batches, waiting) = mpsc::channel(AHEAD);
        let rows = stream::unfold(waiting, |mut waiting| async {
            Some((waiting.recv().await?, waiting))
        });
        let (place, name, schema) = (place.clone(), folder.to_owned(), layout.schema.clone());
        let rows = rows.map(Ok);
        let written = runtime::spawn(async move {
            match base {
                Some(base) => append_stream(&place, &name, base, &schema, rows).await,
                None => write_stream(&place, &name, &schema, rows).await,
            }
        });
        Self {
            folder: folder.to_owned(),
            layout,
            rows: 0,
            batches: Some(batches),
            written: Some(written),
        }
    }

    /// Adds the next rows of every matrix, with ascending columns. After an
    /// error, the writer cannot be used any more.
    pub fn append(&mut self, blocks: &[RowBlock<'_>]) -> Result<Option<RefusedValue>> {
        let rows = blocks.first().map_or(0, RowBlock::rows);
        if blocks.len() != self.layout.types.len() || blocks.iter().any(|b| b.rows() != rows) {
            return Err(Error::bad_matrix("blocks of different heights".into()));
        }
        for block in blocks {
            block.check()?;
        }
        let batch = match self.layout.batch(self.rows, blocks)? {
            Ok(batch) => batch,
            Err(refused) => return Ok(Some(refused)),
        };
        self.rows += rows as u64;
        let running = match &self.batches {
            Some(batches) => batches.blocking_send(batch).is_ok(),
            None => false,
        };
        if running {
            return Ok(None);
        }
        match self.written.take() {
            Some(written) => Err(runtime::wait(runtime::result_of(written), || false)
                .err()
                .unwrap_or_else(|| {
                    Error::bad_matrix("the encoder stopped before the last row".into())
                })),
            None => Err(Error::bad_matrix("the writer has failed before".into())),
        }
    }

    pub(super) async fn finish(mut self) -> Result<u64> {
        self.batches = None;
        match self.written.take() {
            Some(written) => runtime::result_of(written).await,
            None => Err(Error::bad_matrix("the writer has failed before".into())),
        }
    }
}

impl Drop for CoordinateWriter {
    fn drop(&mut self) {
        if let Some(written) = &self.written {
            written.abort();
        }
    }
}

struct Layout {
    table: CoordinateTable,
    width: u64,
    schema: SchemaRef,
    types: Vec<ValueType>,
}

impl Layout {
    fn new(table: CoordinateTable, width: u64, columns: &[(String, ValueType)]) -> Self {
        let narrow = |name: &str| name.starts_with("gene") && width <= 1 << 16;
        let id = |name: &str| {
            let integer = if narrow(name) {
                DataType::UInt16
            } else {
                DataType::UInt32
            };
            packed(name, integer, false)
        };
        let mut fields: Vec<Field> = table.ids().iter().map(|name| id(name)).collect();
        let values = columns.iter();
        fields.extend(values.map(|(name, kind)| packed(name, kind.arrow(), true)));
        Self {
            table,
            width,
            schema: Arc::new(Schema::new(fields)),
            types: columns.iter().map(|(_, kind)| *kind).collect(),
        }
    }

    fn batch(
        &self,
        first: u64,
        blocks: &[RowBlock<'_>],
    ) -> Result<std::result::Result<RecordBatch, RefusedValue>> {
        let mut values = Vec::with_capacity(blocks.len());
        for (key, (block, kind)) in blocks.iter().zip(&self.types).enumerate() {
            match exactly(block.data, *kind) {
                Ok(column) => values.push(column),
                Err((place, value)) => {
                    let row = block.row_of(place);
                    return Ok(Err(RefusedValue {
                        key,
                        row: first + row as u64,
                        column: block.indices.at(place),
                        value,
                    }));
                }
            }
        }
        let places = Union::of(blocks);
        if places
            .columns
            .iter()
            .any(|c| !(0..self.width as i64).contains(c))
        {
            return Err(Error::bad_matrix(format!(
                "a column beyond the {}",
                self.width
            )));
        }
        let rows = places.rows.iter().map(|row| first + u64::from(*row));
        let mut arrays: Vec<ArrayRef> = vec![
            self.ids(0, rows),
            self.ids(1, places.columns.iter().map(|c| *c as u64)),
        ];
        for (column, sources) in values.iter().zip(places.sources) {
            let column = match sources {
                Some(sources) => self.filled(take(column, &sources, None)?),
                None => Arc::clone(column),
            };
            arrays.push(column);
        }
        Ok(Ok(RecordBatch::try_new(Arc::clone(&self.schema), arrays)?))
    }

    fn ids(&self, field: usize, ids: impl Iterator<Item = u64>) -> ArrayRef {
        if *self.schema.field(field).data_type() == DataType::UInt16 {
            Arc::new(UInt16Array::from_iter_values(ids.map(|v| v as u16)))
        } else {
            Arc::new(UInt32Array::from_iter_values(ids.map(|v| v as u32)))
        }
    }

    /// Fills positions where only another matrix has a value: with NULL in
    /// `layers`, with zero in the other two, as in slafdb.
    fn filled(&self, column: ArrayRef) -> ArrayRef {
        fn zeros<T: ArrowPrimitiveType>(column: &ArrayRef) -> ArrayRef {
            let values = column.as_primitive::<T>().iter();
            let whole = values.map(Option::unwrap_or_default);
            Arc::new(PrimitiveArray::<T>::from_iter_values(whole))
        }
        match column.data_type() {
            _ if self.table.absent().is_none() => column,
            DataType::Float32 => zeros::<Float32Type>(&column),
            _ => zeros::<Float64Type>(&column),
        }
    }
}

/// The union of the positions of all matrices.
struct Union {
    rows: Vec<u32>,
    columns: Vec<i64>,
    /// For each matrix, the places of its values; `None` for all, in order.
    sources: Vec<Option<UInt32Array>>,
}

impl Union {
    fn of(blocks: &[RowBlock<'_>]) -> Self {
        match blocks {
            [first, others @ ..] if others.iter().all(|other| first.same_places(other)) => {
                let mut rows = Vec::with_capacity(first.indices.len());
                for (row, pair) in first.indptr.windows(2).enumerate() {
                    rows.resize((pair[1] - first.indptr[0]) as usize, row as u32);
                }
                let columns = (0..first.indices.len()).map(|at| first.indices.at(at));
                Self {
                    rows,
                    columns: columns.collect(),
                    sources: blocks.iter().map(|_| None).collect(),
                }
            }
            _ => Self::merged(blocks),
        }
    }

    fn merged(blocks: &[RowBlock<'_>]) -> Self {
        let (mut rows, mut columns) = (vec![], vec![]);
        let mut sources: Vec<Vec<Option<u32>>> = vec![vec![]; blocks.len()];
        let mut at = vec![0usize; blocks.len()];
        let height = blocks.first().map_or(0, RowBlock::rows);
        for row in 0..height {
            loop {
                let heads = blocks.iter().zip(&at).filter_map(|(block, &at)| {
                    let end = (block.indptr[row + 1] - block.indptr[0]) as usize;
                    (at < end).then(|| block.indices.at(at))
                });
                let Some(column) = heads.min() else { break };
                rows.push(row as u32);
                columns.push(column);
                for ((block, at), sources) in blocks.iter().zip(&mut at).zip(&mut sources) {
                    let end = (block.indptr[row + 1] - block.indptr[0]) as usize;
                    let here = *at < end && block.indices.at(*at) == column;
                    sources.push(here.then_some(*at as u32));
                    *at += usize::from(here);
                }
            }
        }
        Self {
            rows,
            columns,
            sources: sources.into_iter().map(|s| Some(s.into())).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{UInt16Type, UInt32Type};

    use super::*;
    use crate::{Indices, ValuesRef};

    fn block<'a>(indptr: &'a [i64], indices: &'a [i32], data: &'a [f32]) -> RowBlock<'a> {
        RowBlock {
            indptr,
            indices: Indices::I32(indices),
            data: ValuesRef::F32(data),
        }
    }

    fn columns(table: CoordinateTable) -> Vec<ArrayRef> {
        let names = [
            ("a".to_owned(), ValueType::F32),
            ("b".to_owned(), ValueType::F32),
        ];
        let layout = Layout::new(table, 3, &names);
        let a = block(&[0, 2, 2], &[0, 2], &[1.0, 2.0]);
        let b = block(&[5, 6, 7], &[2, 1], &[3.0, 4.0]);
        let Ok(batch) = layout.batch(10, &[a, b]).unwrap() else {
            panic!("nothing is refused here");
        };
        batch.columns().to_vec()
    }

    fn values(column: &ArrayRef) -> Vec<Option<f32>> {
        column.as_primitive::<Float32Type>().iter().collect()
    }

    #[test]
    fn a_place_that_one_layer_has_is_null_in_the_other() {
        let found = columns(CoordinateTable::Layers);
        assert_eq!(
            found[0].as_primitive::<UInt32Type>().values(),
            &[10, 10, 11]
        );
        assert_eq!(found[1].as_primitive::<UInt16Type>().values(), &[0, 2, 1]);
        assert_eq!(values(&found[2]), [Some(1.0), Some(2.0), None]);
        assert_eq!(values(&found[3]), [None, Some(3.0), Some(4.0)]);
    }

    #[test]
    fn a_place_that_one_graph_has_is_zero_in_the_other() {
        let found = columns(CoordinateTable::Obsp);
        assert_eq!(values(&found[2]), [Some(1.0), Some(2.0), Some(0.0)]);
        assert_eq!(values(&found[3]), [Some(0.0), Some(3.0), Some(4.0)]);
    }

    #[test]
    fn a_value_that_does_not_fit_is_named_by_its_place() {
        let layout = Layout::new(
            CoordinateTable::Layers,
            3,
            &[("a".to_owned(), ValueType::F32)],
        );
        let wide = RowBlock {
            indptr: &[0, 1, 2],
            indices: Indices::I32(&[0, 2]),
            data: ValuesRef::F64(&[1.0, 0.1]),
        };
        let Err(refused) = layout.batch(10, &[wide]).unwrap() else {
            panic!("0.1 is no float32");
        };
        assert_eq!((refused.key, refused.row, refused.column), (0, 11, 2));
    }
}
