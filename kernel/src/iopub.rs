//! Everything that all front ends see. One task owns the XPUB socket and polls
//! it always; a bounded queue in front of it blocks its producers and drops
//! nothing. Text written to a stream is gathered for 40 ms, and always leaves
//! before any later message.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use tokio::sync::{mpsc, oneshot};
use zeromq::{SocketRecv, SocketSend, XPubSocket, ZmqMessage};

use crate::message::{NO_PARENT, Signer};

const GATHER: Duration = Duration::from_millis(40);
/// Gathered text beyond which a writer waits for the front end.
const FULL: usize = 1 << 20;
const QUEUE: usize = 512;
/// A subscriber that takes no message for so long is given up.
const STALLED: Duration = Duration::from_secs(10);

enum Item {
    Message(Vec<Bytes>),
    /// Answered once everything before it has been sent.
    Flush(oneshot::Sender<()>),
}

/// The sending side; clones share it.
#[derive(Clone)]
pub(crate) struct IoPub {
    signer: Signer,
    queue: mpsc::Sender<Item>,
    text: Arc<(Mutex<Text>, Condvar)>,
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
    pub(crate) fn start(socket: XPubSocket, signer: Signer) -> Self {
        let (queue, items) = mpsc::channel(QUEUE);
        tokio::spawn(own(socket, items, signer.clone()));
        let iopub = Self {
            signer,
            queue,
            text: Arc::default(),
        };
        let gatherer = iopub.clone();
        // A thread, not a task: it may block on a full queue.
        std::thread::spawn(move || gatherer.gather());
        iopub
    }

    /// Sends a message after all text written before it. Blocks while the
    /// queue is full; not for async code.
    pub(crate) fn publish(
        &self,
        msg_type: &str,
        parent: &str,
        metadata: &str,
        content: &str,
        buffers: Vec<Bytes>,
    ) {
        let mut text = self.lock();
        self.drain(&mut text);
        let topic = [Bytes::copy_from_slice(msg_type.as_bytes())];
        let frames = self
            .signer
            .encode(&topic, msg_type, parent, metadata, content, buffers);
        // The other end is gone only when the kernel is.
        let _ = self.queue.blocking_send(Item::Message(frames));
    }

    pub(crate) fn status(&self, state: &str, parent: &str) {
        let content = json!({ "execution_state": state }).to_string();
        self.publish("status", parent, "{}", &content, vec![]);
    }

    /// Adds text to `stdout` or `stderr`.
    pub(crate) fn write(&self, name: &'static str, text: &str, parent: &Arc<str>) {
        let mut gathered = self.lock();
        let same = |p: &Piece| p.name == name && p.parent == *parent;
        match gathered.pieces.back_mut().filter(|p| same(p)) {
            Some(piece) => piece.text.push_str(text),
            None => gathered.pieces.push_back(Piece {
                parent: Arc::clone(parent),
                name,
                text: text.to_owned(),
            }),
        }
        gathered.bytes += text.len();
        if gathered.bytes >= FULL {
            self.drain(&mut gathered);
        } else {
            self.text.1.notify_one();
        }
    }

    /// Hands gathered text over now.
    pub(crate) fn flush(&self) {
        self.drain(&mut self.lock());
    }

    /// Waits until everything published so far is with the transport.
    pub(crate) fn settle(&self, at_most: Duration) {
        self.flush();
        let (done, settled) = oneshot::channel();
        if self.queue.blocking_send(Item::Flush(done)).is_err() {
            return;
        }
        let end = std::time::Instant::now() + at_most;
        let mut settled = settled;
        while settled.try_recv() == Err(oneshot::error::TryRecvError::Empty)
            && std::time::Instant::now() < end
        {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn gather(&self) {
        loop {
            let mut text = self.lock();
            while text.pieces.is_empty() {
                text = self
                    .text
                    .1
                    .wait(text)
                    .unwrap_or_else(PoisonError::into_inner);
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
            let _ = self.queue.blocking_send(Item::Message(frames));
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Text> {
        self.text.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Owns the socket. Subscriptions are seen only while it is polled.
async fn own(mut socket: XPubSocket, mut items: mpsc::Receiver<Item>, signer: Signer) {
    loop {
        let item = tokio::select! {
            subscription = socket.recv() => {
                if let Ok(message) = subscription {
                    welcome(&mut socket, &signer, message).await;
                }
                continue;
            }
            item = items.recv() => item,
        };
        match item {
            None => return,
            Some(Item::Flush(done)) => {
                let _ = done.send(());
            }
            Some(Item::Message(frames)) => send(&mut socket, frames).await,
        }
    }
}

/// Tells a new subscriber that from here on it misses nothing (JEP 65).
async fn welcome(socket: &mut XPubSocket, signer: &Signer, message: ZmqMessage) {
    let Some(subscription) = message.get(0).filter(|frame| frame.first() == Some(&1)) else {
        return;
    };
    let topic = subscription.slice(1..);
    let content = json!({ "subscription": String::from_utf8_lossy(&topic) }).to_string();
    let frames = signer.encode(&[topic], "iopub_welcome", NO_PARENT, "{}", &content, vec![]);
    send(socket, frames).await;
}

async fn send(socket: &mut XPubSocket, frames: Vec<Bytes>) {
    if let Ok(message) = ZmqMessage::try_from(frames) {
        let _ = tokio::time::timeout(STALLED, socket.send(message)).await;
    }
}
