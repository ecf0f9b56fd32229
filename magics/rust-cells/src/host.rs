//! Serves evcxr to the Python side: one JSON object per line, and the number of the
//! request in its answer. Interrupts are received while a request is running.

use std::io::{self, BufRead, BufReader};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{
    Pid, PidfdFlags, Signal, getpgrp, getpid, kill_current_process_group, pidfd_open,
};
use serde_json::json;

use crate::cell_environment::WORLD;
use crate::cells::Cells;
use crate::flags::{Flags, inherited};
use crate::interrupt::Work;
use crate::relay::{DOOR, STREAMS};
use crate::request::Request;

const CONTROL: &str = "SLAF_CELL_CONTROL";
const PARENT: &str = "SLAF_CELL_PARENT";

/// Time without a request after which analysis is done in advance.
const IDLE: Duration = Duration::from_millis(150);

/// Answers requests until the Python side is gone.
pub(crate) fn run() -> ! {
    let served = tempfile::Builder::new()
        .prefix("slaf-rust-")
        .tempdir()
        .and_then(|folder| {
            // This process ends by a kill, which drops nothing.
            let folder = folder.keep();
            let served = serve(&folder);
            _ = std::fs::remove_dir_all(&folder);
            served
        });
    if let Err(error) = served {
        eprintln!("{error}");
    }
    std::process::exit(1)
}

fn serve(folder: &Path) -> io::Result<()> {
    // SAFETY: there are no other threads yet.
    unsafe {
        std::env::set_var("EVCXR_TMPDIR", folder);
        std::env::set_var(WORLD, folder.join("world"));
    }
    let control = inherited(CONTROL)?;
    for name in [CONTROL, DOOR, STREAMS[0], STREAMS[1]] {
        fcntl_setfd(inherited(name)?, FdFlags::CLOEXEC)?;
    }
    let control = UnixStream::from(control.try_clone_to_owned()?);
    let answers = control.try_clone()?;
    let work = Work::new(Flags::new()?);
    let (sender, requests) = channel();
    watch_parent(folder)?;
    let (work_of_listener, folder_of_listener) = (Arc::clone(&work), folder.to_owned());
    thread::spawn(move || {
        listen(control, &work_of_listener, &sender);
        end(&folder_of_listener)
    });

    let mut cells = Cells::new(work, answers);
    let (started, interrupted) = cells.start(folder);
    match started {
        Ok(()) => cells.answer(json!({"id": 0, "status": "ok"}))?,
        Err(error) => {
            let status = if interrupted {
                "interrupted"
            } else {
                "message"
            };
            return cells.answer(json!({"id": 0, "status": status, "message": error.to_string()}));
        }
    }
    loop {
        match requests.recv_timeout(IDLE) {
            Ok(request) => cells.serve(request)?,
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
            // In small steps, so that a request does not wait long.
            Err(RecvTimeoutError::Timeout) if cells.prepare() => {}
            Err(RecvTimeoutError::Timeout) => match requests.recv() {
                Ok(request) => cells.serve(request)?,
                Err(_) => return Ok(()),
            },
        }
    }
}

/// Receives interrupts while requests are running.
fn listen(control: UnixStream, work: &Arc<Work>, requests: &Sender<Request>) {
    for line in BufReader::new(control).lines().map_while(Result::ok) {
        match serde_json::from_str(&line) {
            Ok(Request::Interrupt) => work.interrupt(),
            Ok(request) => _ = requests.send(request),
            Err(error) => eprintln!("unknown request: {error}"),
        }
    }
}

/// Ends with the Python process, however it ends. Its socket is not enough,
/// because forks can keep it open.
fn watch_parent(folder: &Path) -> io::Result<()> {
    let parent = std::env::var(PARENT).ok().and_then(|pid| pid.parse().ok());
    let parent = parent
        .and_then(Pid::from_raw)
        .ok_or(io::ErrorKind::NotFound)?;
    let parent = pidfd_open(parent, PidfdFlags::empty())?;
    let folder = folder.to_owned();
    thread::spawn(move || {
        while poll(&mut [PollFd::new(&parent, PollFlags::IN)], None).is_err() {}
        end(&folder)
    });
    Ok(())
}

/// Ends this process, the compiler and the cells, and removes their files.
fn end(folder: &Path) -> ! {
    _ = std::fs::remove_dir_all(folder);
    if getpgrp() == getpid() {
        _ = kill_current_process_group(Signal::KILL);
    }
    std::process::exit(0)
}
