//! The control channel, which no cell blocks: interrupts, usage, shutdown.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::channels::Channels;
use super::kernel_info::{connect, kernel_info};
use super::message::Message;
use crate::process::lifetime::{cut_off, ignore_termination, interrupt};
use crate::process::usage::Usage;

/// How long a language that has been told to end may take. jupyter_client sends
/// SIGTERM after 2.5 s and SIGKILL after 5.
const GRACE: Duration = Duration::from_secs(4);
/// Between interrupts of a cell that is to give way.
const AGAIN: Duration = Duration::from_millis(300);

/// Answers a message of the control channel; what only the language can answer
/// goes to its side lane.
pub(crate) fn handle(channels: &Channels, usage: &mut Usage, message: Message) {
    let content = match message.header.msg_type.as_str() {
        "interrupt_request" => {
            // Other threads that run cells get no signals.
            let _ = channels.lanes.push(message.clone());
            interrupt();
            json!({ "status": "ok" })
        }
        "shutdown_request" => {
            let request: Value = serde_json::from_slice(&message.content).unwrap_or_default();
            let content = json!({ "status": "ok", "restart": request["restart"] == true });
            channels.answer(&message, &content);
            // Other front ends learn of it, too.
            let header = &message.parent.header;
            let content = content.to_string();
            let iopub = &channels.iopub;
            iopub.publish("shutdown_reply", header, "{}", &content, vec![]);
            return shut_down(channels);
        }
        "usage_request" => usage.reply(),
        "kernel_info_request" => kernel_info(&channels.language),
        "connect_request" => connect(&channels.connection),
        _ => {
            let _ = channels.lanes.push(message);
            return;
        }
    };
    channels.answer(&message, &content);
}

/// Tells the language to end, strikes the cell that runs until it gives way, and
/// ends the process if it does not end by itself.
pub(crate) fn shut_down(channels: &Channels) {
    channels.end();
    if channels.embedded {
        return;
    }
    ignore_termination();
    let channels = channels.clone();
    std::thread::spawn(move || {
        let end = Instant::now() + GRACE;
        std::thread::sleep(AGAIN / 3);
        while !channels.leaving() && Instant::now() < end {
            interrupt();
            std::thread::sleep(AGAIN);
        }
        cut_off(end.saturating_duration_since(Instant::now()));
    });
}
