//! State that the channels of a kernel share, and how a request is answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;

use super::connection::Connection;
use super::iopub::IoPub;
use super::message::{Channel, Message, Parent};
use super::request_queues::Lanes;
use super::signer::Signer;
use crate::transport::router::Router;

/// Clones share all state.
#[derive(Clone)]
pub(crate) struct Channels {
    pub(crate) connection: Arc<Connection>,
    pub(crate) iopub: IoPub,
    pub(crate) lanes: Arc<Lanes>,
    /// The language's part of `kernel_info_reply`.
    pub(crate) language: Arc<Value>,
    pub(crate) signer: Signer,
    pub(crate) shell: Router,
    pub(crate) control: Router,
    /// Whether the process is a program that embeds the kernel and outlives it.
    pub(crate) embedded: bool,
    pub(crate) state: Arc<State>,
}

/// The progress of the kernel's shutdown.
#[derive(Default)]
pub(crate) struct State {
    ended: AtomicBool,
    leaving: AtomicBool,
}

impl Channels {
    /// Answers a request, with status busy before and idle after.
    pub(super) fn answer(&self, message: &Message, content: &Value) {
        let parent = &message.parent;
        self.iopub.status("busy", &parent.header);
        // A message that is not a request gets no reply.
        if let Some(kind) = message.header.msg_type.strip_suffix("_request") {
            self.send(&format!("{kind}_reply"), parent, "{}", &content.to_string());
        }
        self.iopub.status("idle", &parent.header);
    }

    /// Sends on the channel of the request.
    pub(crate) fn send(&self, msg_type: &str, parent: &Parent, metadata: &str, content: &str) {
        let to = &parent.identities;
        let frames = self
            .signer
            .encode(to, msg_type, &parent.header, metadata, content, vec![]);
        match parent.channel {
            Channel::Control => self.control.send(&frames),
            Channel::Shell | Channel::Stdin => self.shell.send(&frames),
        }
    }

    /// Waits until the transport has everything that was sent.
    pub(crate) fn settle(&self, at_most: Duration) {
        self.iopub.settle(at_most);
        self.shell.settle(at_most);
        self.control.settle(at_most);
    }

    /// Records that a shutdown was requested.
    pub(super) fn end(&self) {
        self.state.ended.store(true, Ordering::Release);
        self.lanes.end();
    }

    /// Whether a shutdown was requested.
    pub(crate) fn ended(&self) -> bool {
        self.state.ended.load(Ordering::Acquire)
    }

    /// Records that no cell runs any more.
    pub(crate) fn leave(&self) {
        self.state.leaving.store(true, Ordering::Release);
    }

    pub(super) fn leaving(&self) -> bool {
        self.state.leaving.load(Ordering::Acquire)
    }
}
