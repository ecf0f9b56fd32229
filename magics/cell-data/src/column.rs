//! Conversion between Rust vectors and Arrow columns.

use std::sync::Arc;

use arrow_array::types::*;
use arrow_array::{
    Array, ArrayRef, ArrowPrimitiveType, BooleanArray, PrimitiveArray, RecordBatch,
    StringViewArray, cast::AsArray,
};
use arrow_buffer::{ArrowNativeType, ScalarBuffer};

use crate::{Error, Result};

/// A number type of columns and matrices.
pub trait Value: ArrowNativeType {
    type Arrow: ArrowPrimitiveType<Native = Self>;
}

macro_rules! value {
    ($($native:ty => $arrow:ty),*) => {
        $(impl Value for $native {
            type Arrow = $arrow;
        })*
    };
}

value!(
    i8 => Int8Type, i16 => Int16Type, i32 => Int32Type, i64 => Int64Type,
    u8 => UInt8Type, u16 => UInt16Type, u32 => UInt32Type, u64 => UInt64Type,
    f32 => Float32Type, f64 => Float64Type
);

/// What can become a column: vectors of numbers, bools or texts, and vectors of
/// options of these.
pub trait Column {
    fn into_array(self) -> ArrayRef;
}

impl Column for ArrayRef {
    fn into_array(self) -> ArrayRef {
        self
    }
}

impl<T: Value> Column for Vec<T> {
    fn into_array(self) -> ArrayRef {
        Arc::new(PrimitiveArray::<T::Arrow>::new(self.into(), None))
    }
}

impl<T: Value> Column for Vec<Option<T>> {
    fn into_array(self) -> ArrayRef {
        Arc::new(PrimitiveArray::<T::Arrow>::from_iter(self))
    }
}

macro_rules! column {
    ($($item:ty => $array:ty),*) => {
        $(impl Column for Vec<$item> {
            fn into_array(self) -> ArrayRef {
                Arc::new(<$array>::from_iter(self.into_iter().map(Some)))
            }
        }

        impl Column for Vec<Option<$item>> {
            fn into_array(self) -> ArrayRef {
                Arc::new(<$array>::from_iter(self))
            }
        })*
    };
}

column!(bool => BooleanArray, String => StringViewArray, &str => StringViewArray);

/// Makes a column for [`frame`]; a vector of numbers is not copied.
pub fn column(values: impl Column) -> ArrayRef {
    values.into_array()
}

/// Makes a batch of named columns.
///
/// # Errors
///
/// The columns differ in length.
pub fn frame<'a>(columns: impl IntoIterator<Item = (&'a str, ArrayRef)>) -> Result<RecordBatch> {
    let columns: Vec<_> = columns.into_iter().collect();
    if let Some(((first, one), (other, another))) = columns
        .iter()
        .zip(columns.iter().skip(1))
        .find(|((_, a), (_, b))| a.len() != b.len())
    {
        return Err(Error(format!(
            "The column `{first}` has {} rows, and `{other}` has {}.",
            one.len(),
            another.len()
        )));
    }
    let columns = columns
        .into_iter()
        .map(|(name, column)| (name, column, true));
    Ok(RecordBatch::try_from_iter_with_nullable(columns)?)
}

/// The numbers of a column: `slaf::values::<f64>(&cells, "total_counts")?` is a
/// slice that can be kept in a variable.
///
/// # Errors
///
/// The column does not exist, has another type, or has missing values.
pub fn values<T: Value>(batch: &RecordBatch, name: &str) -> Result<ScalarBuffer<T>> {
    let Some(column) = batch.column_by_name(name) else {
        let names: Vec<_> = batch
            .schema()
            .fields()
            .iter()
            .map(|f| format!("`{}`", f.name()))
            .collect();
        let names = names.join(", ");
        return Err(Error(format!(
            "There is no column `{name}`; there are {names}."
        )));
    };
    if column.null_count() > 0 {
        let missing = column.null_count();
        return Err(Error(format!(
            "{missing} values of `{name}` are missing; use `as_primitive` of its column."
        )));
    }
    numbers(column, &format!("`{name}`"))
}

/// The numbers of an array, if they are of type `T`.
pub(crate) fn numbers<T: Value>(array: &ArrayRef, what: &str) -> Result<ScalarBuffer<T>> {
    match array.as_primitive_opt::<T::Arrow>() {
        Some(array) => Ok(array.values().clone()),
        None => {
            let kind = array.data_type();
            let wanted = std::any::type_name::<T>();
            Err(Error(if kind.is_numeric() {
                let name = kind.to_string().to_lowercase();
                let name = name
                    .replace("uint", "u")
                    .replace("int", "i")
                    .replace("float", "f");
                format!("{what} holds {name}, not {wanted}. Ask for `values::<{name}>`.")
            } else {
                format!("{what} holds {kind}, not {wanted}.")
            }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_become_columns_and_numbers_slices() {
        let numbers = vec![1.5, 2.5];
        let address = numbers.as_ptr();
        let batch = frame([
            ("x", column(numbers)),
            ("n", column(vec![Some(1_u16), None])),
            ("t", column(vec!["a", "b"])),
            ("b", column(vec![true, false])),
        ])
        .unwrap();
        let x = values::<f64>(&batch, "x").unwrap();
        assert_eq!((&x[..], x.as_ptr()), (&[1.5, 2.5][..], address));
        let errors = [
            values::<f32>(&batch, "x").unwrap_err(),
            values::<u16>(&batch, "n").unwrap_err(),
            values::<u16>(&batch, "t").unwrap_err(),
            values::<u16>(&batch, "y").unwrap_err(),
        ];
        let errors = errors.map(|error| error.to_string());
        assert_eq!(
            errors,
            [
                "`x` holds f64, not f32. Ask for `values::<f64>`.",
                "1 values of `n` are missing; use `as_primitive` of its column.",
                "`t` holds Utf8View, not u16.",
                "There is no column `y`; there are `x`, `n`, `t`, `b`.",
            ]
        );
    }

    #[test]
    fn columns_of_a_frame_have_one_length() {
        let error = frame([("a", column(vec![1])), ("b", column(vec![1, 2]))]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "The column `a` has 1 rows, and `b` has 2."
        );
    }
}
