//! Transposes a sparse matrix in limited memory. Each block of rows is sorted by
//! column and written to a file; then the parts of each column are collected from
//! all blocks. It makes the gene-major copy of X, and the rows of a CSC matrix.

use std::fs::File;
use std::io::Write;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use arrow::array::ArrowNativeTypeOp;
use arrow::buffer::{MutableBuffer, ScalarBuffer};
use arrow::datatypes::{ArrowNativeType, ToByteSlice};

use crate::{Error, Result};

/// Values that are collected at a time.
const COLLECTED: u64 = 1 << 20;

/// A running transposition. `T` is the type of the values.
pub(crate) struct Transposer<T> {
    file: File,
    blocks: Vec<Block>,
    written: u64,
    /// Values of each column so far.
    counts: Vec<u64>,
    _values: std::marker::PhantomData<T>,
}

/// A [`SortedBlock`] in the file.
struct Block {
    offset: u64,
    len: usize,
    first_row: u32,
}

/// A block as it is written: where each column begins in it, then the rows, counted
/// from the block's first row, then the values.
pub(crate) struct SortedBlock {
    pub(crate) first_row: u32,
    pub(crate) bytes: Vec<u8>,
}

impl SortedBlock {
    /// Ascending rows of a matrix with `width` columns: the row, column and value of
    /// each entry. Within a block, a row number has 16 bits, so there can be several.
    pub(crate) fn of<T: ArrowNativeType, C: ArrowNativeType>(
        width: usize,
        rows: &[u32],
        columns: &[C],
        values: &[T],
    ) -> Vec<Self> {
        let (mut blocks, mut at) = (vec![], 0);
        while at < rows.len() {
            let first_row = rows[at];
            let within = |row: &u32| row.wrapping_sub(first_row) <= u32::from(u16::MAX);
            let span = at..at + rows[at..].partition_point(within);
            at = span.end;
            blocks.push(Self {
                first_row,
                bytes: sorted(
                    width,
                    &rows[span.clone()],
                    &columns[span.clone()],
                    &values[span],
                ),
            });
        }
        blocks
    }
}

fn sorted<T: ArrowNativeType, C: ArrowNativeType>(
    width: usize,
    rows: &[u32],
    columns: &[C],
    values: &[T],
) -> Vec<u8> {
    let first_row = rows[0];
    let mut starts = vec![0u32; width + 1];
    for column in columns {
        starts[column.as_usize() + 1] += 1;
    }
    for column in 0..width {
        starts[column + 1] += starts[column];
    }
    let mut next = starts.clone();
    let mut sorted_rows = vec![0u16; rows.len()];
    let mut sorted = vec![T::default(); rows.len()];
    for ((&row, column), &value) in rows.iter().zip(columns).zip(values) {
        let slot = &mut next[column.as_usize()];
        sorted_rows[*slot as usize] = row.wrapping_sub(first_row) as u16;
        sorted[*slot as usize] = value;
        *slot += 1;
    }
    [
        starts.to_byte_slice(),
        sorted_rows.to_byte_slice(),
        sorted.to_byte_slice(),
    ]
    .concat()
}

/// Consecutive columns: a CSR matrix of the transpose.
#[derive(Debug, PartialEq)]
pub(crate) struct Columns<T> {
    pub(crate) columns: Range<usize>,
    /// Length `columns.len() + 1`; the first entry is 0.
    pub(crate) indptr: Vec<i64>,
    /// Row numbers, in the order of input.
    pub(crate) rows: Vec<u32>,
    pub(crate) values: Vec<T>,
}

impl<T: ArrowNativeType + ArrowNativeTypeOp> Transposer<T> {
    /// For a matrix with `columns` columns. Blocks are written to an unnamed
    /// file in `folder`.
    pub(crate) fn new(columns: usize, folder: &Path) -> Result<Self> {
        Ok(Self {
            file: tempfile::tempfile_in(folder).map_err(|e| Error::io(folder, e))?,
            blocks: vec![],
            written: 0,
            counts: vec![0; columns],
            _values: std::marker::PhantomData,
        })
    }

    /// Adds a block: the row, column and value of each entry. Rows ascend from
    /// block to block.
    pub(crate) fn push<C: ArrowNativeType>(
        &mut self,
        rows: &[u32],
        columns: &[C],
        values: &[T],
    ) -> Result<()> {
        for block in SortedBlock::of(self.counts.len(), rows, columns, values) {
            self.add(block.first_row, &block.bytes)?;
        }
        Ok(())
    }

    /// Adds a block that was sorted before: the bytes of a [`SortedBlock`].
    pub(crate) fn add(&mut self, first_row: u32, bytes: &[u8]) -> Result<()> {
        let mut before = 0;
        let starts = bytes.chunks_exact(size_of::<u32>()).map(|start| {
            let mut native = [0; size_of::<u32>()];
            native.copy_from_slice(start);
            u32::from_ne_bytes(native)
        });
        for (count, end) in self.counts.iter_mut().zip(starts.skip(1)) {
            *count += u64::from(end - before);
            before = end;
        }
        self.file.write_all(bytes).map_err(set_aside)?;
        self.blocks.push(Block {
            offset: self.written,
            len: before as usize,
            first_row,
        });
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// Number of values in each column.
    pub(crate) fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// The next columns, beginning with `first`, with about [`COLLECTED`]
    /// values; `None` after the last.
    pub(crate) fn collect(&self, first: usize) -> Result<Option<Columns<T>>> {
        let all = self.counts.len();
        if first >= all {
            return Ok(None);
        }
        let mut end = first;
        let mut total = 0;
        while end < all && (end == first || total + self.counts[end] <= COLLECTED) {
            total += self.counts[end];
            end += 1;
        }
        let mut indptr = Vec::with_capacity(end - first + 1);
        indptr.push(0i64);
        for column in first..end {
            indptr.push(indptr[column - first] + self.counts[column] as i64);
        }
        let mut next: Vec<usize> = indptr.iter().map(|p| *p as usize).collect();
        let mut rows = vec![0u32; total as usize];
        let mut values = vec![T::default(); total as usize];
        for block in &self.blocks {
            let starts: ScalarBuffer<u32> =
                self.read(block.offset + 4 * first as u64, end - first + 1)?;
            let (from, to) = (starts[0] as usize, starts[end - first] as usize);
            if from == to {
                continue;
            }
            let rows_at = block.offset + 4 * (all as u64 + 1);
            let values_at = rows_at + 2 * block.len as u64;
            let block_rows: ScalarBuffer<u16> = self.read(rows_at + 2 * from as u64, to - from)?;
            let width = size_of::<T>() as u64;
            let block_values: ScalarBuffer<T> =
                self.read(values_at + width * from as u64, to - from)?;
            for (column, pair) in starts.windows(2).enumerate() {
                let part = pair[0] as usize - from..pair[1] as usize - from;
                let into = next[column]..next[column] + part.len();
                for (row, here) in rows[into.clone()].iter_mut().zip(&block_rows[part.clone()]) {
                    *row = block.first_row + u32::from(*here);
                }
                values[into.clone()].copy_from_slice(&block_values[part]);
                next[column] = into.end;
            }
        }
        Ok(Some(Columns {
            columns: first..end,
            indptr,
            rows,
            values,
        }))
    }

    fn read<U: ArrowNativeType>(&self, offset: u64, len: usize) -> Result<ScalarBuffer<U>> {
        let mut bytes = MutableBuffer::from_len_zeroed(len * size_of::<U>());
        self.file
            .read_exact_at(bytes.as_slice_mut(), offset)
            .map_err(set_aside)?;
        Ok(bytes.into())
    }
}

fn set_aside(source: std::io::Error) -> Error {
    Error::io(std::env::temp_dir(), source)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn columns_hold_what_the_rows_held(
            matrix in prop::collection::vec(prop::collection::vec(0u16..3, 5), 0..20),
            block in 1usize..6,
        ) {
            let mut transposer = Transposer::<u16>::new(5, &std::env::temp_dir()).unwrap();
            for (at, rows) in matrix.chunks(block).enumerate() {
                let (mut r, mut c, mut v) = (vec![], vec![], vec![]);
                for (row, values) in rows.iter().enumerate() {
                    for (column, value) in values.iter().enumerate().filter(|(_, v)| **v > 0) {
                        r.push((at * block + row) as u32);
                        c.push(column as u16);
                        v.push(*value);
                    }
                }
                transposer.push(&r, &c, &v).unwrap();
            }
            let mut got = vec![];
            let mut first = 0;
            while let Some(part) = transposer.collect(first).unwrap() {
                for column in part.columns.clone() {
                    let span = part.indptr[column - first] as usize
                        ..part.indptr[column - first + 1] as usize;
                    got.extend(span.map(|at| (column, part.rows[at], part.values[at])));
                }
                first = part.columns.end;
            }
            let mut want = vec![];
            for column in 0..5 {
                for (row, values) in matrix.iter().enumerate() {
                    if values[column] > 0 {
                        want.push((column, row as u32, values[column]));
                    }
                }
            }
            prop_assert_eq!(got, want);
        }
    }
}
