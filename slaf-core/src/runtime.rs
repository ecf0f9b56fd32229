//! The one thread pool that all I/O and decoding run on, and the way a
//! synchronous caller waits for it without becoming deaf to an interrupt.

use std::future::Future;
use std::sync::LazyLock;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::{Error, Result};

#[expect(
    clippy::expect_used,
    reason = "without threads nothing can run, and the system says why"
)]
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread()
        .thread_name("slaf")
        .enable_all()
        .build()
        .expect("the system refuses to start threads")
});

/// How often a waiting caller looks for an interrupt.
const TICK: Duration = Duration::from_millis(40);

/// Runs `work` on the pool. While it runs, `interrupted` is asked every 40 ms;
/// once it says yes the work is dropped and the answer is
/// [`Error::Interrupted`].
pub fn wait<T, F>(work: F, mut interrupted: impl FnMut() -> bool) -> Result<T>
where
    T: Send + 'static,
    F: Future<Output = Result<T>> + Send + 'static,
{
    let (done, answer) = sync_channel(1);
    let task = RUNTIME.spawn(work);
    let abort = task.abort_handle();
    RUNTIME.spawn(async move {
        let outcome = task.await.unwrap_or_else(|failure| {
            Err(Error::Engine {
                message: format!("The engine stopped unexpectedly: {failure}"),
            })
        });
        // After an interrupt nobody listens any more.
        let _ = done.send(outcome);
    });
    loop {
        match answer.recv_timeout(TICK) {
            Ok(outcome) => return outcome,
            Err(RecvTimeoutError::Timeout) if interrupted() => {
                abort.abort();
                return Err(Error::Interrupted);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err(Error::Interrupted),
        }
    }
}

/// The next item of `queue`, or `None` after the last; interrupted as [`wait`].
pub(crate) fn receive<T: Send>(
    queue: &mut mpsc::Receiver<T>,
    mut interrupted: impl FnMut() -> bool,
) -> Result<Option<T>> {
    loop {
        match RUNTIME.block_on(async { timeout(TICK, queue.recv()).await }) {
            Ok(item) => return Ok(item),
            Err(_) if interrupted() => return Err(Error::Interrupted),
            Err(_) => {}
        }
    }
}

/// Runs `work` on the pool beside the caller.
pub(crate) fn spawn<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> JoinHandle<T> {
    RUNTIME.spawn(work)
}

/// The same for work that computes.
pub(crate) fn spawn_blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    RUNTIME.spawn_blocking(work)
}
