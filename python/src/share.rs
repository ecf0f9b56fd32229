//! Frames and matrices in sealed memory files, for Rust cells.

use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, new_empty_array};
use arrow::compute::concat;
use arrow::datatypes::{Field, Schema};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3_arrow::PyTable;
use pyo3_arrow::input::AnyArray;
use slaf::layout::{self, open};
use slaf::memory::Mapping;

use crate::errors::SlafError;

/// Columns in sealed memory that a Rust cell can map.
#[pyclass(frozen, module = "slaf._slaf")]
pub(crate) struct Shared {
    inner: Mutex<layout::Shared>,
}

#[pymethods]
impl Shared {
    #[new]
    fn new() -> Self {
        Self {
            inner: Mutex::default(),
        }
    }

    /// Adds named Arrow arrays or streams of the same length; returns a table
    /// over the shared memory, and the number of bytes that were copied to it.
    fn add<'py>(
        &self,
        py: Python<'py>,
        columns: Vec<(String, AnyArray)>,
    ) -> PyResult<(Bound<'py, PyTable>, usize)> {
        let columns = columns
            .into_iter()
            .map(|(name, array)| Ok((name, chunks(array)?)))
            .collect::<PyResult<Vec<_>>>()?;
        let (columns, copied) = py
            .detach(|| {
                let mut shared = self.lock();
                let (begin, before) = (shared.text.len(), shared.copied);
                shared.add(&joined(columns)?)?;
                let opened = open(&shared.text[begin..], &shared.files)?;
                slaf::Result::Ok((opened, shared.copied - before))
            })
            .map_err(to_python)?;
        Ok((table(py, columns, None)?, copied))
    }

    /// The text that the other side needs with the descriptors.
    #[getter]
    fn text(&self) -> String {
        self.lock().text.clone()
    }

    /// The memory files, which this object keeps open.
    #[getter]
    fn fds(&self) -> Vec<RawFd> {
        let files = &self.lock().files;
        files.iter().map(|file| file.file().as_raw_fd()).collect()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, layout::Shared> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A table of `rows` rows over memory files from a Rust cell; takes ownership
/// of the descriptors.
#[pyfunction]
pub(crate) fn open_shared<'py>(
    py: Python<'py>,
    text: &str,
    fds: Vec<RawFd>,
    rows: usize,
) -> PyResult<Bound<'py, PyTable>> {
    let files: Vec<File> = fds
        .into_iter()
        // SAFETY: the caller received them and gives them away.
        .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }.into())
        .collect();
    let columns = files
        .into_iter()
        .map(Mapping::open)
        .collect::<slaf::Result<Vec<_>>>()
        .and_then(|files| open(text, &files))
        .map_err(to_python)?;
    table(py, columns, Some(rows))
}

/// Bytes of an Arrow array in sealed memory, and of all its buffers.
#[pyfunction]
pub(crate) fn shared_bytes(array: AnyArray) -> PyResult<(usize, usize)> {
    let (mut shared, mut all) = (0, 0);
    for chunk in chunks(array)?.0 {
        layout::each_buffer(&chunk.to_data(), &mut |bytes| {
            all += bytes.len();
            shared += Mapping::find(bytes).map_or(0, |_| bytes.len());
        });
    }
    Ok((shared, all))
}

/// The chunks of an array, and an empty array of its type.
type Chunks = (Vec<ArrayRef>, ArrayRef);

fn chunks(array: AnyArray) -> PyResult<Chunks> {
    let array = array.into_chunked_array()?;
    let empty = new_empty_array(array.data_type());
    Ok((array.into_inner().0, empty))
}

fn joined(columns: Vec<(String, Chunks)>) -> slaf::Result<Vec<(String, ArrayRef)>> {
    columns
        .into_iter()
        .map(|(name, (mut chunks, empty))| {
            let array = match chunks.len() {
                0 => empty,
                1 => chunks.remove(0),
                _ => concat(
                    &chunks
                        .iter()
                        .map(AsRef::as_ref)
                        .collect::<Vec<&dyn Array>>(),
                )?,
            };
            Ok((name, array))
        })
        .collect()
}

fn table(
    py: Python<'_>,
    columns: Vec<(String, ArrayRef)>,
    rows: Option<usize>,
) -> PyResult<Bound<'_, PyTable>> {
    let (fields, columns): (Vec<_>, Vec<_>) = columns
        .into_iter()
        .map(|(name, array)| (Field::new(name, array.data_type().clone(), true), array))
        .unzip();
    let schema = Arc::new(Schema::new(fields));
    let rows = rows.or_else(|| columns.first().map(|column| column.len()));
    let options = RecordBatchOptions::new().with_row_count(rows);
    let batch = RecordBatch::try_new_with_options(Arc::clone(&schema), columns, &options)
        .map_err(|error| PyValueError::new_err(error.to_string()))?;
    Bound::new(py, PyTable::try_new(vec![batch], schema)?)
}

fn to_python(error: slaf::Error) -> PyErr {
    SlafError::new_err(error.to_string())
}
