//! The thread pool for all I/O and decoding, and a way for synchronous callers to
//! wait for it that an interrupt can stop.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::LazyLock;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use futures::FutureExt;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinError, JoinHandle};
use tokio::time::timeout;

use crate::{Error, Result};

#[expect(
    clippy::expect_used,
    reason = "without threads nothing can run, and the system says why"
)]
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread()
        .thread_name("slaf")
        // These threads walk the plans of the deepest statements. Stack memory is used only
        // as needed.
        .thread_stack_size(STACK)
        .on_thread_start(|| SIGNAL_STACK.with(|_| ()))
        // These threads read files, hundreds of scattered ranges at once. With as many
        // threads as tokio allows, each would keep the memory that its allocator has freed.
        .max_blocking_threads(16)
        .enable_all()
        .build()
        .expect("the system refuses to start threads")
});

const STACK: usize = 64 << 20;

thread_local! {
    static SIGNAL_STACK: SignalStack = SignalStack::set();
}

/// A stack for handlers of fatal signals. They run on it if the thread's own
/// stack is full, so that the log can still say why the process died.
struct SignalStack(Box<[u8]>);

impl SignalStack {
    fn set() -> Self {
        let mut memory = vec![0; 64 << 10].into_boxed_slice();
        let stack = libc::stack_t {
            ss_sp: memory.as_mut_ptr().cast(),
            ss_flags: 0,
            ss_size: memory.len(),
        };
        // SAFETY: the memory has this size, and `drop` removes the stack before it is freed.
        unsafe { libc::sigaltstack(&raw const stack, std::ptr::null_mut()) };
        Self(memory)
    }
}

impl Drop for SignalStack {
    fn drop(&mut self) {
        let none = libc::stack_t {
            ss_sp: std::ptr::null_mut(),
            ss_flags: libc::SS_DISABLE,
            ss_size: self.0.len(),
        };
        // SAFETY: the struct is valid for the call.
        unsafe { libc::sigaltstack(&raw const none, std::ptr::null_mut()) };
    }
}

/// How often a waiting caller checks for an interrupt.
const TICK: Duration = Duration::from_millis(40);

/// Runs `work` on the pool. Meanwhile, `interrupted` is called every 40 ms. If
/// it returns true, the work is dropped and the result is
/// [`Error::Interrupted`].
pub fn wait<T, F>(work: F, mut interrupted: impl FnMut() -> bool) -> Result<T>
where
    T: Send + 'static,
    F: Future<Output = Result<T>> + Send + 'static,
{
    let (done, answer) = sync_channel(1);
    let task = RUNTIME.spawn(async move {
        let outcome = AssertUnwindSafe(work).catch_unwind().await;
        let outcome = outcome.unwrap_or_else(|panic| Err(panic_error(panic)));
        // After an interrupt, nobody receives the result.
        let _ = done.send(outcome);
    });
    loop {
        match answer.recv_timeout(TICK) {
            Ok(outcome) => return outcome,
            Err(RecvTimeoutError::Timeout) if interrupted() => {
                task.abort();
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

/// Runs `work` on the pool, without waiting for it.
pub(crate) fn spawn<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> JoinHandle<T> {
    RUNTIME.spawn(work)
}

/// Runs `work`, which may block its thread, beside the pool.
pub(crate) fn spawn_blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    RUNTIME.spawn_blocking(work)
}

/// Waits for a task of the pool. Errors as for [`task_error`].
pub(crate) async fn result_of<T>(task: JoinHandle<Result<T>>) -> Result<T> {
    task.await
        .unwrap_or_else(|failure| Err(task_error(failure)))
}

/// The error for a task that panicked, or was aborted ([`Error::Interrupted`]).
pub(crate) fn task_error(failure: JoinError) -> Error {
    match failure.try_into_panic() {
        Ok(panic) => panic_error(panic),
        Err(_) => Error::Interrupted,
    }
}

/// The error for code that panicked.
pub(crate) fn panic_error(panic: Box<dyn Any + Send>) -> Error {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    Error::Engine {
        message: format!("The engine stopped unexpectedly: {}", text.unwrap_or("?")),
    }
}

/// Runs `work`, a computation without I/O, on the threads for computations.
pub(crate) async fn compute<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let (done, outcome) = oneshot::channel();
    rayon::spawn(move || {
        // After an interrupt, nobody receives the result.
        let _ = done.send(catch_unwind(AssertUnwindSafe(work)));
    });
    match outcome.await {
        Ok(outcome) => outcome.unwrap_or_else(|panic| Err(panic_error(panic))),
        Err(_) => Err(Error::Interrupted),
    }
}
