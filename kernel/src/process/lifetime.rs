//! Interrupts, and the end of this process and of its child processes.

use std::time::Duration;

use super::children::end_children;
use super::log::log;

/// Sends SIGINT as a terminal would: also to children, if our process group is
/// our own.
pub(crate) fn interrupt() {
    // SAFETY: plain system calls on our own ids.
    unsafe {
        let pid = libc::getpid();
        if libc::getpgid(0) == pid {
            libc::killpg(pid, libc::SIGINT);
        } else {
            libc::kill(pid, libc::SIGINT);
        }
    }
}

/// Ignores SIGTERM, so that the shutdown is ours alone.
pub(crate) fn ignore_termination() {
    // SAFETY: a plain system call.
    unsafe { libc::signal(libc::SIGTERM, libc::SIG_IGN) };
}

/// Ends the process after a delay, if it has not ended on its own.
pub(crate) fn cut_off(after: Duration) -> ! {
    std::thread::sleep(after);
    log("what runs at exit (atexit, threads, finalizers) was cut off: it took too long");
    end_all();
    // SAFETY: nothing of ours runs after it.
    unsafe { libc::_exit(0) }
}

/// Ends all child processes.
pub(crate) fn end_all() {
    // SAFETY: plain system calls.
    unsafe {
        let pid = libc::getpid();
        if libc::getpgid(0) == pid {
            libc::signal(libc::SIGTERM, libc::SIG_IGN);
            libc::killpg(pid, libc::SIGTERM);
        }
    }
    end_children();
}

/// Calls `orphaned` when the Jupyter server that started this process has
/// ended.
pub(crate) fn watch_parent(orphaned: impl FnOnce() + Send + 'static) {
    // SAFETY: a plain system call.
    let parent = unsafe { libc::getppid() };
    if parent <= 1 || std::env::var_os("JPY_PARENT_PID").is_none() {
        return;
    }
    std::thread::spawn(move || {
        // SAFETY: a plain system call.
        while unsafe { libc::getppid() } == parent {
            std::thread::sleep(Duration::from_secs(1));
        }
        orphaned();
    });
}
