//! The tables that a statement can name. If only one dataset is open, its tables
//! need no prefix. If several are, the variable that holds the handle is the schema
//! (`pbmc.cells`), and a sliced handle shows only its slice. A frame is a table
//! under the name of its variable.

use std::collections::BTreeSet;

use arrow::datatypes::SchemaRef;
use sqlparser::ast::Ident;

use super::frame::Frame;

use crate::{Dataset, Error, Result, Selection, Table, nearest};

/// A dataset or a slice of one, with the name of its variable.
#[derive(Debug, Clone)]
pub struct Handle {
    pub name: String,
    pub dataset: Dataset,
    pub cells: Selection,
    pub genes: Selection,
}

#[derive(Debug, Clone, Default)]
pub struct Catalog {
    pub handles: Vec<Handle>,
    /// The index of the handle whose tables need no prefix.
    pub default: Option<usize>,
    pub frames: Vec<Frame>,
    /// Views: name and query.
    pub views: Vec<(String, String)>,
    /// Names of tables in other places, for suggestions.
    pub others: Vec<String>,
}

/// The meaning of a name in a FROM clause.
pub(crate) enum Named<'a> {
    Table(&'a Table),
    Frame(&'a Frame),
}

impl<'a> Named<'a> {
    pub(crate) fn schema(&self) -> &'a SchemaRef {
        match self {
            Self::Table(table) => &table.schema,
            Self::Frame(frame) => &frame.schema,
        }
    }
}

/// AnnData's names for the tables.
const ALIASES: [(&str, &str); 5] = [
    ("obs", "cells"),
    ("var", "genes"),
    ("X", "expression"),
    ("obsp", "cellsxcells"),
    ("varp", "genesxgenes"),
];

/// The table with that name, which may be AnnData's.
fn table_of<'a>(dataset: &'a Dataset, name: &str) -> Option<&'a Table> {
    let tables: Vec<&Table> = dataset.tables().collect();
    let found = by_name(&tables, name, |t| &t.name).copied();
    found.or_else(|| {
        let (_, ours) = ALIASES.iter().find(|(theirs, _)| *theirs == name)?;
        tables.iter().find(|t| t.name == *ours).copied()
    })
}

impl Handle {
    pub fn whole(name: &str, dataset: Dataset) -> Self {
        let (cells, genes) = dataset.shape();
        Self {
            name: name.to_owned(),
            dataset,
            cells: Selection::all(cells),
            genes: Selection::all(genes),
        }
    }

    /// The number of rows of `table` in this slice; `None` if they have not been
    /// counted.
    pub(crate) fn rows_of(&self, table: &Table) -> Option<u64> {
        match table.name.as_str() {
            "cells" => Some(self.cells.len() as u64),
            "genes" => Some(self.genes.len() as u64),
            _ => self.is_whole().then_some(table.rows),
        }
    }

    pub(crate) fn is_whole(&self) -> bool {
        let (cells, genes) = self.dataset.shape();
        self.cells.is_all(cells) && self.genes.is_all(genes)
    }
}

impl Catalog {
    /// A catalog of one dataset, whose tables need no prefix.
    pub fn of(dataset: Dataset) -> Self {
        Self {
            handles: vec![Handle::whole("dataset", dataset)],
            default: Some(0),
            ..Self::default()
        }
    }

    /// The query of the view `name`.
    pub(crate) fn view(&self, name: &str) -> Option<&str> {
        by_name(&self.views, name, |(name, _)| name).map(|(_, query)| query.as_str())
    }

    /// A query for an entry of `obsm` or `varm`: the ids and vectors of the cells or
    /// genes.
    pub(crate) fn vectors(&self, parts: &[&str]) -> Option<String> {
        let (name, handle) = match parts {
            [name] => (name, self.default_handle()?),
            [schema, name] => (name, by_name(&self.handles, schema, |h| &h.name)?),
            _ => return None,
        };
        if parts.len() == 1 && by_name(&self.frames, name, |f| &f.name).is_some() {
            return None;
        }
        let (table, ids) = match *name {
            "obsm" => (&handle.dataset.cells, ["cell_integer_id", "cell_id"]),
            "varm" => (&handle.dataset.genes, ["gene_integer_id", "gene_id"]),
            _ => return None,
        };
        let fields = table.schema.fields().iter();
        let vectors = fields.filter(|f| f.data_type().is_nested());
        let columns = ids.into_iter().chain(vectors.map(|f| f.name().as_str()));
        let quoted = |name: &str| Ident::with_quote('"', name).to_string();
        let columns: Vec<String> = columns.map(quoted).collect();
        let (handle, table) = (quoted(&handle.name), quoted(&table.name));
        Some(format!(
            "SELECT {} FROM {handle}.{table}",
            columns.join(", ")
        ))
    }

    /// The addresses of the datasets, for error messages.
    pub(crate) fn uri(&self) -> String {
        let uris: Vec<_> = self.handles.iter().map(|h| h.dataset.place.uri()).collect();
        uris.join("`, `")
    }

    pub(crate) fn default_handle(&self) -> Option<&Handle> {
        self.handles.get(self.default?)
    }

    /// Finds a table by a name of one or two parts, ignoring case. Returns the name
    /// under which it is registered, and the table. Fails if the name is unknown or
    /// ambiguous.
    pub(crate) fn resolve(&self, parts: &[&str]) -> Result<(Vec<String>, Named<'_>)> {
        match parts {
            [table] => self.resolve_bare(table),
            [schema, table] => {
                let handle =
                    by_name(&self.handles, schema, |h| &h.name).ok_or_else(|| Error::Unknown {
                        kind: "dataset",
                        name: (*schema).to_owned(),
                        near: nearest(schema, self.handles.iter().map(|h| h.name.as_str())),
                    })?;
                let table = table_of(&handle.dataset, table)
                    .ok_or_else(|| self.unknown(&parts.join(".")))?;
                let parts = vec![handle.name.clone(), table.name.clone()];
                Ok((parts, Named::Table(table)))
            }
            _ => Err(self.unknown(&parts.join("."))),
        }
    }

    fn resolve_bare(&self, name: &str) -> Result<(Vec<String>, Named<'_>)> {
        let frame = by_name(&self.frames, name, |f| &f.name);
        let table = self
            .default_handle()
            .and_then(|handle| Some((handle, table_of(&handle.dataset, name)?)));
        match (frame, table) {
            (Some(frame), Some((handle, table))) if table.name.eq_ignore_ascii_case(name) => {
                Err(Error::Sql {
                    message: format!(
                        "`{name}` is the frame `{}` and a table of `{}`.",
                        frame.name, handle.name
                    ),
                    hint: Some(format!(
                        "Write `{}.{name}` for the table, or rename the frame.",
                        handle.name
                    )),
                })
            }
            (Some(frame), _) => Ok((vec![frame.name.clone()], Named::Frame(frame))),
            (None, Some((_, table))) => Ok((vec![table.name.clone()], Named::Table(table))),
            (None, None) => Err(self.ambiguous(name).unwrap_or_else(|| self.unknown(name))),
        }
    }

    /// The error for a table that several datasets have, if none of them is the
    /// default.
    fn ambiguous(&self, name: &str) -> Option<Error> {
        let held: Vec<String> = self
            .handles
            .iter()
            .filter(|h| h.dataset.table(name).is_ok())
            .map(|h| format!("`{}.{name}`", h.name))
            .collect();
        (held.len() > 1).then(|| Error::Sql {
            message: format!("`{name}` is a table of several open datasets."),
            hint: Some(format!("Write {}.", held.join(" or "))),
        })
    }

    fn unknown(&self, name: &str) -> Error {
        let mut known: Vec<String> = self.frames.iter().map(|f| f.name.clone()).collect();
        known.extend(self.views.iter().map(|(name, _)| name.clone()));
        known.extend(self.others.iter().cloned());
        for (at, handle) in self.handles.iter().enumerate() {
            for table in handle.dataset.tables() {
                if self.default == Some(at) {
                    known.push(table.name.clone());
                }
                known.push(format!("{}.{}", handle.name, table.name));
            }
        }
        let mut seen = BTreeSet::new();
        known.retain(|name| seen.insert(name.clone()));
        let mut near = nearest(name, known.iter().map(String::as_str));
        if near.is_empty() {
            near = known.into_iter().take(4).collect();
        }
        Error::Unknown {
            kind: "table",
            name: name.to_owned(),
            near,
        }
    }
}

/// The item with that name, or the only one whose name differs only in case.
fn by_name<'a, T>(items: &'a [T], name: &str, of: impl Fn(&T) -> &String) -> Option<&'a T> {
    if let Some(exact) = items.iter().find(|item| of(item) == name) {
        return Some(exact);
    }
    let mut close = items
        .iter()
        .filter(|item| of(item).eq_ignore_ascii_case(name));
    let first = close.next()?;
    close.next().is_none().then_some(first)
}
