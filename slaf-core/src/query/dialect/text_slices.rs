//! `'text'[2:3]` and `'text'[1]`: characters of a text, as in DuckDB. They are
//! counted from 1, or from the end if negative, and both ends are included.
//! DataFusion slices only lists.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, StringArray};
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawFieldAccessExpr};
use datafusion::logical_expr::{
    ColumnarValue, ExprSchemable, GetFieldAccess, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, Volatility, lit,
};

#[derive(Debug)]
pub(crate) struct SliceTexts;

impl ExprPlanner for SliceTexts {
    fn plan_field_access(
        &self,
        access: RawFieldAccessExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawFieldAccessExpr>> {
        if !is_text(&access.expr.get_type(schema)?) {
            return Ok(PlannerResult::Original(access));
        }
        let RawFieldAccessExpr { expr, field_access } = access;
        let (first, last) = match field_access {
            GetFieldAccess::ListIndex { key } => (*key.clone(), *key),
            GetFieldAccess::ListRange {
                start,
                stop,
                stride,
            } if *stride == lit(1i64) => (*start, *stop),
            field_access => {
                let access = RawFieldAccessExpr { expr, field_access };
                return Ok(PlannerResult::Original(access));
            }
        };
        let slice = ScalarUDF::from(SliceText {
            signature: Signature::exact(
                vec![DataType::Utf8, DataType::Int64, DataType::Int64],
                Volatility::Immutable,
            ),
        });
        Ok(PlannerResult::Planned(slice.call(vec![expr, first, last])))
    }
}

fn is_text(dtype: &DataType) -> bool {
    match dtype {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Dictionary(_, values) => is_text(values),
        _ => false,
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct SliceText {
    signature: Signature,
}

impl ScalarUDFImpl for SliceText {
    fn name(&self) -> &str {
        "slice"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let texts = arrays[0].as_string::<i32>().iter();
        let first = arrays[1].as_primitive::<Int64Type>().iter();
        let last = arrays[2].as_primitive::<Int64Type>().iter();
        let slices = texts.zip(first).zip(last);
        let slices = slices.map(|((text, first), last)| Some(slice(text?, first?, last?)));
        let slices: ArrayRef = Arc::new(StringArray::from_iter(slices));
        Ok(ColumnarValue::Array(slices))
    }
}

fn slice(text: &str, first: i64, last: i64) -> &str {
    let letters = text.chars().count() as i64;
    let counted = |place: i64| {
        if place < 0 {
            place + letters + 1
        } else {
            place
        }
    };
    let first = counted(first).max(1);
    let last = counted(last).min(letters);
    if last < first {
        return "";
    }
    let byte = |letter: i64| {
        let place = text.char_indices().nth(letter as usize);
        place.map_or(text.len(), |(at, _)| at)
    };
    &text[byte(first - 1)..byte(last)]
}
