//! Errors for the person who has to fix the problem: one sentence that says what
//! went wrong and where, and a separate hint that says what to do.

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

    #[error("The statement needs more memory than the {} that it may use, although it spills to disk.", amount(*bytes))]
    Memory { bytes: usize },

    #[error("{message}{place}")]
    Placed { message: String, place: String },

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
    Exists { path: String },

    #[error("`{path}` is a folder with other files and not a dataset, so it is not overwritten.")]
    NotOurs { path: String },

    #[error("`{uri}` was changed by somebody else in the meantime.")]
    Conflict { uri: String },

    #[error("`{uri}` has no version {version}.")]
    NoVersion { uri: String, version: u64 },

    #[error("Cell {cell}, gene {gene} holds {value}, which {target} cannot hold exactly.")]
    NotRepresentable {
        cell: u64,
        gene: u64,
        value: String,
        target: &'static str,
    },

    #[error("Cell {cell}, gene {gene} holds {value}, which is no count.")]
    NotACount { cell: u64, gene: u64, value: String },

    #[error("`{path}` is being written by another process.")]
    Busy { path: String },

    #[error("The matrix is not a valid CSR matrix: {reason}.")]
    BadMatrix { reason: String },

    #[error("`{uri}` cannot be reached: {reason}.")]
    Storage {
        uri: String,
        reason: String,
        hint: Option<&'static str>,
    },

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
    /// What the reader can do about it, if that is known.
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
            Self::Storage { hint, .. } => hint.map(str::to_owned),
            Self::NotOurs { .. } => Some("Choose another name.".into()),
            Self::Exists { .. } => Some(
                "Choose another name, or overwrite it (`overwrite=True`, `--overwrite`).".into(),
            ),
            Self::Memory { .. } => Some(
                "Let it have more (`memory=`, `%config Slaf.memory = \"8 GB\"`), or ask for less."
                    .into(),
            ),
            Self::Conflict { .. } => Some("Nothing was written; run it again.".into()),
            Self::NoVersion { .. } => Some("`slaf history` lists the versions there are.".into()),
            Self::Unknown { .. }
            | Self::OutOfBounds { .. }
            | Self::NotRepresentable { .. }
            | Self::NotACount { .. }
            | Self::Busy { .. }
            | Self::BadMatrix { .. }
            | Self::Io { .. }
            | Self::Placed { .. }
            | Self::Interrupted
            | Self::Engine { .. } => None,
        }
    }

    /// The message, followed by the hint if there is one.
    pub fn for_people(&self) -> String {
        match self.hint() {
            Some(hint) => format!("{self} {hint}"),
            None => self.to_string(),
        }
    }

    /// A matrix whose arrays do not fit together.
    pub(crate) fn bad_matrix(reason: String) -> Self {
        Self::BadMatrix { reason }
    }

    pub(crate) fn io(path: impl AsRef<Path>, source: std::io::Error) -> Self {
        Self::Io {
            path: path.as_ref().to_owned(),
            source,
        }
    }
}

/// Bytes in a suitable unit.
fn amount(bytes: usize) -> String {
    let (unit, name) = match bytes {
        0..1_000_000 => (1e3, "KB"),
        1_000_000..1_000_000_000 => (1e6, "MB"),
        _ => (1e9, "GB"),
    };
    format!("{:.1} {name}", bytes as f64 / unit)
}

impl Error {
    /// A failure of the storage, from its client's message.
    pub(crate) fn storage(uri: &str, error: &dyn std::fmt::Display) -> Self {
        let text = error.to_string();
        let (reason, hint) = match storage_failure(&text) {
            Some((reason, hint)) => (reason.to_owned(), Some(hint)),
            None => (first_line(&text), None),
        };
        Self::Storage {
            uri: uri.to_owned(),
            reason,
            hint,
        }
    }
}

/// Parts of a storage client's message, the failure that they mean, and what to
/// do about it.
const STORAGE_FAILURES: [(&[&str], &str, &str); 9] = [
    (
        &[
            "NoSuchBucket",
            "ContainerNotFound",
            "bucket does not exist",
            "Failed to resolve region",
        ],
        "there is no such bucket",
        "Check its name and region.",
    ),
    (
        &[
            "CredentialsNotLoaded",
            "no providers in chain",
            "credential provider",
            "InstanceMetadata",
            "instance metadata",
            "/latest/api/token",
            "metadata.google.internal",
            "169.254.169.254",
        ],
        "no credentials were found",
        "Set them as the cloud's own tools read them, such as AWS_ACCESS_KEY_ID and \
         AWS_SECRET_ACCESS_KEY or AWS_PROFILE.",
    ),
    (
        &[
            "AccessDenied",
            "InvalidAccessKeyId",
            "SignatureDoesNotMatch",
            "ExpiredToken",
            "status 401",
            "status 403",
            "401 Unauthorized",
            "403 Forbidden",
            "Unauthenticated",
            "PermissionDenied",
        ],
        "access is denied",
        "Check the credentials and their rights to this address.",
    ),
    (
        &[
            "SlowDown",
            "503 Service",
            "status 503",
            "429 Too Many",
            "status 429",
        ],
        "the server is overloaded and refused several attempts",
        "Try again later.",
    ),
    (
        &[
            "status 500",
            "status 502",
            "status 504",
            "500 Internal",
            "502 Bad",
            "504 Gateway",
        ],
        "the server failed on several attempts",
        "Try again later.",
    ),
    (
        &["No space left", "os error 28"],
        "the disk is full",
        "Make room, or write elsewhere.",
    ),
    (
        &["Read-only file system", "os error 30"],
        "the file system is read-only",
        "Write elsewhere.",
    ),
    (
        &["Permission denied", "os error 13"],
        "permission is denied",
        "Check the rights of the folder.",
    ),
    (
        &[
            "error sending request",
            "Connection refused",
            "connection error",
            "HTTP error",
            "dns error",
            "timed out",
            "operation timed out",
            "error decoding response body",
        ],
        "the server does not answer",
        "Check the network and the endpoint.",
    ),
];

fn storage_failure(text: &str) -> Option<(&'static str, &'static str)> {
    STORAGE_FAILURES
        .iter()
        .find(|(marks, ..)| marks.iter().any(|mark| text.contains(mark)))
        .map(|(_, reason, hint)| (*reason, *hint))
}

/// Whether the storage failed, rather than the data on it.
pub(crate) fn is_storage_failure(text: &str) -> bool {
    storage_failure(text).is_some()
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

/// The first line of a library's message, without the source locations and the
/// names of errors that Lance puts around it.
pub(crate) fn first_line(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    let mut line = line.split(", /").next().unwrap_or(line);
    while let Some((name, rest)) = line.split_once(": ")
        && (name.starts_with("LanceError") || name.starts_with("Generic "))
    {
        line = rest;
    }
    if line.starts_with("Invalid range") || line.contains("Range started at") {
        line = "a file of it is cut short";
    }
    line.trim_end_matches(['.', ' ', ',']).to_owned()
}
