//! Converts the engine's errors to Python exceptions with the same meaning.

use pyo3::PyErr;
use pyo3::create_exception;
use pyo3::exceptions::{
    PyFileExistsError, PyFileNotFoundError, PyIndexError, PyKeyboardInterrupt, PyOSError,
    PyValueError,
};
use slaf_core::Error;

create_exception!(
    slaf,
    SlafError,
    PyValueError,
    "A problem with a dataset or with a query; the message says what to do."
);

pub(crate) fn to_python(error: Error) -> PyErr {
    let message = error.for_people();
    match error {
        Error::NotFound { .. } => PyFileNotFoundError::new_err(message),
        Error::Exists { .. } | Error::NotOurs { .. } => PyFileExistsError::new_err(message),
        Error::OutOfBounds { .. } => PyIndexError::new_err(message),
        Error::Io { .. } | Error::Storage { .. } | Error::Busy { .. } | Error::Conflict { .. } => {
            PyOSError::new_err(message)
        }
        Error::Interrupted => PyKeyboardInterrupt::new_err(()),
        Error::NotSlaf { .. }
        | Error::Corrupt { .. }
        | Error::Unknown { .. }
        | Error::Placed { .. }
        | Error::Memory { .. }
        | Error::Sql { .. }
        | Error::NoVersion { .. }
        | Error::NotACount { .. }
        | Error::NotRepresentable { .. }
        | Error::BadMatrix { .. }
        | Error::Engine { .. } => SlafError::new_err(message),
    }
}
