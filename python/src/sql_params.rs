//! Parameters of SQL statements, from Python values.

use std::collections::HashMap;

use pyo3::prelude::*;
use slaf_core::query::{Param, Params};

/// A value for a parameter.
#[derive(FromPyObject)]
pub(crate) enum PyParam {
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    Tagged(String, Py<PyAny>),
    List(Vec<Option<PyParam>>),
}

fn param(py: Python<'_>, value: Option<PyParam>) -> PyResult<Param> {
    Ok(match value {
        None => Param::Null,
        Some(PyParam::Bool(value)) => Param::Bool(value),
        Some(PyParam::Int(value)) => Param::Int(value),
        Some(PyParam::Float(value)) => Param::Float(value),
        Some(PyParam::Text(value)) => Param::Text(value),
        Some(PyParam::Tagged(kind, value)) => match kind.as_str() {
            "frame" => Param::Frame(value.extract(py)?),
            "date" => Param::Typed("DATE", value.extract(py)?),
            "timestamptz" => Param::Typed("TIMESTAMPTZ", value.extract(py)?),
            _ => Param::Typed("TIMESTAMP", value.extract(py)?),
        },
        Some(PyParam::List(items)) => {
            let items = items.into_iter().map(|item| param(py, item));
            Param::List(items.collect::<PyResult<_>>()?)
        }
    })
}

pub(crate) fn params(py: Python<'_>, values: HashMap<String, Option<PyParam>>) -> PyResult<Params> {
    let values = values
        .into_iter()
        .map(|(name, value)| Ok((name, param(py, value)?)));
    values.collect()
}
