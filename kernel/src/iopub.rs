//! Everything that all front ends see, in the order in which it was said. Text
//! written to a stream is gathered for 40 ms, and always leaves before any
//! later message.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;

use crate::capture::Capture;
use crate::curve::Keys;
use crate::message::{NO_PARENT, Signer};
use crate::publisher::Publisher;

const GATHER: Duration = Duration::from_millis(40);
/// Gathered text beyond which a writer waits for the front end.
const FULL: usize = 1 << 20;

/// The sending side; clones share it.
#[derive(Clone)]
pub(crate) struct IoPub {
    signer: Signer,
    publisher: Publisher,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    text: Mutex<Text>,
    written: Condvar,
    capture: OnceLock<Capture>,
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

impl IoPub {
    pub(crate) async fn bind(
        endpoint: &str,
        keys: Option<Arc<Keys>>,
        signer: Signer,
    ) -> std::io::Result<Self> {
        let iopub = Self {
            publisher: Publisher::bind(endpoint, keys, greeting(signer.clone())).await?,
            signer,
            shared: Arc::default(),
        };
        let gatherer = iopub.clone();
        // A thread, not a task: it may block on a subscriber.
        std::thread::spawn(move || gatherer.gather());
        Ok(iopub)
    }

    /// From here on, what reaches the file descriptors 1 and 2 is text too.
    pub(crate) fn capture(&self) -> std::io::Result<()> {
        let capture = Capture::start(self.clone())?;
        let _ = self.shared.capture.set(capture);
        Ok(())
    }

    /// What is written to the descriptors from here on, also by processes that
    /// inherit them, answers `parent`.
    pub(crate) fn begin_cell(&self, parent: &Arc<str>) {
        if let Some(capture) = self.shared.capture.get() {
            capture.begin(parent);
        }
    }

    pub(crate) fn end_cell(&self) {
        if let Some(capture) = self.shared.capture.get() {
            capture.end();
        }
    }

    /// Sends a message after all text written before it. Blocks while a
    /// subscriber is far behind; not for async code.
    pub(crate) fn publish(
        &self,
        msg_type: &str,
        parent: &str,
        metadata: &str,
        content: &str,
        buffers: Vec<Bytes>,
    ) {
        self.catch_up();
        let mut text = self.lock();
        self.drain(&mut text);
        let topic = [Bytes::copy_from_slice(msg_type.as_bytes())];
        let frames = self
            .signer
            .encode(&topic, msg_type, parent, metadata, content, buffers);
        self.publisher.publish(&frames);
    }

    pub(crate) fn status(&self, state: &str, parent: &str) {
        self.publish("status", parent, "{}", &status(state), vec![]);
    }

    /// Adds text to `stdout` or `stderr`, after what the descriptors hold.
    pub(crate) fn write(&self, name: &'static str, text: &str, parent: &Arc<str>) {
        self.catch_up();
        self.append(name, text, parent);
    }

    /// The same without ever waiting; whether it was done.
    pub(crate) fn try_write(&self, name: &'static str, text: &str, parent: &Arc<str>) -> bool {
        let capture = self.shared.capture.get();
        if capture.is_some_and(|capture| !capture.is_quiet()) {
            return false;
        }
        let Ok(mut gathered) = self.shared.text.try_lock() else {
            return false;
        };
        let fits = gathered.bytes + text.len() < FULL;
        if fits {
            self.add(&mut gathered, name, text, parent);
        }
        fits
    }

    pub(crate) fn append(&self, name: &'static str, text: &str, parent: &Arc<str>) {
        let mut gathered = self.lock();
        self.add(&mut gathered, name, text, parent);
        if gathered.bytes >= FULL {
            self.drain(&mut gathered);
        }
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
            self.shared.written.notify_one();
        }
        gathered.bytes += text.len();
    }

    /// Hands over what has been written so far.
    pub(crate) fn flush(&self) {
        self.catch_up();
        self.drain(&mut self.lock());
    }

    /// Waits until everything published so far is with the transport.
    pub(crate) fn settle(&self, at_most: Duration) {
        self.flush();
        self.publisher.settle(at_most);
    }

    fn catch_up(&self) {
        if let Some(capture) = self.shared.capture.get() {
            capture.catch_up();
        }
    }

    fn gather(&self) {
        loop {
            let mut text = self.lock();
            while text.pieces.is_empty() {
                let woken = self.shared.written.wait(text);
                text = woken.unwrap_or_else(PoisonError::into_inner);
            }
            drop(text);
            std::thread::sleep(GATHER);
            self.flush();
        }
    }

    fn drain(&self, text: &mut Text) {
        text.bytes = 0;
        for Piece { parent, name, text } in text.pieces.drain(..) {
            let content = json!({ "name": name, "text": text }).to_string();
            let topic = [Bytes::from_static(b"stream")];
            let frames = self
                .signer
                .encode(&topic, "stream", &parent, "{}", &content, vec![]);
            self.publisher.publish(&frames);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Text> {
        let text = self.shared.text.lock();
        text.unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells a new subscriber that from here on it misses nothing (JEP 65), and
/// the first of all that the kernel has started.
fn greeting(signer: Signer) -> impl Fn(&[u8]) -> Vec<Vec<Bytes>> {
    let started = Mutex::new(false);
    move |topic| {
        let content = json!({ "subscription": String::from_utf8_lossy(topic) }).to_string();
        let routing = [Bytes::copy_from_slice(topic)];
        let message = |msg_type, content: &str| {
            signer.encode(&routing, msg_type, NO_PARENT, "{}", content, vec![])
        };
        let mut messages = vec![message("iopub_welcome", &content)];
        let mut started = started.lock().unwrap_or_else(PoisonError::into_inner);
        if !std::mem::replace(&mut started, true) {
            messages.push(message("status", &status("starting")));
        }
        messages
    }
}

fn status(state: &str) -> String {
    json!({ "execution_state": state }).to_string()
}
