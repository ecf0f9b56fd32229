//! Simple comparisons of a column with values: the conditions that other frames
//! understand.

/// A condition on one column: `=`, `<`, `<=`, `>`, `>=` one value, `in` several, or
/// `null` or `not null`.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    pub column: String,
    pub sign: &'static str,
    pub values: Vec<Value>,
}

/// A value of the same type as its column.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Int(i64),
    Float(f64),
    Text(String),
}
