//! The control channel, which no cell blocks: interrupts, usage, shutdown.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::channels::Channels;
use super::kernel_info::{connect, kernel_info};
use super::message::Message;
use crate::process::lifetime::{cut_off, ignore_termination, interrupt};
use crate::process::usage::Usage;

/// Time for the language to end after a shutdown request. jupyter_client sends
/// SIGTERM after 2.5 s and SIGKILL after 5.
const GRACE: Duration = Duration::from_secs(4);
/// Time between interrupts of a cell that does not stop.
const AGAIN: Duration = Duration::from_millis(300);

/// Answers a message of the control channel. Requests that only the language
/// can answer go to its side lane.
pub(crate) fn handle(channels: &Channels, usage: &mut Usage, message: Message) {
    let content = match message.header.msg_type.as_str() {
        "interrupt_request" => {
            // Other threads that run cells receive no signals.
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

/// Tells the language to end, interrupts the running cell until it stops, and
/// ends the process if it does not end on its own.
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
