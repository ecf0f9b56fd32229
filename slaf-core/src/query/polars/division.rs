//! Division as in SQL.

use polars::error::polars_bail;
use polars::prelude::arity::binary_elementwise_values;
use polars::prelude::{
    Column, DataType as PlDataType, Expr as PlExpr, Float32Chunked, Float64Chunked, IntoColumn,
};

/// `l / r` of two floats of the same type, rounded once. If `r` is one value, Polars
/// multiplies by 1 / r, and then 49.0 / 49.0 is less than 1.
pub(super) fn quotient(l: PlExpr, r: PlExpr) -> PlExpr {
    let divided = |columns: &mut [Column]| {
        let [l, r] = columns else {
            polars_bail!(ComputeError: "a quotient is of two numbers");
        };
        let long = |column: &Column, beside: &Column| match (column.len(), beside.len()) {
            (1, rows) => column.new_from_index(0, rows),
            _ => column.clone(),
        };
        let (l, r) = (long(l, r), long(r, l));
        Ok(match l.dtype() {
            PlDataType::Float32 => {
                let quotients: Float32Chunked =
                    binary_elementwise_values(l.f32()?, r.f32()?, |l, r| l / r);
                quotients.into_column()
            }
            _ => {
                let quotients: Float64Chunked =
                    binary_elementwise_values(l.f64()?, r.f64()?, |l, r| l / r);
                quotients.into_column()
            }
        })
    };
    l.map_many(divided, &[r], |_, fields| Ok(fields[0].clone()))
}
