//! Values of Arrow columns, formatted for people.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Float32Type, Float64Type};
use arrow::util::display::{ArrayFormatter, FormatOptions};

/// Maximum number of list items that are shown.
const OF_A_LIST: usize = 3;

/// A value as text; `None` is NULL.
pub(crate) fn cell(array: &dyn Array, row: usize) -> Option<String> {
    if array.is_null(row) {
        return None;
    }
    match array.data_type() {
        DataType::Float64 => return Some(rounded(array.as_primitive::<Float64Type>().value(row))),
        DataType::Float32 => {
            let value = array.as_primitive::<Float32Type>().value(row);
            return Some(rounded(f64::from(value)));
        }
        _ => {}
    }
    if let Some(items) = items(array, row) {
        return Some(list(&items));
    }
    let text = match ArrayFormatter::try_new(array, &FormatOptions::default()) {
        Ok(formatter) => formatter.value(row).try_to_string().ok(),
        Err(_) => None,
    };
    Some(text.unwrap_or_else(|| format!("<{}>", array.data_type())))
}

/// The items of a list.
fn items(array: &dyn Array, row: usize) -> Option<ArrayRef> {
    match array.data_type() {
        DataType::List(_) => Some(array.as_list::<i32>().value(row)),
        DataType::LargeList(_) => Some(array.as_list::<i64>().value(row)),
        DataType::FixedSizeList(..) => Some(array.as_fixed_size_list().value(row)),
        _ => None,
    }
}

fn list(items: &dyn Array) -> String {
    let shown = (0..items.len().min(OF_A_LIST))
        .map(|at| cell(items, at).unwrap_or_else(|| "NULL".into()))
        .collect::<Vec<_>>()
        .join(", ");
    match items.len() > OF_A_LIST {
        true => format!("[{shown}, … {} values]", items.len()),
        false => format!("[{shown}]"),
    }
}

/// Six significant digits, as numpy and pandas show.
pub(crate) fn rounded(number: f64) -> String {
    let size = number.abs();
    if size == 0.0 || !number.is_finite() {
        return number.to_string();
    }
    if !(1e-4..1e9).contains(&size) {
        return format!("{number:.5e}");
    }
    let decimals = (5 - size.log10().floor() as i64).clamp(0, 9) as usize;
    let text = format!("{number:.decimals$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// Three significant digits, for values beside a picture.
pub(crate) fn brief(number: f64) -> String {
    match number.abs() {
        size if size == 0.0 || !number.is_finite() => number.to_string(),
        size if (1e-3..1e6).contains(&size) => {
            let decimals = (2 - size.log10().floor() as i64).clamp(0, 5) as usize;
            let text = format!("{number:.decimals$}");
            match text.contains('.') {
                true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
                false => text,
            }
        }
        _ => format!("{number:.2e}"),
    }
}

/// Aligns numbers at their decimal points: they are padded with spaces as wide as
/// digits.
pub(crate) fn at_the_point(column: &mut [Option<String>]) {
    let behind = |text: &str| match text.find('.') {
        _ if text.contains('e') => 0,
        Some(point) => text.len() - point,
        None => 0,
    };
    let most = column
        .iter()
        .flatten()
        .map(|t| behind(t))
        .max()
        .unwrap_or(0);
    for text in column.iter_mut().flatten() {
        let own = behind(text);
        if own == 0 && most > 0 {
            text.push('\u{2008}');
        }
        text.extend(std::iter::repeat_n(
            '\u{2007}',
            most.saturating_sub(own.max(1)),
        ));
    }
}

pub(crate) fn is_number(dtype: &DataType) -> bool {
    dtype.is_numeric()
}

/// The name of a type in SQL.
pub(crate) fn short(dtype: &DataType) -> String {
    match dtype {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "text".into(),
        DataType::FixedSizeList(inner, n) => format!("{}[{n}]", short(inner.data_type())),
        DataType::List(inner) | DataType::LargeList(inner) => {
            format!("{}[]", short(inner.data_type()))
        }
        DataType::Dictionary(_, values) => short(values),
        other => other.to_string().to_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{FixedSizeListArray, StringArray};

    use super::*;

    #[test]
    fn floats_show_six_digits() {
        let shown = [
            0.0,
            1.0,
            -4432.076923,
            0.1 + 0.2,
            1.5e-7,
            123456789.0,
            f64::NAN,
        ]
        .map(rounded);
        assert_eq!(
            shown,
            [
                "0",
                "1",
                "-4432.08",
                "0.3",
                "1.50000e-7",
                "123456789",
                "NaN"
            ]
        );
    }

    #[test]
    fn ends_are_brief() {
        let shown = [0.0, 1001.0, 0.00484171, -0.8168, 28.408, 1.0, 3.2e9, 5e-324].map(brief);
        let told = [
            "0",
            "1001",
            "0.00484",
            "-0.817",
            "28.4",
            "1",
            "3.20e9",
            "4.94e-324",
        ];
        assert_eq!(shown, told);
    }

    #[test]
    fn a_vector_is_its_beginning_and_its_length() {
        let vectors = FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(
            [Some((0..50).map(|i| Some(i as f32 / 4.0)))],
            50,
        );
        assert_eq!(cell(&vectors, 0).unwrap(), "[0, 0.25, 0.5, … 50 values]");
        let text = StringArray::from(vec![Some("x"), None]);
        assert_eq!([cell(&text, 0), cell(&text, 1)], [Some("x".into()), None]);
    }

    #[test]
    fn points_are_below_each_other() {
        let mut column = ["1", "2.25", "-3.5"].map(|t| Some(t.to_owned()));
        at_the_point(&mut column);
        assert_eq!(
            column.map(Option::unwrap),
            ["1\u{2008}\u{2007}\u{2007}", "2.25", "-3.5\u{2007}"]
        );
    }
}
