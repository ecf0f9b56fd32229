//! The only place where Python waits for Rust.

use std::future::Future;
use std::sync::{Arc, OnceLock};

use pyo3::prelude::*;
use slaf_core::{Error, Progress, Result, runtime};

use crate::errors::{SlafError, to_python};

/// The same as [`wait`], and also calls `watch` each time.
pub(crate) fn wait_watching<T, F>(
    py: Python<'_>,
    work: F,
    mut watch: impl FnMut(Python<'_>) -> PyResult<()> + Send,
) -> PyResult<T>
where
    T: Send + 'static,
    F: Future<Output = Result<T>> + Send + 'static,
{
    at_home()?;
    let mut raised = None;
    let outcome = py.detach(|| {
        runtime::wait(work, || {
            raised = Python::attach(|py| interrupted(py).and_then(|()| watch(py)).err());
            raised.is_some()
        })
    });
    match (outcome, raised) {
        (Err(Error::Interrupted), Some(error)) => Err(error),
        (outcome, _) => outcome.map_err(to_python),
    }
}

/// The same as [`wait`] for work that counts what is done; `watch(done, total)` is called
/// regularly, and at the end.
pub(crate) fn wait_counting<T, F>(
    py: Python<'_>,
    watch: Option<Py<PyAny>>,
    work: impl FnOnce(Arc<Progress>) -> F,
) -> PyResult<T>
where
    T: Send + 'static,
    F: Future<Output = Result<T>> + Send + 'static,
{
    let progress = Arc::new(Progress::default());
    let work = work(Arc::clone(&progress));
    let tell = |py: Python<'_>| match &watch {
        Some(watch) => watch.call1(py, progress.so_far()).map(drop),
        None => Ok(()),
    };
    let outcome = wait_watching(py, work, tell)?;
    tell(py)?;
    Ok(outcome)
}

/// Fails in a forked child: threads do not survive a fork, and the child would
/// wait forever.
fn at_home() -> PyResult<()> {
    /// The process that used the engine first, and has its threads.
    static HOME: OnceLock<u32> = OnceLock::new();
    let here = std::process::id();
    if *HOME.get_or_init(|| here) == here {
        return Ok(());
    }
    Err(SlafError::new_err(
        "The engine runs on threads, which a forked process does not have. Start workers by \
         `spawn` (`multiprocessing.get_context(\"spawn\")`), or use the engine in the child only.",
    ))
}

/// Runs `work` without the GIL. A signal's Python handler runs within 40 ms; if
/// it raises, the wait ends with that exception.
pub(crate) fn wait<T, F>(py: Python<'_>, work: F) -> PyResult<T>
where
    T: Send + 'static,
    F: Future<Output = Result<T>> + Send + 'static,
{
    wait_watching(py, work, |_| Ok(()))
}

/// The exception that the handler of a pending signal raises, or that another thread has
/// raised in this one (the thread of a subshell gets no signals).
pub(crate) fn interrupted(py: Python<'_>) -> PyResult<()> {
    py.check_signals()?;
    // Pending exceptions are raised when bytecode runs.
    py.eval(c"None", None, None).map(drop)
}
