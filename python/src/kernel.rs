//! The kernel's protocol, for the Python code that runs its cells.

use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use bytes::Bytes;
use pyo3::exceptions::{PyKeyboardInterrupt, PyOSError, PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyString};
use slaf_kernel::{Connection, Input, Kernel as Inner, Lane as InnerLane, Message};

/// The sockets of a running kernel.
#[pyclass(frozen, module = "slaf._slaf")]
pub(crate) struct Kernel {
    inner: Inner,
}

/// Requests that wait for one thread.
#[pyclass(frozen, module = "slaf._slaf")]
pub(crate) struct Lane {
    inner: Arc<InnerLane>,
}

/// A request: its type, its content, and its sender.
#[pyclass(frozen, module = "slaf._slaf")]
pub(crate) struct Request {
    message: Message,
}

#[pymethods]
impl Kernel {
    /// Binds the sockets named in a connection file. `language` is JSON with
    /// `banner`, `help_links`, `language_info`, `supported_features` and
    /// `debugger`. A shutdown does not end a process in which the kernel is
    /// only `embedded`.
    #[new]
    #[pyo3(signature = (connection_file, language, embedded=false))]
    fn new(
        py: Python<'_>,
        connection_file: PathBuf,
        language: &str,
        embedded: bool,
    ) -> PyResult<Self> {
        let connection =
            Connection::read(&connection_file).map_err(|e| PyValueError::new_err(e.to_string()))?;
        let language =
            serde_json::from_str(language).map_err(|e| PyValueError::new_err(e.to_string()))?;
        let inner = py
            .detach(|| Inner::start(connection, language, embedded))
            .map_err(|e| PyRuntimeError::new_err(e.to_string()))?;
        Ok(Self { inner })
    }

    /// From now on, what is written to file descriptors 1 and 2 is output of
    /// cells. Returns the descriptor of the log, which is the previous stderr.
    fn capture(&self) -> PyResult<i32> {
        let log = self.inner.capture();
        log.map_err(|e| PyOSError::new_err(format!("Output cannot be captured: {e}.")))
    }

    /// Logs crashes of native code, before the handlers that are installed now
    /// run.
    fn watch_deaths(&self) {
        self.inner.watch_deaths();
    }

    /// From now on, output of the descriptors belongs to `request`, and a crash
    /// is logged as one of `what`.
    fn begin_cell(&self, py: Python<'_>, request: &Request, what: &str) {
        let parent = Arc::clone(&request.message.parent);
        py.detach(|| self.inner.begin_cell(&parent, what));
    }

    /// The lane of cells and comm messages.
    #[getter]
    fn main(&self) -> Lane {
        let inner = Arc::clone(self.inner.main_lane());
        Lane { inner }
    }

    /// The lane of requests that must not wait for a cell.
    #[getter]
    fn side(&self) -> Lane {
        let inner = Arc::clone(self.inner.side_lane());
        Lane { inner }
    }

    /// Opens a subshell; returns its id and lane.
    fn open_subshell(&self) -> PyResult<(String, Lane)> {
        let (id, inner) = self.inner.open_subshell()?;
        Ok((id, Lane { inner }))
    }

    /// Closes a subshell; returns whether it existed.
    fn close_subshell(&self, id: &str) -> bool {
        self.inner.close_subshell(id)
    }

    fn subshells(&self) -> Vec<String> {
        self.inner.subshell_ids()
    }

    /// Publishes to all front ends; `parent` is the JSON of a header.
    #[pyo3(signature = (msg_type, content, parent="{}", metadata="{}", buffers=vec![]))]
    fn publish(
        &self,
        py: Python<'_>,
        msg_type: &str,
        content: &str,
        parent: &str,
        metadata: &str,
        buffers: Vec<PyBackedBytes>,
    ) {
        let buffers = buffers.into_iter().map(Bytes::from_owner).collect();
        py.detach(|| {
            self.inner
                .publish(msg_type, parent, metadata, content, buffers)
        });
    }

    /// Publishes the status `busy` or `idle`.
    fn status(&self, py: Python<'_>, state: &str, request: &Request) {
        let parent = Arc::clone(&request.message.parent);
        py.detach(|| self.inner.status(state, &parent));
    }

    /// A writer to a stream. `current` returns the request of the calling code,
    /// or None.
    fn writer(slf: Py<Self>, name: &str, current: Py<PyAny>) -> Writer {
        Writer {
            kernel: slf,
            name: if name == "stderr" { "stderr" } else { "stdout" },
            current,
            kept: Mutex::default(),
        }
    }

    fn flush(&self, py: Python<'_>) {
        py.detach(|| self.inner.flush());
    }

    #[pyo3(signature = (msg_type, content, request, metadata="{}"))]
    fn reply(
        &self,
        py: Python<'_>,
        msg_type: &str,
        content: &str,
        request: &Request,
        metadata: &str,
    ) {
        let parent = Arc::clone(&request.message.parent);
        py.detach(|| self.inner.reply(msg_type, &parent, metadata, content));
    }

    /// Asks the front end that sent `request` for a line; can be interrupted.
    fn input(
        &self,
        py: Python<'_>,
        prompt: &str,
        password: bool,
        request: &Request,
    ) -> PyResult<String> {
        let parent = Arc::clone(&request.message.parent);
        let mut raised = None;
        let input = py.detach(|| {
            self.inner.input(prompt, password, &parent, || {
                raised = Python::attach(|py| crate::wait::interrupted(py).err());
                raised.is_some() || self.inner.ended()
            })
        });
        match (input, raised) {
            (Input::Line(line), _) => Ok(line),
            (Input::Interrupted, Some(error)) => Err(error),
            (Input::Interrupted, None) => Err(PyKeyboardInterrupt::new_err(())),
        }
    }

    /// Ends the cell that `begin_cell` started.
    fn end_cell(&self) {
        self.inner.end_cell();
    }

    /// Records that no cell runs any more.
    fn leaving(&self) {
        self.inner.leaving();
    }

    /// Sends what is left, and ends all child processes of cells.
    fn leave(&self, py: Python<'_>) {
        py.detach(|| self.inner.leave());
    }
}

/// Adds text to a stream; it is collected and sent within 40 ms.
#[pyclass(frozen, module = "slaf._slaf")]
pub(crate) struct Writer {
    kernel: Py<Kernel>,
    name: &'static str,
    current: Py<PyAny>,
    kept: Mutex<Kept>,
}

/// The first part of what was written.
#[derive(Default)]
struct Kept {
    text: String,
    /// Number of bytes that were not kept.
    more: usize,
}

#[pymethods]
impl Writer {
    #[pyo3(signature = (text, /))]
    fn write(&self, py: Python<'_>, text: &Bound<'_, PyAny>) -> PyResult<usize> {
        static NOBODY: LazyLock<Arc<str>> = LazyLock::new(|| slaf_kernel::NO_PARENT.into());
        let text = text.cast::<PyString>().map_err(|_| {
            let kind = text.get_type();
            PyTypeError::new_err(format!("write() argument must be str, not {kind}"))
        })?;
        let current = self.current.call0(py)?;
        let request = current.bind(py).cast::<Request>().ok();
        let parent = request.map_or(&*NOBODY, |r| &r.get().message.parent.header);
        let kernel = &self.kernel.get().inner;
        let written = text.to_string_lossy();
        self.keep(&written);
        if !written.is_empty() && !kernel.try_write(self.name, &written, parent) {
            py.detach(|| kernel.write(self.name, &written, parent));
        }
        text.len()
    }

    /// The text that was written since the last call, up to the first MiB.
    fn kept(&self) -> String {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let Kept { mut text, more } = std::mem::take(&mut *kept);
        if more > 0 {
            text.push_str(&format!("\n[{more} more bytes]\n"));
        }
        text
    }
}

impl Writer {
    /// Maximum number of bytes that `kept` returns.
    const KEPT: usize = 1 << 20;

    fn keep(&self, written: &str) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.more == 0 && kept.text.len() + written.len() <= Self::KEPT {
            kept.text.push_str(written);
        } else {
            kept.more += written.len();
        }
    }
}

#[pymethods]
impl Lane {
    /// A lane that only `push` adds to.
    #[new]
    fn new() -> PyResult<Self> {
        let inner = Arc::new(InnerLane::new()?);
        Ok(Self { inner })
    }

    fn push(&self, request: &Request) {
        self.inner.push(request.message.clone());
    }

    /// An eventfd. It is readable when there may be a request, or when the lane
    /// has ended.
    #[getter]
    fn fd(&self) -> i32 {
        self.inner.fd()
    }

    /// The next request; call `done` after answering it.
    fn next(&self) -> Option<Request> {
        let message = self.inner.next()?;
        Some(Request { message })
    }

    /// The next message to a comm, before all other requests.
    fn next_comm(&self) -> Option<Request> {
        let message = self.inner.next_comm()?;
        Some(Request { message })
    }

    fn done(&self) {
        self.inner.done();
    }

    #[getter]
    fn ended(&self) -> bool {
        self.inner.ended()
    }
}

#[pymethods]
impl Request {
    #[getter]
    fn msg_type(&self) -> &str {
        &self.message.header.msg_type
    }

    /// The header as JSON.
    #[getter]
    fn header(&self) -> &str {
        &self.message.parent.header
    }

    /// The ZeroMQ frames that identify its sender.
    #[getter]
    fn identities<'py>(&self, py: Python<'py>) -> Vec<Bound<'py, PyBytes>> {
        let identities = &self.message.parent.identities;
        identities.iter().map(|i| PyBytes::new(py, i)).collect()
    }

    /// The content as JSON.
    #[getter]
    fn content<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.message.content)
    }

    #[getter]
    fn metadata<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.message.metadata)
    }

    #[getter]
    fn buffers<'py>(&self, py: Python<'py>) -> Vec<Bound<'py, PyBytes>> {
        self.message
            .buffers
            .iter()
            .map(|b| PyBytes::new(py, b))
            .collect()
    }
}
