//! Functions that split a text into a list: `regexp_split_to_array(text, pattern)`
//! returns the parts between the matches, and `regexp_extract_all(text, pattern)`
//! the matches.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, ListBuilder, StringBuilder};
use arrow::datatypes::{DataType, Field};
use datafusion::common::{Result, exec_datafusion_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use regex::Regex;

pub(crate) fn all() -> Vec<Arc<ScalarUDF>> {
    let names = [
        ("regexp_split_to_array", false),
        ("string_split_regex", false),
        ("str_split_regex", false),
        ("regexp_extract_all", true),
    ];
    let functions = names.map(|(name, matches)| {
        Arc::new(ScalarUDF::from(Pieces {
            name,
            matches,
            signature: Signature::exact(vec![DataType::Utf8; 2], Volatility::Immutable),
        }))
    });
    functions.into()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Pieces {
    name: &'static str,
    /// Whether the matches are returned, or the text between them.
    matches: bool,
    signature: Signature,
}

impl ScalarUDFImpl for Pieces {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        let item = Field::new_list_field(DataType::Utf8, true);
        Ok(DataType::List(Arc::new(item)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let (texts, patterns) = (arrays[0].as_string::<i32>(), arrays[1].as_string::<i32>());
        let mut lists = ListBuilder::new(StringBuilder::new());
        let mut known: Option<(&str, Regex)> = None;
        for (text, pattern) in texts.iter().zip(patterns) {
            let (Some(text), Some(pattern)) = (text, pattern) else {
                lists.append_null();
                continue;
            };
            if known.as_ref().is_none_or(|(of, _)| *of != pattern) {
                let regex = Regex::new(pattern)
                    .map_err(|_| exec_datafusion_err!("`{pattern}` is no regular expression"))?;
                known = Some((pattern, regex));
            }
            let Some((_, regex)) = &known else {
                continue;
            };
            if self.matches {
                lists.append_value(regex.find_iter(text).map(|found| Some(found.as_str())));
            } else if pattern.is_empty() {
                // Letter by letter.
                lists.append_value(text.split("").filter(|letter| !letter.is_empty()).map(Some));
            } else {
                lists.append_value(regex.split(text).map(Some));
            }
        }
        let lists: ArrayRef = Arc::new(lists.finish());
        Ok(ColumnarValue::Array(lists))
    }
}
