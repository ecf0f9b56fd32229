//! The layout of columns in memory files: the buffers of each array as in Arrow,
//! and a text that describes them.
//!
//! We do not use Arrow's IPC file format, because its writer first copies every
//! column to the heap, and would write a slice of shared data again. Here, a buffer
//! that is already in a memory file is only referenced.
//!
//! The text has three kinds of lines per column: its name; its type in Arrow's
//! notation; and for the array and each of its children `length offset validity
//! buffers…`. A buffer is `file:begin:length`, a validity also has its first bit,
//! and `-` means none.

use std::fmt::Write;
use std::str::FromStr;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, cast::AsArray, make_array};
use arrow_buffer::{BooleanBuffer, Buffer, MutableBuffer, NullBuffer};
use arrow_data::{ArrayData, transform::MutableArrayData};
use arrow_schema::DataType;

use crate::memory::{Mapping, store};
use crate::{Error, Result};

/// If fewer bytes than this are unused, the array is not copied.
const SLACK: usize = 1 << 16;
/// Minimum number of bytes of columns per file.
const GROUP: usize = 16 << 20;

/// Columns in memory files.
#[derive(Debug, Default)]
pub struct Shared {
    /// The input of [`open`].
    pub text: String,
    pub files: Vec<Arc<Mapping>>,
    /// Bytes that were not shared before, and were copied.
    pub copied: usize,
}

impl Shared {
    /// Adds named columns in groups, so that only a few are in memory twice,
    /// and few files are needed.
    pub fn add_all(&mut self, columns: impl Iterator<Item = (String, ArrayRef)>) -> Result<()> {
        let (mut group, mut bytes) = (Vec::new(), 0);
        for (name, column) in columns {
            bytes += column.get_array_memory_size();
            group.push((name, column));
            if bytes >= GROUP {
                self.add(&group)?;
                (group, bytes) = (Vec::new(), 0);
            }
        }
        self.add(&group)
    }

    /// Adds named columns; those that are not shared yet are copied into one
    /// new memory file.
    pub fn add(&mut self, columns: &[(String, ArrayRef)]) -> Result<()> {
        let columns = columns
            .iter()
            .map(|(name, array)| {
                let kind = array.data_type();
                let text = kind.to_string();
                if DataType::from_str(&text).ok().as_ref() != Some(kind) {
                    let message = format!("`{name}` is of type {text}, which is not shared.");
                    return Err(Error(message));
                }
                Ok((name, text, compact(array)))
            })
            .collect::<Result<Vec<_>>>()?;

        let mut private = Vec::new();
        for (_, _, data) in &columns {
            each_buffer(data, &mut |bytes| {
                if !bytes.is_empty() && Mapping::find(bytes).is_none() {
                    private.push(bytes);
                }
            });
        }
        let (new, offsets) = match private.as_slice() {
            [] => (None, Vec::new()),
            parts => {
                self.copied += parts.iter().map(|part| part.len()).sum::<usize>();
                let (mapping, offsets) = store(parts)?;
                (Some(mapping), offsets)
            }
        };
        let mut offsets = offsets.into_iter();
        let mut place = |bytes: &[u8]| {
            if bytes.is_empty() {
                return None;
            }
            let (mapping, begin) = match Mapping::find(bytes) {
                Some(found) => found,
                None => (Arc::clone(new.as_ref()?), offsets.next()?),
            };
            let known = self
                .files
                .iter()
                .position(|file| Arc::ptr_eq(file, &mapping));
            let file = known.unwrap_or_else(|| {
                self.files.push(mapping);
                self.files.len() - 1
            });
            Some(format!("{file}:{begin}:{}", bytes.len()))
        };
        for (name, kind, data) in &columns {
            let name = name.replace('\\', "\\\\").replace('\n', "\\n");
            _ = writeln!(self.text, "{name}\n{kind}");
            describe(data, &mut self.text, &mut place);
        }
        Ok(())
    }
}

/// Opens the columns that a text describes, over mapped files.
pub fn open(text: &str, files: &[Arc<Mapping>]) -> Result<Vec<(String, ArrayRef)>> {
    // Not `lines()`: a name may end with a carriage return.
    let mut lines = text.split_terminator('\n');
    let mut columns = Vec::new();
    while let Some(name) = lines.next() {
        let kind = DataType::from_str(lines.next().unwrap_or_default())?;
        let data = array(&kind, &mut lines, files)?;
        columns.push((unescaped(name), make_array(data)));
    }
    Ok(columns)
}

fn unescaped(name: &str) -> String {
    let mut letters = name.chars();
    std::iter::from_fn(|| match letters.next()? {
        '\\' => letters
            .next()
            .map(|letter| if letter == 'n' { '\n' } else { letter }),
        letter => Some(letter),
    })
    .collect()
}

/// The array without large unused parts: a slice of a long array should not
/// carry all of its texts.
fn compact(array: &ArrayRef) -> ArrayData {
    let data = array.to_data();
    let mut private = 0;
    each_buffer(&data, &mut |bytes| {
        if Mapping::find(bytes).is_none() {
            private += bytes.len();
        }
    });
    if let Some(texts) = array.as_string_view_opt() {
        let used = texts.len() * 16 + texts.total_buffer_bytes_used();
        return if private > 2 * used + SLACK {
            texts.gc().into()
        } else {
            data
        };
    }
    match data.get_slice_memory_size() {
        Ok(used) if private > 2 * used + SLACK => {
            let mut copy = MutableArrayData::new(vec![&data], false, data.len());
            copy.extend(0, 0, data.len());
            copy.freeze()
        }
        _ => data,
    }
}

/// Calls `visit` with the buffers of an array and of its children.
pub fn each_buffer<'a>(data: &'a ArrayData, visit: &mut impl FnMut(&'a [u8])) {
    if let Some(nulls) = data.nulls() {
        visit(nulls.buffer().as_slice());
    }
    for buffer in data.buffers() {
        visit(buffer.as_slice());
    }
    for child in data.child_data() {
        each_buffer(child, visit);
    }
}

/// Describes the buffers, in the order of [`each_buffer`].
fn describe(data: &ArrayData, text: &mut String, place: &mut impl FnMut(&[u8]) -> Option<String>) {
    _ = write!(text, "{} {}", data.len(), data.offset());
    match data
        .nulls()
        .map(|nulls| (nulls.offset(), place(nulls.buffer())))
    {
        Some((bit, Some(place))) => _ = write!(text, " {place}:{bit}"),
        _ => text.push_str(" -"),
    }
    for buffer in data.buffers() {
        let place = place(buffer);
        _ = write!(text, " {}", place.as_deref().unwrap_or("-"));
    }
    text.push('\n');
    for child in data.child_data() {
        describe(child, text, place);
    }
}

fn array<'a>(
    kind: &DataType,
    lines: &mut impl Iterator<Item = &'a str>,
    files: &[Arc<Mapping>],
) -> Result<ArrayData> {
    let broken = || Error("The session's answer cannot be read.".into());
    let mut words = lines.next().ok_or_else(broken)?.split(' ');
    let mut number = || words.next().and_then(|word| word.parse::<usize>().ok());
    let (length, offset) = number().zip(number()).ok_or_else(broken)?;
    let buffer = |word: &str| -> Result<(Buffer, usize)> {
        if word == "-" {
            return Ok((MutableBuffer::new(0).into(), 0));
        }
        let numbers: Vec<usize> = word.split(':').filter_map(|n| n.parse().ok()).collect();
        let (&[file, begin, length], bit) = numbers.split_first_chunk().ok_or_else(broken)?;
        let buffer = files.get(file).ok_or_else(broken)?.buffer(begin, length)?;
        Ok((buffer, bit.first().copied().unwrap_or(0)))
    };
    let nulls = match words.next() {
        None | Some("-") => None,
        Some(word) => {
            let (buffer, bit) = buffer(word)?;
            if 8 * buffer.len() < bit + length {
                return Err(broken());
            }
            Some(NullBuffer::new(BooleanBuffer::new(buffer, bit, length)))
        }
    };
    let buffers = words
        .map(|word| Ok(buffer(word)?.0))
        .collect::<Result<Vec<_>>>()?;
    let children = children(kind)
        .into_iter()
        .map(|kind| array(kind, lines, files))
        .collect::<Result<Vec<_>>>()?;
    let data = ArrayData::builder(kind.clone())
        .len(length)
        .offset(offset)
        .nulls(nulls)
        .buffers(buffers)
        .child_data(children)
        .build()?;
    Ok(data)
}

fn children(kind: &DataType) -> Vec<&DataType> {
    match kind {
        DataType::List(field)
        | DataType::ListView(field)
        | DataType::LargeList(field)
        | DataType::LargeListView(field)
        | DataType::FixedSizeList(field, _)
        | DataType::Map(field, _) => vec![field.data_type()],
        DataType::Struct(fields) => fields.iter().map(|field| field.data_type()).collect(),
        DataType::Union(fields, _) => fields.iter().map(|(_, field)| field.data_type()).collect(),
        DataType::RunEndEncoded(ends, values) => vec![ends.data_type(), values.data_type()],
        DataType::Dictionary(_, values) => vec![values],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::types::{Int8Type, Int32Type};
    use arrow_array::{
        BinaryArray, BooleanArray, DictionaryArray, Float64Array, Int64Array, ListArray, NullArray,
        StringArray, StringViewArray, StructArray, TimestampMicrosecondArray,
    };

    use super::*;

    fn every_kind() -> Vec<(String, ArrayRef)> {
        let texts = ["one", "", "a text of more than twelve letters", "x"];
        let list = ListArray::from_iter_primitive::<Int32Type, _, _>([
            Some(vec![Some(1), None]),
            None,
            Some(vec![]),
            Some(vec![Some(4)]),
        ]);
        let pairs = StructArray::from(vec![(
            Arc::new(arrow_schema::Field::new("größe b", DataType::Int64, true)),
            Arc::new(Int64Array::from(vec![1, 2, 3, 4])) as ArrayRef,
        )]);
        let times = TimestampMicrosecondArray::from(vec![1, 2, 3, 4]).with_timezone("Europe/Oslo");
        let columns: Vec<(&str, ArrayRef)> = vec![
            (
                "f64",
                Arc::new(Float64Array::from(vec![Some(1.5), None, Some(-0.0), None])),
            ),
            (
                "bool",
                Arc::new(BooleanArray::from(vec![
                    Some(true),
                    None,
                    Some(false),
                    None,
                ])),
            ),
            ("utf8", Arc::new(StringArray::from(texts.to_vec()))),
            ("view", Arc::new(StringViewArray::from(texts.to_vec()))),
            (
                "binary",
                Arc::new(BinaryArray::from_vec(vec![b"a", b"", b"bc", b"\0"])),
            ),
            (
                "dictionary",
                Arc::new(DictionaryArray::<Int8Type>::from_iter(texts)),
            ),
            ("list", Arc::new(list)),
            ("pairs", Arc::new(pairs)),
            ("times", Arc::new(times)),
            ("null", Arc::new(NullArray::new(4))),
            ("größe\n\\n\r", Arc::new(Int64Array::from(vec![1, 2, 3, 4]))),
        ];
        let owned = columns
            .into_iter()
            .map(|(name, array)| (name.to_owned(), array));
        owned.collect()
    }

    fn round_trip(columns: &[(String, ArrayRef)]) -> (Shared, Vec<(String, ArrayRef)>) {
        let mut shared = Shared::default();
        shared.add(columns).unwrap();
        let opened = open(&shared.text, &shared.files).unwrap();
        (shared, opened)
    }

    #[test]
    fn every_kind_comes_back() {
        let columns = every_kind();
        assert_eq!(round_trip(&columns).1, columns);
        let slices: Vec<_> = columns
            .iter()
            .map(|(n, a)| (n.clone(), a.slice(1, 2)))
            .collect();
        assert_eq!(round_trip(&slices).1, slices);
        let nothing: Vec<_> = columns
            .iter()
            .map(|(n, a)| (n.clone(), a.slice(0, 0)))
            .collect();
        assert_eq!(round_trip(&nothing).1, nothing);
    }

    #[test]
    fn what_is_shared_is_named_and_not_copied() {
        let (first, opened) = round_trip(&every_kind());
        assert!(first.copied > 0);
        let slices: Vec<_> = opened
            .iter()
            .map(|(n, a)| (n.clone(), a.slice(1, 3)))
            .collect();
        let (second, again) = round_trip(&slices);
        assert_eq!((second.copied, second.files.len()), (0, 1));
        assert_eq!(again, slices);
        let address = |array: &ArrayRef| array.to_data().buffers()[0].as_ptr();
        assert_eq!(address(&again[0].1), address(&slices[0].1));
    }

    #[test]
    fn only_the_new_column_of_a_shared_frame_is_copied() {
        let (_, mut columns) = round_trip(&every_kind());
        columns.push(("new".into(), Arc::new(Int64Array::from(vec![0; 4]))));
        let (shared, opened) = round_trip(&columns);
        assert_eq!((shared.copied, shared.files.len()), (32, 2));
        assert_eq!(opened, columns);
    }

    #[test]
    fn a_slice_does_not_bring_the_texts_of_all() {
        let texts = vec!["a text of more than twelve letters"; 100_000];
        let all: [ArrayRef; 2] = [
            Arc::new(StringViewArray::from(texts.clone())),
            Arc::new(StringArray::from(texts)),
        ];
        for array in all {
            let slice = vec![("t".to_owned(), array.slice(5, 3))];
            let (shared, opened) = round_trip(&slice);
            assert!(shared.copied < 1000, "{}", shared.copied);
            assert_eq!(opened, slice);
        }
    }

    #[test]
    fn a_broken_text_is_an_error() {
        let (shared, _) = round_trip(&every_kind());
        for text in [
            "x\nInt64\n",
            "x\nInt64\n4 0 - 7:0:32\n",
            "x\nInt64\n99 0 - 0:0:32\n",
            "x\ny\n",
        ] {
            assert!(open(text, &shared.files).is_err(), "{text}");
        }
    }
}
