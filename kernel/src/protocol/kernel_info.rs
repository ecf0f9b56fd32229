//! The kernel's description of itself: `kernel_info_reply` and `connect_reply`.

use serde_json::{Value, json};

use super::connection::Connection;
use super::message::VERSION;

pub(super) fn kernel_info(language: &Value) -> Value {
    json!({
        "status": "ok",
        "protocol_version": VERSION,
        "implementation": "slaf",
        "implementation_version": env!("CARGO_PKG_VERSION"),
        "language_info": language["language_info"],
        "banner": language["banner"],
        "help_links": language["help_links"],
        "supported_features": language["supported_features"],
        "debugger": language["debugger"],
    })
}

pub(super) fn connect(ports: &Connection) -> Value {
    json!({
        "status": "ok",
        "shell_port": ports.shell_port,
        "iopub_port": ports.iopub_port,
        "stdin_port": ports.stdin_port,
        "hb_port": ports.hb_port,
        "control_port": ports.control_port,
    })
}
