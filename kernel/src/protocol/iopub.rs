//! The messages that all front ends see, in order. Text written to a stream is
//! collected for 40 ms, and is always sent before any later message.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;

use super::message::NO_PARENT;
use super::signer::Signer;
use super::streams::Streams;
use crate::process::capture::Capture;
use crate::transport::curve::Keys;
use crate::transport::publisher::Publisher;

const GATHER: Duration = Duration::from_millis(40);

/// The sending side; clones share its state.
#[derive(Clone)]
pub(crate) struct IoPub {
    streams: Streams,
    capture: Arc<OnceLock<Capture>>,
}

impl IoPub {
    pub(super) async fn bind(
        endpoint: &str,
        keys: Option<Arc<Keys>>,
        signer: Signer,
    ) -> std::io::Result<Self> {
        let publisher = Publisher::new(keys, greeting(signer.clone()));
        publisher.listen(endpoint).await?;
        let iopub = Self {
            streams: Streams::new(signer, publisher),
            capture: Arc::default(),
        };
        let gatherer = iopub.clone();
        // A thread, not a task, because it can block on a subscriber.
        std::thread::spawn(move || {
            loop {
                gatherer.streams.wait();
                std::thread::sleep(GATHER);
                gatherer.flush();
            }
        });
        Ok(iopub)
    }

    /// From now on, output of file descriptors 1 and 2 is sent as stream text.
    pub(crate) fn capture(&self) -> std::io::Result<()> {
        let streams = self.streams.clone();
        let capture = Capture::start(move |name, text, parent| {
            streams.append(name, text, parent);
        })?;
        capture.begin(&NO_PARENT.into());
        capture.end();
        let _ = self.capture.set(capture);
        Ok(())
    }

    /// From now on, output of the descriptors, also from processes that inherit
    /// them, belongs to `parent`.
    pub(crate) fn begin_cell(&self, parent: &Arc<str>) {
        if let Some(capture) = self.capture.get() {
            capture.begin(parent);
        }
    }

    /// Records that no cell runs any more.
    pub(crate) fn end_cell(&self) {
        if let Some(capture) = self.capture.get() {
            capture.end();
        }
    }

    /// Sends a message after all text written before it. Blocks while a
    /// subscriber is far behind, so it must not be called from async code.
    pub(crate) fn publish(
        &self,
        msg_type: &str,
        parent: &str,
        metadata: &str,
        content: &str,
        buffers: Vec<Bytes>,
    ) {
        self.catch_up();
        self.streams
            .publish(msg_type, parent, metadata, content, buffers);
    }

    pub(crate) fn status(&self, state: &str, parent: &str) {
        self.publish("status", parent, "{}", &status(state), vec![]);
    }

    /// Adds text to `stdout` or `stderr`, after what the descriptors hold.
    pub(crate) fn write(&self, name: &'static str, text: &str, parent: &Arc<str>) {
        self.catch_up();
        self.streams.append(name, text, parent);
    }

    /// The same without blocking; returns whether it was done.
    pub(crate) fn try_write(&self, name: &'static str, text: &str, parent: &Arc<str>) -> bool {
        self.capture.get().is_none_or(Capture::is_quiet)
            && self.streams.try_append(name, text, parent)
    }

    /// Sends the text written so far.
    pub(crate) fn flush(&self) {
        self.catch_up();
        self.streams.flush();
    }

    /// Waits until the transport has everything that was published.
    pub(crate) fn settle(&self, at_most: Duration) {
        self.flush();
        self.streams.settle(at_most);
    }

    fn catch_up(&self) {
        if let Some(capture) = self.capture.get() {
            capture.catch_up();
        }
    }
}

/// The welcome message of a new subscription (JEP 65), after which it misses
/// nothing. The first subscriber of all also gets the kernel's status
/// `starting`.
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
