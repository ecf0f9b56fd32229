//! The kernel's protocol side, for the Python that runs its cells.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use pyo3::exceptions::{PyKeyboardInterrupt, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use slaf_kernel::{Connection, Input, Kernel as Inner, Message};

/// The sockets of a running kernel.
#[pyclass(frozen, module = "slaf._slaf")]
pub(crate) struct Kernel {
    inner: Inner,
}

/// A request: what it is, what it says, and the way back.
#[pyclass(frozen, module = "slaf._slaf")]
pub(crate) struct Request {
    message: Message,
}

#[pymethods]
impl Kernel {
    /// Binds the sockets named in a connection file. `language` is JSON with
    /// `banner`, `help_links` and `language_info`.
    #[new]
    fn new(py: Python<'_>, connection_file: PathBuf, language: &str) -> PyResult<Self> {
        let connection =
            Connection::read(&connection_file).map_err(|e| PyValueError::new_err(e.to_string()))?;
        let language =
            serde_json::from_str(language).map_err(|e| PyValueError::new_err(e.to_string()))?;
        let inner = py
            .detach(|| Inner::start(&connection, language))
            .map_err(|e| PyRuntimeError::new_err(e.to_string()))?;
        Ok(Self { inner })
    }

    #[getter]
    fn wake_fd(&self) -> i32 {
        self.inner.wake_fd()
    }

    #[getter]
    fn ended(&self) -> bool {
        self.inner.ended()
    }

    fn next_request(&self) -> Option<Request> {
        let message = self.inner.next_request()?;
        Some(Request { message })
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
        buffers: Vec<Vec<u8>>,
    ) {
        let buffers = buffers.into_iter().map(Bytes::from).collect();
        py.detach(|| {
            self.inner
                .publish(msg_type, parent, metadata, content, buffers)
        });
    }

    /// Adds text to a stream; it is gathered and sent within 40 ms.
    fn write(&self, py: Python<'_>, name: &str, text: &str, parent: &str) {
        let name = if name == "stderr" { "stderr" } else { "stdout" };
        let parent: Arc<str> = parent.into();
        py.detach(|| self.inner.write(name, text, &parent));
    }

    fn flush(&self, py: Python<'_>) {
        py.detach(|| self.inner.flush());
    }

    #[pyo3(signature = (msg_type, content, parent, metadata="{}"))]
    fn reply(
        &self,
        py: Python<'_>,
        msg_type: &str,
        content: &str,
        parent: &Request,
        metadata: &str,
    ) {
        let parent = Arc::clone(&parent.message.parent);
        py.detach(|| self.inner.reply(msg_type, &parent, metadata, content));
    }

    /// Asks the front end that sent `parent` for a line; interruptible.
    fn input(
        &self,
        py: Python<'_>,
        prompt: &str,
        password: bool,
        parent: &Request,
    ) -> PyResult<String> {
        let parent = Arc::clone(&parent.message.parent);
        let mut raised = None;
        let input = py.detach(|| {
            self.inner.input(prompt, password, &parent, || {
                raised = Python::attach(|py| py.check_signals().err());
                raised.is_some() || self.inner.ended()
            })
        });
        match (input, raised) {
            (Input::Line(line), _) => Ok(line),
            (Input::Interrupted, Some(error)) => Err(error),
            (Input::Interrupted, None) => Err(PyKeyboardInterrupt::new_err(())),
        }
    }

    fn exit(&self, py: Python<'_>, code: i32) {
        py.detach(|| self.inner.exit(code));
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
