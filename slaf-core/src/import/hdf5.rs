//! Reads one-dimensional arrays of an HDF5 file without the HDF5 library. The caller has
//! opened the file, and passes the positions of the chunks and their encoding. We read
//! and decode them on all cores, without HDF5's global lock.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use rayon::prelude::*;

use crate::{Error, Result, Values};

/// Bytes per read of an array without filters.
const STRETCH: usize = 4 << 20;

/// A filter of a chunk, in the order of writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filter {
    Shuffle,
    Deflate,
    Zstd,
}

/// The type of the elements, little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Number {
    U8,
    U16,
    U32,
    I8,
    I16,
    I32,
    I64,
    F32,
    F64,
}

impl Number {
    /// By numpy's name, such as `float32`.
    pub fn from_numpy(name: &str) -> Option<Self> {
        Some(match name {
            "uint8" => Self::U8,
            "uint16" => Self::U16,
            "uint32" => Self::U32,
            "int8" => Self::I8,
            "int16" => Self::I16,
            "int32" => Self::I32,
            "int64" => Self::I64,
            "float32" => Self::F32,
            "float64" => Self::F64,
            _ => return None,
        })
    }

    fn width(self) -> usize {
        match self {
            Self::U8 | Self::I8 => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::I64 | Self::F64 => 8,
        }
    }
}

/// Position of a chunk: offset and size in the file, and one bit for each
/// filter that was skipped.
pub(crate) type Chunk = (u64, u64, u32);

/// A one-dimensional array.
#[derive(Debug)]
pub struct ChunkedArray {
    path: PathBuf,
    file: File,
    number: Number,
    len: usize,
    /// Number of elements in a chunk.
    chunk: usize,
    filters: Vec<Filter>,
    /// In order, without gaps.
    chunks: Vec<Chunk>,
    /// The last chunk of the previous read, decoded.
    last: Mutex<Option<(usize, Vec<u8>)>>,
}

impl ChunkedArray {
    /// Opens an array; without chunks, it counts as one chunk.
    pub fn open(
        path: &Path,
        number: Number,
        len: usize,
        chunk: usize,
        filters: Vec<Filter>,
        chunks: Vec<Chunk>,
    ) -> Result<Self> {
        let damaged = |reason: String| Error::Engine {
            message: format!("`{}` is damaged: {reason}.", path.display()),
        };
        let file = File::open(path).map_err(|e| Error::io(path, e))?;
        if chunk == 0 || chunks.len() != len.div_ceil(chunk) {
            return Err(damaged(format!(
                "an array of {len} values has {} chunks",
                chunks.len()
            )));
        }
        let size = file.metadata().map_err(|e| Error::io(path, e))?.len();
        let end = |c: &Chunk| c.0.checked_add(c.1);
        if chunks.iter().any(|c| end(c).is_none_or(|end| end > size)) {
            return Err(damaged("it is shorter than its arrays".into()));
        }
        Ok(Self {
            path: path.to_owned(),
            file,
            number,
            len,
            chunk,
            filters,
            chunks,
            last: Mutex::default(),
        })
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Elements of a range, in the narrowest type of [`Values`] that can hold
    /// all of them.
    pub fn read(&self, range: Range<usize>) -> Result<Values> {
        if range.end > self.len || range.start > range.end {
            return Err(self.damaged(format!(
                "values {} to {} of {} are asked for",
                range.start, range.end, self.len
            )));
        }
        macro_rules! as_is {
            ($kind:ident, $native:ty) => {{
                let mut out: Vec<$native> = vec![0 as $native; range.len()];
                self.fill(range, bytes_of(&mut out))?;
                Values::$kind(out)
            }};
        }
        macro_rules! widened {
            ($from:ty, $kind:ident, $to:ty) => {{
                let mut raw: Vec<$from> = vec![0; range.len()];
                self.fill(range, bytes_of(&mut raw))?;
                Values::$kind(raw.into_iter().map(<$to>::from).collect())
            }};
        }
        Ok(match self.number {
            Number::U16 => as_is!(U16, u16),
            Number::I32 => as_is!(I32, i32),
            Number::I64 => as_is!(I64, i64),
            Number::F32 => as_is!(F32, f32),
            Number::F64 => as_is!(F64, f64),
            Number::U8 => widened!(u8, U16, u16),
            Number::I8 => widened!(i8, I32, i32),
            Number::I16 => widened!(i16, I32, i32),
            Number::U32 => widened!(u32, I64, i64),
        })
    }

    fn fill(&self, range: Range<usize>, out: &mut [u8]) -> Result<()> {
        if range.is_empty() {
            return Ok(());
        }
        let width = self.number.width();
        if self.filters.is_empty() {
            return self.fill_plain(range, out);
        }
        let (first, last) = (range.start / self.chunk, (range.end - 1) / self.chunk);
        let kept = self.last.lock().ok().and_then(|mut kept| kept.take());
        let mut parts = vec![];
        let mut rest = out;
        for index in first..=last {
            let begin = index * self.chunk;
            let part = range.start.max(begin)..range.end.min(begin + self.chunk);
            let (mine, others) = rest.split_at_mut(part.len() * width);
            let span = (part.start - begin) * width..(part.end - begin) * width;
            parts.push((index, span, mine));
            rest = others;
        }
        let decode = |tools: &mut Tools, (index, span, mine): (usize, Range<usize>, &mut [u8])| {
            if let Some((_, bytes)) = kept.as_ref().filter(|(i, _)| *i == index) {
                mine.copy_from_slice(&bytes[span]);
                return Ok(None);
            }
            self.decode(index, tools)?;
            mine.copy_from_slice(&tools.decoded[span]);
            Ok((index == last).then(|| (index, tools.decoded.clone())))
        };
        let ended: Vec<_> = parts
            .into_par_iter()
            .map_init(Tools::default, decode)
            .collect::<Result<_>>()?;
        if let Ok(mut last) = self.last.lock() {
            *last = ended.into_iter().flatten().next().or(kept);
        }
        Ok(())
    }

    fn fill_plain(&self, range: Range<usize>, out: &mut [u8]) -> Result<()> {
        let width = self.number.width();
        let mut at = range.start;
        let mut out = out;
        while at < range.end {
            let index = at / self.chunk;
            let end = range.end.min((index + 1) * self.chunk);
            let end = end.min(at + STRETCH / width);
            let (part, rest) = out.split_at_mut((end - at) * width);
            let offset = self.chunks[index].0 + ((at - index * self.chunk) * width) as u64;
            self.file
                .read_exact_at(part, offset)
                .map_err(|e| Error::io(&self.path, e))?;
            (at, out) = (end, rest);
        }
        Ok(())
    }

    /// Decodes a whole chunk; the array's last chunk is padded.
    fn decode(&self, index: usize, tools: &mut Tools) -> Result<()> {
        let (offset, size, skipped) = self.chunks[index];
        let whole = self.chunk * self.number.width();
        let Tools {
            inflater,
            decoded,
            encoded,
        } = tools;
        decoded.resize(size as usize, 0);
        self.file
            .read_exact_at(decoded, offset)
            .map_err(|e| Error::io(&self.path, e))?;
        for (bit, filter) in self.filters.iter().enumerate().rev() {
            if skipped & (1 << bit) != 0 {
                continue;
            }
            std::mem::swap(decoded, encoded);
            decoded.resize(whole, 0);
            let length = match filter {
                Filter::Shuffle => {
                    unshuffle(encoded, decoded, self.number.width());
                    Some(encoded.len())
                }
                Filter::Deflate => inflater.zlib_decompress(encoded, decoded).ok(),
                Filter::Zstd => {
                    zstd::bulk::decompress_to_buffer(encoded, decoded.as_mut_slice()).ok()
                }
            };
            if length != Some(whole) {
                return Err(self.damaged(format!("chunk {index} of an array cannot be decoded")));
            }
        }
        if decoded.len() != whole {
            return Err(self.damaged(format!("chunk {index} of an array is cut off")));
        }
        Ok(())
    }

    fn damaged(&self, reason: String) -> Error {
        Error::Engine {
            message: format!("`{}` is damaged: {reason}.", self.path.display()),
        }
    }
}

/// Buffers and decoders that are reused from chunk to chunk.
struct Tools {
    inflater: libdeflater::Decompressor,
    decoded: Vec<u8>,
    encoded: Vec<u8>,
}

impl Default for Tools {
    fn default() -> Self {
        Self {
            inflater: libdeflater::Decompressor::new(),
            decoded: vec![],
            encoded: vec![],
        }
    }
}

/// Undoes the shuffle filter: from byte planes to numbers.
fn unshuffle(planes: &[u8], out: &mut [u8], width: usize) {
    let count = planes.len() / width;
    for (byte, plane) in planes.chunks_exact(count.max(1)).enumerate().take(width) {
        for (number, value) in plane.iter().enumerate() {
            out[number * width + byte] = *value;
        }
    }
}

/// The memory of numbers as bytes, to be overwritten.
fn bytes_of<T: arrow::datatypes::ArrowNativeType>(numbers: &mut [T]) -> &mut [u8] {
    let len = size_of_val(numbers);
    // SAFETY: native numbers have no padding, all bytes are valid numbers, and the slice
    // borrows `numbers`.
    unsafe { std::slice::from_raw_parts_mut(numbers.as_mut_ptr().cast(), len) }
}
