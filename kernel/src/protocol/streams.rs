//! Collects text for the streams `stdout` and `stderr`, and keeps it in order with
//! the other messages on iopub.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;

use super::signer::Signer;
use crate::transport::publisher::Publisher;

/// Writers wait for the front end if there is more collected text than this.
const FULL: usize = 1 << 20;

/// Clones share the text.
#[derive(Clone)]
pub(super) struct Streams {
    signer: Signer,
    publisher: Publisher,
    gathered: Arc<Gathered>,
}

#[derive(Default)]
struct Gathered {
    text: Mutex<Text>,
    written: Condvar,
}

#[derive(Default)]
struct Text {
    pieces: VecDeque<Piece>,
    bytes: usize,
}

struct Piece {
    parent: Arc<str>,
    name: &'static str,
    text: String,
}

impl Streams {
    pub(super) fn new(signer: Signer, publisher: Publisher) -> Self {
        Self {
            signer,
            publisher,
            gathered: Arc::default(),
        }
    }

    /// Sends a message after all text written before it. Blocks while a
    /// subscriber is far behind, so it must not be called from async code.
    pub(super) fn publish(
        &self,
        msg_type: &str,
        parent: &str,
        metadata: &str,
        content: &str,
        buffers: Vec<Bytes>,
    ) {
        // The lock is held until the message is sent, so that no text comes between.
        let mut text = self.lock();
        self.drain(&mut text);
        self.send(msg_type, parent, metadata, content, buffers);
    }

    /// Adds text to `stdout` or `stderr`.
    pub(super) fn append(&self, name: &'static str, text: &str, parent: &Arc<str>) {
        let mut gathered = self.lock();
        self.add(&mut gathered, name, text, parent);
        if gathered.bytes >= FULL {
            self.drain(&mut gathered);
        }
    }

    /// The same without blocking; returns whether it was done.
    pub(super) fn try_append(&self, name: &'static str, text: &str, parent: &Arc<str>) -> bool {
        let Ok(mut gathered) = self.gathered.text.try_lock() else {
            return false;
        };
        let fits = gathered.bytes + text.len() < FULL;
        if fits {
            self.add(&mut gathered, name, text, parent);
        }
        fits
    }

    /// Sends the text written so far.
    pub(super) fn flush(&self) {
        self.drain(&mut self.lock());
    }

    /// Waits until there is text.
    pub(super) fn wait(&self) {
        let mut text = self.lock();
        while text.pieces.is_empty() {
            let woken = self.gathered.written.wait(text);
            text = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits until the transport has everything that was published.
    pub(super) fn settle(&self, at_most: Duration) {
        self.publisher.settle(at_most);
    }

    fn add(&self, gathered: &mut Text, name: &'static str, text: &str, parent: &Arc<str>) {
        let same =
            |p: &Piece| p.name == name && (Arc::ptr_eq(&p.parent, parent) || p.parent == *parent);
        match gathered.pieces.back_mut().filter(|p| same(p)) {
            Some(piece) => piece.text.push_str(text),
            None => gathered.pieces.push_back(Piece {
                parent: Arc::clone(parent),
                name,
                text: text.to_owned(),
            }),
        }
        if gathered.bytes == 0 {
            self.gathered.written.notify_one();
        }
        gathered.bytes += text.len();
    }

    fn drain(&self, text: &mut Text) {
        text.bytes = 0;
        for Piece { parent, name, text } in text.pieces.drain(..) {
            let content = json!({ "name": name, "text": text }).to_string();
            self.send("stream", &parent, "{}", &content, vec![]);
        }
    }

    /// The type of a message is its topic.
    fn send(
        &self,
        msg_type: &str,
        parent: &str,
        metadata: &str,
        content: &str,
        buffers: Vec<Bytes>,
    ) {
        let topic = [Bytes::copy_from_slice(msg_type.as_bytes())];
        let frames = self
            .signer
            .encode(&topic, msg_type, parent, metadata, content, buffers);
        self.publisher.publish(&frames);
    }

    fn lock(&self) -> MutexGuard<'_, Text> {
        let text = self.gathered.text.lock();
        text.unwrap_or_else(PoisonError::into_inner)
    }
}
