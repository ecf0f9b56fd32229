//! `input()`: asks the front end that sent the running cell.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use super::message::{Message, Parent};
use super::signer::Signer;
use crate::transport::router::Router;

const TICK: Duration = Duration::from_millis(40);

/// The result of a request for input.
#[derive(Debug, PartialEq, Eq)]
pub enum Input {
    Line(String),
    Interrupted,
}

pub(crate) struct Stdin {
    signer: Signer,
    socket: Router,
    replies: Mutex<Receiver<Message>>,
}

#[derive(Deserialize)]
struct Reply {
    value: String,
}

impl Stdin {
    pub(crate) fn new(signer: Signer, socket: Router, replies: Receiver<Message>) -> Self {
        Self {
            signer,
            socket,
            replies: Mutex::new(replies),
        }
    }

    /// Asks and waits; `interrupted` is called every 40 ms. Late answers to
    /// earlier requests are dropped first.
    pub(crate) fn ask(
        &self,
        prompt: &str,
        password: bool,
        parent: &Parent,
        mut interrupted: impl FnMut() -> bool,
    ) -> Input {
        let replies = self.replies.lock().unwrap_or_else(PoisonError::into_inner);
        while replies.try_recv().is_ok() {}
        let content = json!({ "prompt": prompt, "password": password }).to_string();
        let to = &parent.identities;
        let frames =
            self.signer
                .encode(to, "input_request", &parent.header, "{}", &content, vec![]);
        self.socket.send(&frames);
        loop {
            match replies.recv_timeout(TICK) {
                Ok(message) if message.header.msg_type == "input_reply" => {
                    if let Some(line) = line(&message.content) {
                        return Input::Line(line);
                    }
                }
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) if interrupted() => return Input::Interrupted,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Input::Interrupted,
            }
        }
    }
}

/// The line in the content of an answer, if it is an answer.
pub(crate) fn line(content: &[u8]) -> Option<String> {
    let reply: Reply = serde_json::from_slice(content).ok()?;
    Some(reply.value)
}
