//! Captures what C code, Rust code and child processes write to file descriptors 1
//! and 2.
//!
//! Each cell gets its own pipes there. If a process outlives its cell, it keeps
//! writing to these pipes. Its output then belongs to the cell that is running, as
//! for a pool of workers, or to its own cell if none is running. A thread reads the
//! pipes without any lock of the language, so a full pipe never blocks the thread
//! that holds the lock. Before other output is sent, the current pipes are emptied
//! ([`Capture::catch_up`]), so that everything arrives in order.

use std::io::{self, PipeReader, PipeWriter, Read, Write, pipe};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{crashes, log};

const STREAMS: [(RawFd, &str); 2] = [(1, "stdout"), (2, "stderr")];
/// Size of a pipe: the usual 64 KiB would slow down a child that prints much.
const PIPE_BYTES: libc::c_int = 1 << 20;

pub(crate) struct Capture {
    shared: Arc<Shared>,
}

/// Receives the name of a stream, text, and the request that it belongs to.
type Say = dyn Fn(&'static str, &str, &Arc<str>) + Send + Sync;

struct Shared {
    say: Box<Say>,
    sources: Mutex<Vec<Source>>,
    /// The running cell.
    running: Mutex<Option<Arc<str>>>,
    /// The pipes that are now at the descriptors.
    current: [AtomicI32; STREAMS.len()],
    /// An epoll that watches the current pipes: asking whether one of them holds
    /// something takes half as long as a `poll`.
    filled: OwnedFd,
    waker: PipeWriter,
}

/// The read end of a pipe.
struct Source {
    pipe: PipeReader,
    name: &'static str,
    owner: Arc<str>,
    /// The first bytes of a character that is not yet complete.
    partial: Vec<u8>,
}

impl Capture {
    /// Starts a capture that passes output to `say`.
    pub(crate) fn start(
        say: impl Fn(&'static str, &str, &Arc<str>) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        log::keep();
        let (wake, waker) = pipe()?;
        let shared = Arc::new(Shared {
            say: Box::new(say),
            sources: Mutex::default(),
            running: Mutex::default(),
            current: [const { AtomicI32::new(-1) }; STREAMS.len()],
            filled: watcher()?,
            waker,
        });
        // SAFETY: C's stdout exists as long as the process.
        unsafe { libc::setvbuf(stdout, std::ptr::null_mut(), libc::_IOLBF, 0) };
        let reader = Arc::clone(&shared);
        std::thread::spawn(move || reader.read(wake));
        Ok(Self { shared })
    }

    /// Puts new pipes at the descriptors, for the cell of `owner`. If no
    /// descriptors are left, the pipes of the previous cell stay.
    pub(crate) fn begin(&self, owner: &Arc<str>) {
        self.catch_up();
        let mut sources = self.shared.sources();
        for ((fd, name), current) in STREAMS.into_iter().zip(&self.shared.current) {
            let Ok(pipe) = replace(fd) else { continue };
            let before = current.swap(pipe.as_raw_fd(), Ordering::AcqRel);
            self.shared.watch(before, pipe.as_raw_fd());
            if name == "stderr" {
                crashes::rescue(pipe.as_raw_fd());
            }
            sources.push(Source {
                pipe,
                name,
                owner: Arc::clone(owner),
                partial: Vec::new(),
            });
        }
        drop(sources);
        *self.shared.running() = Some(Arc::clone(owner));
        let _ = (&self.shared.waker).write(b"!");
    }

    /// Records that no cell is running.
    pub(crate) fn end(&self) {
        *self.shared.running() = None;
    }

    /// Whether the current pipes are empty: one system call, no lock.
    pub(crate) fn is_quiet(&self) -> bool {
        let mut found = libc::epoll_event { events: 0, u64: 0 };
        // SAFETY: C's stdout exists as long as the process, and there is room for
        // the one event that is asked for.
        unsafe {
            libc::fflush(stdout);
            libc::epoll_wait(self.shared.filled.as_raw_fd(), &mut found, 1, 0) == 0
        }
    }

    /// Reads what the current pipes hold.
    pub(crate) fn catch_up(&self) {
        // SAFETY: C's stdout exists as long as the process.
        unsafe { libc::fflush(stdout) };
        let current = self.shared.current();
        let mut sources = self.shared.sources();
        let running = self.shared.running().clone();
        let read_now = |s: &&mut Source| current.contains(&s.pipe.as_raw_fd());
        for source in sources.iter_mut().filter(read_now) {
            source.take(&self.shared.say, running.as_ref());
        }
    }
}

unsafe extern "C" {
    static stdout: *mut libc::FILE;
}

/// Puts the write end of a new pipe at `fd`.
fn replace(fd: RawFd) -> io::Result<PipeReader> {
    let (reader, writer) = pipe()?;
    // SAFETY: plain system calls on descriptors that are open; dup2 leaves no
    // moment in which `fd` is closed.
    unsafe {
        libc::fcntl(writer.as_raw_fd(), libc::F_SETPIPE_SZ, PIPE_BYTES);
        if libc::dup2(writer.as_raw_fd(), fd) < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(reader)
}

impl Shared {
    /// Reads all pipes until nobody can write to them.
    fn read(&self, mut wake: PipeReader) {
        loop {
            let mut polled = vec![readable(wake.as_raw_fd())];
            polled.extend(self.sources().iter().map(|s| readable(s.pipe.as_raw_fd())));
            // SAFETY: the array has this length. If another thread has closed a
            // descriptor in the meantime, `poll` reports it as invalid, and it is
            // ignored.
            let found = unsafe { libc::poll(polled.as_mut_ptr(), polled.len() as u64, -1) };
            if found < 0 {
                continue;
            }
            if polled[0].revents != 0 {
                let _ = wake.read(&mut [0; 64]);
            }
            let ready = |fd: RawFd| polled[1..].iter().any(|p| p.fd == fd && p.revents != 0);
            let mut sources = self.sources();
            let running = self.running().clone();
            sources.retain_mut(|source| {
                !ready(source.pipe.as_raw_fd())
                    || source.take(&self.say, running.as_ref())
                    || !source.ended()
            });
        }
    }

    /// Watches a pipe instead of the previous one.
    fn watch(&self, before: RawFd, pipe: RawFd) {
        let filled = self.filled.as_raw_fd();
        let mut event = libc::epoll_event {
            events: libc::EPOLLIN as u32,
            u64: 0,
        };
        // SAFETY: the call only reads the event. The previous pipe may be closed, and
        // then is not watched any more; removing it again only returns an error.
        unsafe {
            libc::epoll_ctl(filled, libc::EPOLL_CTL_DEL, before, &mut event);
            libc::epoll_ctl(filled, libc::EPOLL_CTL_ADD, pipe, &mut event);
        }
    }

    fn current(&self) -> [RawFd; STREAMS.len()] {
        self.current.each_ref().map(|fd| fd.load(Ordering::Acquire))
    }

    fn running(&self) -> MutexGuard<'_, Option<Arc<str>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sources(&self) -> MutexGuard<'_, Vec<Source>> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn watcher() -> io::Result<OwnedFd> {
    // SAFETY: nobody else owns the new descriptor.
    match unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) } {
        -1 => Err(io::Error::last_os_error()),
        fd => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
    }
}

fn readable(fd: RawFd) -> libc::pollfd {
    libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    }
}

impl Source {
    /// Passes on the waiting bytes, for the running cell, or for the pipe's own
    /// cell if none runs. Returns whether there were any.
    fn take(&mut self, say: &Say, running: Option<&Arc<str>>) -> bool {
        let mut waiting: libc::c_int = 0;
        // SAFETY: it writes one int.
        unsafe { libc::ioctl(self.pipe.as_raw_fd(), libc::FIONREAD, &mut waiting) };
        if waiting <= 0 {
            return false;
        }
        let kept = self.partial.len();
        let mut bytes = std::mem::take(&mut self.partial);
        bytes.resize(kept + waiting as usize, 0);
        let Ok(read) = self.pipe.read(&mut bytes[kept..]) else {
            return false;
        };
        bytes.truncate(kept + read);
        let whole = whole_characters(&bytes);
        self.partial = bytes.split_off(whole);
        if !bytes.is_empty() {
            let owner = running.unwrap_or(&self.owner);
            say(self.name, &String::from_utf8_lossy(&bytes), owner);
        }
        true
    }

    /// Whether all writers have closed the pipe.
    fn ended(&self) -> bool {
        let mut polled = readable(self.pipe.as_raw_fd());
        // SAFETY: one pollfd.
        unsafe { libc::poll(&mut polled, 1, 0) };
        polled.revents & libc::POLLIN == 0 && polled.revents & libc::POLLHUP != 0
    }
}

/// The number of leading bytes that are complete characters; the rest may
/// become one.
pub(crate) fn whole_characters(bytes: &[u8]) -> usize {
    let tail = bytes.len().saturating_sub(3);
    for at in (tail..bytes.len()).rev() {
        let length = match bytes[at] {
            0..=0x7f => return bytes.len(),
            0x80..=0xbf => continue,
            0xc0..=0xdf => 2,
            0xe0..=0xef => 3,
            _ => 4,
        };
        return if at + length > bytes.len() {
            at
        } else {
            bytes.len()
        };
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::whole_characters;

    proptest! {
        #[test]
        fn text_cut_anywhere_is_the_same_text(text in "\\PC{0,40}", cuts in prop::collection::vec(0usize..160, 0..8)) {
            let bytes = text.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().filter(|c| *c < bytes.len()).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let (mut told, mut partial) = (String::new(), Vec::new());
            for cut in cuts.windows(2) {
                partial.extend_from_slice(&bytes[cut[0]..cut[1]]);
                let rest = partial.split_off(whole_characters(&partial));
                told.push_str(std::str::from_utf8(&partial).unwrap());
                partial = rest;
            }
            prop_assert_eq!(told, text);
        }

        #[test]
        fn nothing_is_kept_back_for_long(bytes in prop::collection::vec(any::<u8>(), 0..20)) {
            prop_assert!(bytes.len() - whole_characters(&bytes) < 4);
        }
    }
}
