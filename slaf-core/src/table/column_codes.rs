//! The values of a column as small integers, for columns with few values.

use std::hash::Hash;

use arrow::array::{Array, ArrayRef, AsArray, UInt32Array};
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, Int64Type};
use polars::prelude::PlHashMap;

use crate::Result;

/// The code of each row's value.
#[derive(Debug)]
pub(crate) struct Codes {
    /// For each row, the index of its value in `values`.
    pub(crate) codes: Vec<u16>,
    /// The different values, including NULL, in the order in which they first occur.
    pub(crate) values: ArrayRef,
}

impl Codes {
    /// `None` if the column has more than 65,536 different values, or if its type is
    /// not text, integer or boolean.
    pub(super) fn of(column: &ArrayRef) -> Result<Option<Self>> {
        let found = match column.data_type() {
            DataType::Utf8 => number(column.as_string::<i32>().iter()),
            DataType::LargeUtf8 => number(column.as_string::<i64>().iter()),
            DataType::Utf8View => number(column.as_string_view().iter()),
            DataType::Boolean => number(column.as_boolean().iter()),
            DataType::UInt64 => None,
            dtype if dtype.is_integer() => {
                let wide = cast(column, &DataType::Int64)?;
                number(wide.as_primitive::<Int64Type>().iter())
            }
            _ => None,
        };
        let Some((codes, firsts)) = found else {
            return Ok(None);
        };
        let values = take(column, &UInt32Array::from(firsts), None)?;
        Ok(Some(Self { codes, values }))
    }
}

/// The code of each row, and the first row of each code; `None` if there are too many.
fn number<K: Hash + Eq>(rows: impl Iterator<Item = K>) -> Option<(Vec<u16>, Vec<u32>)> {
    let mut known: PlHashMap<K, u16> = PlHashMap::default();
    let (mut codes, mut firsts) = (Vec::with_capacity(rows.size_hint().0), vec![]);
    for (row, key) in rows.enumerate() {
        let code = match known.get(&key) {
            Some(code) => *code,
            None => {
                let next = u16::try_from(firsts.len()).ok()?;
                firsts.push(u32::try_from(row).ok()?);
                known.insert(key, next);
                next
            }
        };
        codes.push(code);
    }
    Some((codes, firsts))
}
