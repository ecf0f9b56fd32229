//! What is answered without the language: kernel_info, connect, interrupt,
//! usage, shutdown.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::kernel::Shared;
use crate::log::log;
use crate::message::{Message, VERSION};
use crate::processes::{Usage, end_children};

/// How long a language that has been told to end may take. jupyter_client sends
/// SIGTERM after 2.5 s and SIGKILL after 5.
const GRACE: Duration = Duration::from_secs(4);
/// Between interrupts of a cell that is to give way.
const AGAIN: Duration = Duration::from_millis(300);

/// Answers a message of the control channel; what only the language can answer
/// goes to its side lane.
pub(crate) fn handle(shared: &Shared, usage: &mut Usage, message: Message) {
    let content = match message.header.msg_type.as_str() {
        "interrupt_request" => {
            // Other threads that run cells get no signals.
            let _ = shared.lanes.push(message.clone());
            interrupt();
            json!({ "status": "ok" })
        }
        "shutdown_request" => {
            let request: Value = serde_json::from_slice(&message.content).unwrap_or_default();
            let content = json!({ "status": "ok", "restart": request["restart"] == true });
            shared.answer(&message, &content);
            // Other front ends learn of it, too.
            let header = &message.parent.header;
            let content = content.to_string();
            let iopub = &shared.iopub;
            iopub.publish("shutdown_reply", header, "{}", &content, vec![]);
            return shut_down(shared);
        }
        "usage_request" => usage.reply(),
        "kernel_info_request" => kernel_info(&shared.language),
        "connect_request" => connect(shared),
        _ => {
            let _ = shared.lanes.push(message);
            return;
        }
    };
    shared.answer(&message, &content);
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
        "supported_features": language["supported_features"],
        "debugger": language["debugger"],
    })
}

pub(crate) fn connect(shared: &Shared) -> Value {
    let ports = &shared.connection;
    json!({
        "status": "ok",
        "shell_port": ports.shell_port,
        "iopub_port": ports.iopub_port,
        "stdin_port": ports.stdin_port,
        "hb_port": ports.hb_port,
        "control_port": ports.control_port,
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

/// Tells the language to end, strikes the cell that runs until it gives way, and
/// ends the process if it does not end by itself.
pub(crate) fn shut_down(shared: &Shared) {
    shared.end();
    if shared.embedded {
        return;
    }
    // SAFETY: a plain system call.
    unsafe { libc::signal(libc::SIGTERM, libc::SIG_IGN) };
    let shared = shared.clone();
    std::thread::spawn(move || {
        let end = Instant::now() + GRACE;
        std::thread::sleep(AGAIN / 3);
        while !shared.leaving() && Instant::now() < end {
            interrupt();
            std::thread::sleep(AGAIN);
        }
        cut_off(end.saturating_duration_since(Instant::now()));
    });
}

/// Ends the process after a while, if it has not ended by itself.
pub(crate) fn cut_off(after: Duration) -> ! {
    std::thread::sleep(after);
    log("what runs at exit (atexit, threads, finalizers) was cut off: it took too long");
    end_all();
    // SAFETY: nothing of ours runs after it.
    unsafe { libc::_exit(0) }
}

/// Ends all that this process has started.
pub(crate) fn end_all() {
    // SAFETY: plain system calls.
    unsafe {
        let pid = libc::getpid();
        if libc::getpgid(0) == pid {
            libc::signal(libc::SIGTERM, libc::SIG_IGN);
            libc::killpg(pid, libc::SIGTERM);
        }
    }
    end_children();
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
