//! The kernel's log: the stderr with which it was started, which front ends keep.
//! File descriptor 2 itself belongs to the cells.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::OnceLock;

static STDERR: OnceLock<File> = OnceLock::new();

/// Duplicates the descriptor. Call it before cells get theirs.
pub(crate) fn keep() {
    if let Ok(copy) = std::io::stderr().as_fd().try_clone_to_owned() {
        let _ = STDERR.set(copy.into());
    }
}

pub(crate) fn fd() -> RawFd {
    STDERR.get().map_or(libc::STDERR_FILENO, AsRawFd::as_raw_fd)
}

pub(crate) fn log(line: &str) {
    let line = format!("slaf kernel: {line}\n");
    if !has_room() {
        return;
    }
    let _ = match STDERR.get() {
        Some(mut kept) => kept.write_all(line.as_bytes()),
        None => std::io::stderr().write_all(line.as_bytes()),
    };
}

/// Whether the log can be written without blocking. If the log is a pipe that
/// nobody reads, lines are dropped.
fn has_room() -> bool {
    let mut polled = libc::pollfd {
        fd: fd(),
        events: libc::POLLOUT,
        revents: 0,
    };
    // SAFETY: one pollfd.
    unsafe { libc::poll(&mut polled, 1, 0) != 0 }
}
