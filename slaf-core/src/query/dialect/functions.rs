//! Scalar functions that DataFusion lacks.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, FixedSizeListArray, Float64Array, UInt64Array,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type};
use datafusion::common::{Result, exec_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use crate::ground::random::mixed;
use crate::search::Metric;

/// All functions of this file.
pub(crate) fn all() -> Vec<Arc<ScalarUDF>> {
    vec![
        Arc::new(ScalarUDF::from(Distance {
            signature: Signature::any(3, Volatility::Immutable),
        })),
        Arc::new(ScalarUDF::from(OfFloat::new("isfinite", DataType::Boolean))),
        Arc::new(ScalarUDF::from(OfFloat::new("isinf", DataType::Boolean))),
        Arc::new(ScalarUDF::from(OfFloat::new("log1p", DataType::Float64))),
        Arc::new(ScalarUDF::from(OfFloat::new("sign", DataType::Int64))),
        Arc::new(ScalarUDF::from(SampleKey {
            signature: Signature::variadic(vec![DataType::Int64], Volatility::Immutable),
        })),
    ]
}

/// Functions of one number: `isfinite`, `isinf`, `sign` (0 of NaN, as in DuckDB)
/// and `log1p`, which is ln(1 + x), exact for small x.
#[derive(Debug, PartialEq, Eq, Hash)]
struct OfFloat {
    name: &'static str,
    gives: DataType,
    signature: Signature,
}

impl OfFloat {
    fn new(name: &'static str, gives: DataType) -> Self {
        Self {
            name,
            gives,
            signature: Signature::exact(vec![DataType::Float64], Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for OfFloat {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.gives.clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [x] = &ColumnarValue::values_to_arrays(&args.args)?[..] else {
            return exec_err!("{} takes one argument", self.name);
        };
        let x = x.as_primitive::<Float64Type>();
        let mask = |holds: fn(f64) -> bool| BooleanArray::from_iter(x.iter().map(|x| x.map(holds)));
        let sign = |x: f64| i64::from(x > 0.0) - i64::from(x < 0.0);
        let array: ArrayRef = match self.name {
            "isfinite" => Arc::new(mask(f64::is_finite)),
            "isinf" => Arc::new(mask(f64::is_infinite)),
            "sign" => Arc::new(x.unary::<_, Int64Type>(sign)),
            _ => Arc::new(x.unary::<_, Float64Type>(f64::ln_1p)),
        };
        Ok(ColumnarValue::Array(array))
    }
}

/// `distance(a, b, metric)` of two vectors. The metric is `l2`, `cosine` or `dot` (the
/// negative product, so that a smaller number is nearer).
#[derive(Debug, PartialEq, Eq, Hash)]
struct Distance {
    signature: Signature,
}

impl ScalarUDFImpl for Distance {
    fn name(&self) -> &str {
        "distance"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        let vector = |dtype: &DataType| {
            matches!(
                dtype,
                DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..)
            )
        };
        if !arguments.iter().take(2).all(vector) {
            return plan_err!(
                "distance() compares two vectors, such as an embedding's column and `[0.1, 0.2]`"
            );
        }
        Ok(DataType::Float64)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [a, b, metric] = &args.args[..] else {
            return exec_err!("distance takes two vectors and a metric");
        };
        let metric = match metric {
            ColumnarValue::Scalar(value) => value.to_string(),
            ColumnarValue::Array(_) => return exec_err!("the metric of a distance is a text"),
        };
        let Some(metric) = Metric::from_name(&metric) else {
            return exec_err!("There is no metric `{metric}`. Use `l2`, `cosine` or `dot`");
        };
        let rows = args.number_rows;
        let (a, b) = (Vectors::of(a, rows)?, Vectors::of(b, rows)?);
        if let (Some(m), Some(n)) = (a.width, b.width)
            && m != n
        {
            return exec_err!("A vector of {m} numbers is compared with one of {n}");
        }
        let distance = |row| Some(metric.distance(a.row(row)?, b.row(row)?));
        let distances = (0..rows).map(distance);
        Ok(ColumnarValue::Array(Arc::new(Float64Array::from_iter(
            distances,
        ))))
    }
}

/// Vectors as float64: one for all rows, or one per row.
struct Vectors {
    values: Float64Array,
    valid: Option<arrow::buffer::NullBuffer>,
    width: Option<usize>,
    single: bool,
}

impl Vectors {
    fn of(value: &ColumnarValue, rows: usize) -> Result<Self> {
        let single = matches!(value, ColumnarValue::Scalar(_));
        let array: ArrayRef = value.to_array(if single { 1 } else { rows })?;
        let width = match array.data_type() {
            DataType::FixedSizeList(_, width) => Some(*width as usize),
            DataType::List(_) => {
                let lists = array.as_list::<i32>();
                (0..lists.len())
                    .find(|row| lists.is_valid(*row))
                    .map(|row| lists.value_length(row) as usize)
            }
            DataType::LargeList(_) => {
                let lists = array.as_list::<i64>();
                (0..lists.len())
                    .find(|row| lists.is_valid(*row))
                    .map(|row| lists.value_length(row) as usize)
            }
            other => return exec_err!("{other} is no vector"),
        };
        let item = Arc::new(Field::new_list_field(DataType::Float64, true));
        let fixed = DataType::FixedSizeList(item, width.unwrap_or(0) as i32);
        let Ok(array) = cast(&array, &fixed) else {
            return exec_err!("The vectors of a distance have different lengths");
        };
        let list: &FixedSizeListArray = array.as_fixed_size_list();
        Ok(Self {
            values: list.values().as_primitive::<Float64Type>().clone(),
            valid: list.nulls().cloned(),
            width,
            single,
        })
    }

    fn row(&self, row: usize) -> Option<&[f64]> {
        let row = if self.single { 0 } else { row };
        if self.valid.as_ref().is_some_and(|valid| valid.is_null(row)) {
            return None;
        }
        let width = self.width?;
        self.values.values().get(row * width..(row + 1) * width)
    }
}

/// `sample_key(seed, id, …)`: a number that is mixed from the seed and the ids
/// (SplitMix64). The rows with the smallest numbers are a random sample.
#[derive(Debug, PartialEq, Eq, Hash)]
struct SampleKey {
    signature: Signature,
}

impl ScalarUDFImpl for SampleKey {
    fn name(&self) -> &str {
        "sample_key"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::UInt64)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let mut keys = vec![0u64; args.number_rows];
        for column in &args.args {
            let column = column.to_array(args.number_rows)?;
            for (key, id) in keys
                .iter_mut()
                .zip(column.as_primitive::<Int64Type>().values())
            {
                *key = mixed(*key ^ mixed(*id as u64));
            }
        }
        Ok(ColumnarValue::Array(Arc::new(UInt64Array::from(keys))))
    }
}
