//! Puts values of the session into the syntax tree in place of parameters. Their
//! text is never parsed.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use sqlparser::ast::{
    Array, CastKind, DataType, Expr, Ident, ObjectName, Statement, Value, ValueWithSpan, VisitMut,
    VisitorMut,
};
use sqlparser::parser::Parser;

use crate::nearest;
use crate::{Error, Result};

/// Lists up to this length are written into the statement; longer ones become a table.
pub const FEW: usize = 200;

/// The value of a parameter.
#[derive(Debug, Clone, PartialEq)]
pub enum Param {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    /// A value as text, with its type, such as TIMESTAMP.
    Typed(&'static str, String),
    List(Vec<Self>),
    /// The name of a frame in the catalog, whose only column has the values.
    Frame(String),
}

pub type Params = BTreeMap<String, Param>;

/// Replaces the parameters of `statement` by their values. Fails if one has no value.
pub(crate) fn bind(statement: &mut Statement, params: &Params) -> Result<()> {
    match statement.visit(&mut Binder(params)) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

/// The names of all parameters of `statement`.
pub(crate) fn names(statement: &Statement) -> Vec<String> {
    let mut found = vec![];
    let _ = sqlparser::ast::visit_expressions(statement, |expr| {
        if let Some(name) = placeholder(expr)
            && !found.contains(&name)
        {
            found.push(name);
        }
        ControlFlow::<()>::Continue(())
    });
    found
}

fn placeholder(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Value(ValueWithSpan {
            value: Value::Placeholder(name),
            ..
        }) => Some(name.trim_start_matches('$').to_owned()),
        _ => None,
    }
}

struct Binder<'a>(&'a Params);

impl VisitorMut for Binder<'_> {
    type Break = Error;

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        match self.replace(expr) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }
}

impl Binder<'_> {
    fn value(&self, name: &str) -> Result<&Param> {
        self.0.get(name).ok_or_else(|| Error::Unknown {
            kind: "parameter",
            name: format!("${name}"),
            near: nearest(name, self.0.keys().map(String::as_str)),
        })
    }

    fn replace(&self, expr: &mut Expr) -> Result<()> {
        if let Some(name) = placeholder(expr) {
            *expr = literal(&name, self.value(&name)?)?;
            return Ok(());
        }
        let Expr::InList {
            expr: subject,
            list,
            negated,
        } = expr
        else {
            return Ok(());
        };
        let [only] = list.as_slice() else {
            return Ok(());
        };
        let Some(name) = placeholder(only) else {
            return Ok(());
        };
        match self.value(&name)? {
            Param::List(items) if items.is_empty() => {
                *expr = Expr::Value(Value::Boolean(*negated).into());
            }
            Param::List(items) => {
                let items = items.iter().map(|item| literal(&name, item));
                *list = items.collect::<Result<_>>()?;
            }
            Param::Frame(table) => {
                let mut subquery = Parser::parse_sql(
                    &sqlparser::dialect::GenericDialect {},
                    "SELECT * FROM _placeholder",
                )
                .ok()
                .and_then(|mut parsed| parsed.pop());
                if let Some(statement) = &mut subquery {
                    let _ = sqlparser::ast::visit_relations_mut(statement, |relation| {
                        *relation = ObjectName::from(vec![Ident::with_quote('"', table)]);
                        ControlFlow::<()>::Continue(())
                    });
                }
                if let Some(Statement::Query(subquery)) = subquery {
                    *expr = Expr::InSubquery {
                        expr: subject.clone(),
                        subquery,
                        negated: *negated,
                    };
                }
            }
            _ => {}
        }
        Ok(())
    }
}

fn literal(name: &str, param: &Param) -> Result<Expr> {
    let value = |value: Value| Expr::Value(value.into());
    Ok(match param {
        Param::Null => value(Value::Null),
        Param::Bool(b) => value(Value::Boolean(*b)),
        Param::Int(n) => number(&n.to_string()),
        Param::Float(x) if x.is_finite() => number(&format!("{x:?}")),
        Param::Float(x) => cast(
            DataType::Double(sqlparser::ast::ExactNumberInfo::None),
            &x.to_string(),
        ),
        Param::Text(text) => value(Value::SingleQuotedString(text.clone())),
        // A moment, of which the text is the time in UTC.
        Param::Typed("TIMESTAMPTZ", text) => Expr::AtTimeZone {
            timestamp: Box::new(cast(
                DataType::Timestamp(None, sqlparser::ast::TimezoneInfo::None),
                text,
            )),
            time_zone: Box::new(value(Value::SingleQuotedString("UTC".into()))),
        },
        Param::Typed(kind, text) => {
            let kind = match *kind {
                "DATE" => DataType::Date,
                _ => DataType::Timestamp(None, sqlparser::ast::TimezoneInfo::None),
            };
            cast(kind, text)
        }
        Param::List(items) => Expr::Array(Array {
            elem: items
                .iter()
                .map(|item| literal(name, item))
                .collect::<Result<_>>()?,
            named: true,
        }),
        Param::Frame(_) => {
            return Err(Error::Sql {
                message: format!("`${name}` is a frame, where a value is expected."),
                hint: Some("Use it after IN, or as a table by its name.".into()),
            });
        }
    })
}

fn number(digits: &str) -> Expr {
    let positive = |digits: &str| Expr::Value(Value::Number(digits.to_owned(), false).into());
    match digits.strip_prefix('-') {
        // `-9223372036854775808` is minus a number that no bigint holds.
        Some("9223372036854775808") => cast(DataType::BigInt(None), digits),
        Some(rest) => Expr::Nested(Box::new(Expr::UnaryOp {
            op: sqlparser::ast::UnaryOperator::Minus,
            expr: Box::new(positive(rest)),
        })),
        None => positive(digits),
    }
}

fn cast(data_type: DataType, text: &str) -> Expr {
    Expr::Cast {
        kind: CastKind::Cast,
        expr: Box::new(Expr::Value(
            Value::SingleQuotedString(text.to_owned()).into(),
        )),
        data_type,
        array: false,
        format: None,
    }
}
