//! Finds equal rows of a morsel, so that expressions are computed once for them: most
//! values are small counts, which repeat within a cell.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array, downcast_integer_array};
use arrow::compute::{cast, take_record_batch};
use arrow::datatypes::{ArrowNativeType, DataType, Float32Type, Float64Type, UInt32Type};
use arrow::error::ArrowError;

use crate::query::sources::expression::VALUE;

/// Counts below this are looked up in a table.
const SMALL: usize = 256;

/// One row of each kind, and how many rows are equal to it. Rows are compared within runs
/// of an id. `None` if few rows are equal, or there are other columns than one of ids and
/// the values.
pub(super) fn count_equal(
    morsel: &RecordBatch,
) -> Result<Option<(RecordBatch, Vec<u64>)>, ArrowError> {
    let Some(values) = morsel.column_by_name(VALUE) else {
        return Ok(None);
    };
    if morsel.num_columns() > 2 || values.null_count() > 0 {
        return Ok(None);
    }
    let names = morsel.schema();
    let mut others = names.fields().iter().zip(morsel.columns());
    let ids = others.find(|(field, _)| field.name() != VALUE);
    let ends = match ids {
        Some((_, ids)) => run_ends(ids)?,
        None => vec![morsel.num_rows()],
    };
    let mut equal = EqualRows::default();
    let values = values.as_ref();
    downcast_integer_array!(
        values => equal.add(values.values(), &ends, |value| value.to_usize()),
        DataType::Float32 => {
            equal.add(values.as_primitive::<Float32Type>().values(), &ends, |v| whole(v.into()))
        }
        DataType::Float64 => {
            equal.add(values.as_primitive::<Float64Type>().values(), &ends, whole)
        }
        _ => return Ok(None)
    );
    if equal.rows.len() > morsel.num_rows() / 2 {
        return Ok(None);
    }
    let rows = take_record_batch(morsel, &UInt32Array::from(equal.rows))?;
    Ok(Some((rows, equal.times)))
}

/// Where the runs of equal ids end.
fn run_ends(ids: &ArrayRef) -> Result<Vec<usize>, ArrowError> {
    let ids = cast(ids, &DataType::UInt32)?;
    let runs = ids
        .as_primitive::<UInt32Type>()
        .values()
        .chunk_by(|a, b| a == b);
    let ends = runs.scan(0, |end, run| {
        *end += run.len();
        Some(*end)
    });
    Ok(ends.collect())
}

/// A number that is whole and not negative. -0.0 is not 0.0, as its sign can be asked for.
fn whole(value: f64) -> Option<usize> {
    let whole = value as usize;
    (whole as f64 == value && value.is_sign_positive()).then_some(whole)
}

#[derive(Default)]
struct EqualRows {
    /// The first row of each kind.
    rows: Vec<u32>,
    times: Vec<u64>,
}

impl EqualRows {
    /// Adds the rows of runs that end at `ends`.
    fn add<T: Copy>(&mut self, values: &[T], ends: &[usize], number: impl Fn(T) -> Option<usize>) {
        // For each small number of a run: where `rows` has it, from 1.
        let mut places = [0u32; SMALL];
        let mut start = 0;
        for end in ends {
            let first = self.rows.len();
            for (row, value) in (start..*end).zip(&values[start..*end]) {
                match number(*value).filter(|number| *number < SMALL) {
                    Some(number) if places[number] > 0 => {
                        self.times[places[number] as usize - 1] += 1;
                    }
                    small => {
                        self.rows.push(row as u32);
                        self.times.push(1);
                        if let Some(number) = small {
                            places[number] = self.rows.len() as u32;
                        }
                    }
                }
            }
            for row in &self.rows[first..] {
                if let Some(number) = number(values[*row as usize]).filter(|n| *n < SMALL) {
                    places[number] = 0;
                }
            }
            start = *end;
        }
    }
}
