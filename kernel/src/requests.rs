//! Requests that wait for the language, and the pipe that wakes its event loop.

use std::collections::VecDeque;
use std::io::{PipeReader, PipeWriter, Write, pipe};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Mutex, PoisonError};

use crate::message::Message;

pub(crate) struct Requests {
    queue: Mutex<VecDeque<Message>>,
    bell: Mutex<PipeWriter>,
    ear: PipeReader,
}

impl Requests {
    pub(crate) fn new() -> std::io::Result<Self> {
        let (ear, bell) = pipe()?;
        Ok(Self {
            queue: Mutex::default(),
            bell: Mutex::new(bell),
            ear,
        })
    }

    /// Readable when there may be a request; a byte for each ring.
    pub(crate) fn fd(&self) -> RawFd {
        self.ear.as_raw_fd()
    }

    pub(crate) fn push(&self, message: Message) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.push_back(message);
        drop(queue);
        self.ring();
    }

    pub(crate) fn pop(&self) -> Option<Message> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.pop_front()
    }

    /// Wakes the language without a request.
    pub(crate) fn ring(&self) {
        let mut bell = self.bell.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = bell.write_all(b"!");
    }
}
