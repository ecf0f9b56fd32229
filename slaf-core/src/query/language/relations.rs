//! The tables that a statement names.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, ObjectName, Query, Statement, TableFactor, Value, Visit,
    Visitor, visit_relations,
};

/// Tables that the session must provide: names in FROM clauses, without common table
/// expressions.
pub(super) fn relations(statement: &Statement) -> Vec<String> {
    let ctes = cte_names(statement);
    let mut names = BTreeSet::new();
    let _: ControlFlow<()> = visit_relations(statement, |name| {
        let text = parts(name).join(".");
        if !ctes.contains(&text) {
            names.insert(text);
        }
        ControlFlow::Continue(())
    });
    names.into_iter().collect()
}

/// The path in `read('…')`; `None` for other functions.
pub(crate) fn read_argument(factor: &TableFactor) -> Option<String> {
    let TableFactor::Table {
        name,
        args: Some(args),
        ..
    } = factor
    else {
        return None;
    };
    let [FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(value)))] = args.args.as_slice()
    else {
        return None;
    };
    let Value::SingleQuotedString(path) = &value.value else {
        return None;
    };
    let named = parts(name).join(".").eq_ignore_ascii_case("read");
    named.then(|| path.clone())
}

/// The paths in all `read('…')`.
pub(super) fn reads(statement: &Statement) -> Vec<String> {
    struct Reads(Vec<String>);
    impl Visitor for Reads {
        type Break = ();
        fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
            self.0.extend(read_argument(factor));
            ControlFlow::Continue(())
        }
    }
    let mut reads = Reads(vec![]);
    let _ = statement.visit(&mut reads);
    reads.0
}

pub(crate) fn parts(name: &ObjectName) -> Vec<&str> {
    name.0
        .iter()
        .filter_map(|part| Some(part.as_ident()?.value.as_str()))
        .collect()
}

/// The names of all common table expressions, also in subqueries.
pub(crate) fn cte_names(statement: &Statement) -> BTreeSet<String> {
    struct Names(BTreeSet<String>);
    impl Visitor for Names {
        type Break = ();
        fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
            let ctes = query.with.iter().flat_map(|with| &with.cte_tables);
            self.0.extend(ctes.map(|cte| cte.alias.name.value.clone()));
            ControlFlow::Continue(())
        }
    }
    let mut names = Names(BTreeSet::new());
    let _ = statement.visit(&mut names);
    names.0
}
