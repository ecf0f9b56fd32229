//! What is answered without the language: kernel_info, interrupt, shutdown.

use std::time::Duration;

use serde_json::{Value, json};

use crate::kernel::Shared;
use crate::message::{Message, VERSION};

/// How long a language that has been told to end may take.
const GRACE: Duration = Duration::from_millis(1500);

/// Answers a message of the control channel.
pub(crate) fn handle(shared: &Shared, message: &Message) {
    let reply = |content: Value| {
        let msg_type = message.header.msg_type.replace("_request", "_reply");
        shared.reply_control(&msg_type, message, &content.to_string());
    };
    match message.header.msg_type.as_str() {
        "interrupt_request" => {
            interrupt();
            reply(json!({ "status": "ok" }));
        }
        "shutdown_request" => {
            let request: Value = serde_json::from_slice(&message.content).unwrap_or_default();
            reply(json!({ "status": "ok", "restart": request["restart"] == true }));
            shut_down(shared);
        }
        "kernel_info_request" => reply(kernel_info(&shared.language)),
        other => reply(json!({
            "status": "error",
            "ename": "UnsupportedRequest",
            "evalue": format!("This kernel does not answer {other} on the control channel."),
            "traceback": [],
        })),
    }
}

pub(crate) fn kernel_info(language: &Value) -> Value {
    json!({
        "status": "ok",
        "protocol_version": VERSION,
        "implementation": "slaf",
        "implementation_version": env!("CARGO_PKG_VERSION"),
        "language_info": language["language_info"],
        "banner": language["banner"],
        "help_links": language["help_links"],
        "supported_features": [],
        "debugger": false,
    })
}

/// SIGINT as a terminal would send it: to children too, if they are ours alone.
fn interrupt() {
    // SAFETY: plain system calls on our own ids.
    unsafe {
        let pid = libc::getpid();
        if libc::getpgid(0) == pid {
            libc::killpg(pid, libc::SIGINT);
        } else {
            libc::kill(pid, libc::SIGINT);
        }
    }
}

/// Tells the language to end, and ends the process if it does not.
pub(crate) fn shut_down(shared: &Shared) {
    shared.end();
    std::thread::spawn(|| {
        std::thread::sleep(GRACE);
        leave(0);
    });
}

/// Ends the process at once. Its children that share the group end too.
pub(crate) fn leave(code: i32) -> ! {
    // SAFETY: plain system calls; nothing of ours runs after `_exit`.
    unsafe {
        let pid = libc::getpid();
        if libc::getpgid(0) == pid {
            libc::signal(libc::SIGTERM, libc::SIG_IGN);
            libc::killpg(pid, libc::SIGTERM);
        }
        libc::_exit(code)
    }
}

/// Ends the kernel when the process that started it is gone.
pub(crate) fn watch_parent(shared: Shared) {
    // SAFETY: a plain system call.
    let parent = unsafe { libc::getppid() };
    if parent <= 1 || std::env::var_os("JPY_PARENT_PID").is_none() {
        return;
    }
    std::thread::spawn(move || {
        // SAFETY: a plain system call.
        while unsafe { libc::getppid() } == parent {
            std::thread::sleep(Duration::from_secs(1));
        }
        shut_down(&shared);
    });
}
