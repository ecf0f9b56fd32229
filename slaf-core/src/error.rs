//! What can go wrong, said to the person who has to mend it: one sentence of
//! what and where, and apart from it a hint of what to do.

use std::path::{Path, PathBuf};

pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("There is nothing at `{path}`.")]
    NotFound { path: String },

    #[error("`{path}` is not a SLAF dataset: {reason}.")]
    NotSlaf { path: String, reason: String },

    #[error("The table `{table}` of `{path}` cannot be read: {reason}.")]
    Corrupt {
        table: String,
        path: String,
        reason: String,
    },

    #[error("There is no {kind} `{name}`.")]
    Unknown {
        kind: &'static str,
        name: String,
        near: Vec<String>,
    },

    #[error("The {axis} index {index} is out of bounds for {len} {axis}s.")]
    OutOfBounds {
        axis: &'static str,
        index: u64,
        len: u64,
    },

    #[error("SQL: {message}")]
    Sql {
        message: String,
        hint: Option<String>,
    },

    #[error("`{path}` exists already.")]
    Exists { path: PathBuf },

    #[error("Cell {cell}, gene {gene} holds {value}, which {target} cannot hold exactly.")]
    NotRepresentable {
        cell: u64,
        gene: u64,
        value: String,
        target: &'static str,
    },

    #[error("The matrix is not a valid CSR matrix: {reason}.")]
    BadMatrix { reason: String },

    #[error("`{path}`: {source}")]
    Io {
        path: PathBuf,
        source: std::io::Error,
    },

    #[error("Interrupted.")]
    Interrupted,

    #[error("{message}")]
    Engine { message: String },
}

impl Error {
    /// What the reader can do about it, where that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotFound { .. } => Some("Check the spelling and the working directory.".into()),
            Self::NotSlaf { .. } => {
                Some("Convert an h5ad file first: `slaf convert data.h5ad data.slaf`.".into())
            }
            Self::Corrupt { .. } => {
                Some("Restore the dataset from its source, or convert it again.".into())
            }
            Self::Unknown { near, .. } if !near.is_empty() => {
                let quoted: Vec<_> = near.iter().map(|n| format!("`{n}`")).collect();
                Some(format!("Did you mean {}?", quoted.join(" or ")))
            }
            Self::Sql { hint, .. } => hint.clone(),
            Self::Exists { .. } => Some(
                "Choose another name, or overwrite it (`overwrite=True`, `--overwrite`).".into(),
            ),
            Self::Unknown { .. }
            | Self::OutOfBounds { .. }
            | Self::NotRepresentable { .. }
            | Self::BadMatrix { .. }
            | Self::Io { .. }
            | Self::Interrupted
            | Self::Engine { .. } => None,
        }
    }

    /// The message and, where there is one, the hint.
    pub fn for_people(&self) -> String {
        match self.hint() {
            Some(hint) => format!("{self} {hint}"),
            None => self.to_string(),
        }
    }

    pub(crate) fn io(path: impl AsRef<Path>, source: std::io::Error) -> Self {
        Self::Io {
            path: path.as_ref().to_owned(),
            source,
        }
    }
}

impl From<lance::Error> for Error {
    fn from(error: lance::Error) -> Self {
        Self::Engine {
            message: first_line(&error.to_string()),
        }
    }
}

impl From<arrow::error::ArrowError> for Error {
    fn from(error: arrow::error::ArrowError) -> Self {
        Self::Engine {
            message: first_line(&error.to_string()),
        }
    }
}

impl From<polars::error::PolarsError> for Error {
    fn from(error: polars::error::PolarsError) -> Self {
        Self::Engine {
            message: first_line(&error.to_string()),
        }
    }
}

/// The first line of a library's message, without the source locations that
/// Lance appends.
pub(crate) fn first_line(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    let line = line.split(", /").next().unwrap_or(line);
    line.trim_end_matches(['.', ' ', ',']).to_owned()
}
