//! The values of a matrix in the dtype that the reader wants.

use std::ops::Range;

use arrow::array::{ArrayRef, ArrowPrimitiveType, AsArray};
use arrow::buffer::ScalarBuffer;
use arrow::compute::cast;
use arrow::datatypes::ArrowNativeType;
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int32Type, Int64Type, UInt16Type};

use crate::{Error, Result};

/// The dtypes in which matrices are read and written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueType {
    U16,
    I32,
    I64,
    F32,
    F64,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    U16(Vec<u16>),
    I32(Vec<i32>),
    I64(Vec<i64>),
    F32(Vec<f32>),
    F64(Vec<f64>),
}

/// The same, borrowed.
#[derive(Debug, Clone, Copy)]
pub enum ValuesRef<'a> {
    U16(&'a [u16]),
    I32(&'a [i32]),
    I64(&'a [i64]),
    F32(&'a [f32]),
    F64(&'a [f64]),
}

impl ValuesRef<'_> {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::U16(v) => v.len(),
            Self::I32(v) => v.len(),
            Self::I64(v) => v.len(),
            Self::F32(v) => v.len(),
            Self::F64(v) => v.len(),
        }
    }

    pub(crate) fn slice(self, range: Range<usize>) -> Self {
        match self {
            Self::U16(v) => Self::U16(&v[range]),
            Self::I32(v) => Self::I32(&v[range]),
            Self::I64(v) => Self::I64(&v[range]),
            Self::F32(v) => Self::F32(&v[range]),
            Self::F64(v) => Self::F64(&v[range]),
        }
    }

    pub(crate) fn get(&self, at: usize) -> f64 {
        match self {
            Self::U16(v) => v[at].into(),
            Self::I32(v) => v[at].into(),
            Self::I64(v) => v[at] as f64,
            Self::F32(v) => v[at].into(),
            Self::F64(v) => v[at],
        }
    }
}

/// Runs `$body` with `$v` bound to the typed vector inside a [`Values`].
macro_rules! typed {
    ($values:expr, $v:ident => $body:expr) => {
        match $values {
            Values::U16($v) => $body,
            Values::I32($v) => $body,
            Values::I64($v) => $body,
            Values::F32($v) => $body,
            Values::F64($v) => $body,
        }
    };
}

impl ValueType {
    /// By numpy's name. Other numeric dtypes are read as the narrowest of these
    /// that can hold all of their values.
    pub fn from_numpy(name: &str) -> Option<Self> {
        match name {
            "uint16" => Some(Self::U16),
            "bool" | "int8" | "uint8" | "int16" | "int32" => Some(Self::I32),
            "uint32" | "int64" | "uint64" => Some(Self::I64),
            "float16" | "float32" => Some(Self::F32),
            "float64" => Some(Self::F64),
            _ => None,
        }
    }

    pub fn numpy_name(self) -> &'static str {
        match self {
            Self::U16 => "uint16",
            Self::I32 => "int32",
            Self::I64 => "int64",
            Self::F32 => "float32",
            Self::F64 => "float64",
        }
    }

    pub(crate) fn arrow(self) -> DataType {
        match self {
            Self::U16 => DataType::UInt16,
            Self::I32 => DataType::Int32,
            Self::I64 => DataType::Int64,
            Self::F32 => DataType::Float32,
            Self::F64 => DataType::Float64,
        }
    }
}

impl TryFrom<&DataType> for ValueType {
    type Error = Error;

    fn try_from(stored: &DataType) -> Result<Self> {
        match stored {
            DataType::UInt16 => Ok(Self::U16),
            DataType::UInt8 | DataType::Int8 | DataType::Int16 | DataType::Int32 => Ok(Self::I32),
            DataType::UInt32 | DataType::Int64 => Ok(Self::I64),
            DataType::Float32 => Ok(Self::F32),
            DataType::Float64 => Ok(Self::F64),
            other => Err(Error::Engine {
                message: format!("Matrix values of type {other} are not supported."),
            }),
        }
    }
}

impl Values {
    pub fn len(&self) -> usize {
        typed!(self, v => v.len())
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn as_ref(&self) -> ValuesRef<'_> {
        match self {
            Self::U16(v) => ValuesRef::U16(v),
            Self::I32(v) => ValuesRef::I32(v),
            Self::I64(v) => ValuesRef::I64(v),
            Self::F32(v) => ValuesRef::F32(v),
            Self::F64(v) => ValuesRef::F64(v),
        }
    }

    pub fn value_type(&self) -> ValueType {
        match self {
            Self::U16(_) => ValueType::U16,
            Self::I32(_) => ValueType::I32,
            Self::I64(_) => ValueType::I64,
            Self::F32(_) => ValueType::F32,
            Self::F64(_) => ValueType::F64,
        }
    }
}

/// A numeric Rust type for matrix values.
pub(crate) trait Value: ArrowNativeType + PartialOrd + Send {
    type Arrow: ArrowPrimitiveType<Native = Self>;

    fn to_f64(self) -> f64;

    fn wrap(values: Vec<Self>) -> Values;

    /// Appends values of any type, converted to this one.
    fn extend(values: &mut Vec<Self>, more: ValuesRef<'_>);
}

macro_rules! value {
    ($($native:ty => $arrow:ty, $variant:ident);*) => {
        $(impl Value for $native {
            type Arrow = $arrow;

            fn wrap(values: Vec<Self>) -> Values {
                Values::$variant(values)
            }

            fn extend(values: &mut Vec<Self>, more: ValuesRef<'_>) {
                match more {
                    ValuesRef::U16(v) => values.extend(v.iter().map(|x| *x as $native)),
                    ValuesRef::I32(v) => values.extend(v.iter().map(|x| *x as $native)),
                    ValuesRef::I64(v) => values.extend(v.iter().map(|x| *x as $native)),
                    ValuesRef::F32(v) => values.extend(v.iter().map(|x| *x as $native)),
                    ValuesRef::F64(v) => values.extend(v.iter().map(|x| *x as $native)),
                }
            }

            #[inline]
            fn to_f64(self) -> f64 {
                self as f64
            }
        })*
    };
}
value!(
    u16 => UInt16Type, U16;
    i32 => Int32Type, I32;
    i64 => Int64Type, I64;
    f32 => Float32Type, F32;
    f64 => Float64Type, F64
);

/// A column's values in `T`'s dtype. If the column has this dtype, its buffer
/// is shared.
pub(crate) fn column<T: Value>(array: &ArrayRef) -> Result<ScalarBuffer<T>> {
    let array = cast(array, &T::Arrow::DATA_TYPE)?;
    Ok(array.as_primitive::<T::Arrow>().values().clone())
}
