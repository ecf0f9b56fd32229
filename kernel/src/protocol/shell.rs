//! The shell channel: which requests are answered at once, and which wait for the
//! language.

use serde_json::json;

use super::channels::Channels;
use super::kernel_info::{connect, kernel_info};
use super::message::Message;

pub(crate) fn handle(channels: &Channels, message: Message) {
    let content = match message.header.msg_type.as_str() {
        "kernel_info_request" => kernel_info(&channels.language),
        "connect_request" => connect(&channels.connection),
        _ => {
            let Some(lost) = channels.lanes.push(message) else {
                return;
            };
            let id = lost.header.subshell_id.as_deref().unwrap_or_default();
            let content = json!({
                "status": "error",
                "ename": "NoSuchSubshell",
                "evalue": format!("There is no subshell `{id}`."),
                "traceback": [],
            });
            return channels.answer(&lost, &content);
        }
    };
    channels.answer(&message, &content);
}
