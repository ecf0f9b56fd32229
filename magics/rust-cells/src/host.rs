//! evcxr, served to the Python side: one JSON object a line, a request's number
//! back with its answer. Interrupts are heard while a request is at work.

use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use evcxr::{CommandContext, Error, EvalContext, EvalContextOutputs};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{
    Pid, PidfdFlags, Signal, getpgrp, getpid, kill_current_process_group, pidfd_open,
    set_parent_process_death_signal,
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::flags::{FLAGS, Flags, inherited};
use crate::interrupt::Work;
use crate::relay::{DOOR, STREAMS};
use crate::report::outcome;
use crate::runtime::FLUSH;

const CONTROL: &str = "SLAF_CELL_CONTROL";
const PARENT: &str = "SLAF_CELL_PARENT";
/// The folder with the crate that cells use as `slaf`, and the lock file that
/// says which versions of its dependencies were tested.
const CRATE: &str = "SLAF_CELL_CRATE";

/// How long to wait for a first request before there is time to prepare for it.
const IDLE: Duration = Duration::from_millis(50);

/// MiB of compiled crates that sessions share, in `~/.cache/evcxr`.
const CACHE: u32 = 2048;

#[derive(Deserialize)]
#[serde(tag = "op", rename_all = "lowercase")]
enum Request {
    Run {
        id: u64,
        code: String,
    },
    Complete {
        id: u64,
        code: String,
        cursor: usize,
    },
    Variables {
        id: u64,
    },
    Reset {
        id: u64,
    },
    Interrupt,
}

/// Serves until the Python side is gone.
pub(crate) fn run() -> ! {
    let served = tempfile::Builder::new()
        .prefix("slaf-rust-")
        .tempdir()
        .and_then(|folder| {
            // The end of this process is a kill, in which nothing is dropped.
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
    unsafe { std::env::set_var("EVCXR_TMPDIR", folder) };
    let control = inherited(CONTROL)?;
    for name in [CONTROL, DOOR, STREAMS[0], STREAMS[1]] {
        fcntl_setfd(inherited(name)?, FdFlags::CLOEXEC)?;
    }
    let control = UnixStream::from(control.try_clone_to_owned()?);
    let answers = control.try_clone()?;
    let work = Work::new(Flags::new()?);
    let (sender, requests) = channel();
    watch_parent(folder)?;
    let (heard, folder_of_listener) = (Arc::clone(&work), folder.to_owned());
    thread::spawn(move || {
        listen(control, &heard, &sender);
        end(&folder_of_listener)
    });

    let mut cells = Cells {
        work,
        answers,
        number: 0,
        context: None,
    };
    let (started, interrupted, _) = cells.at_work(|cells| cells.start(folder));
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
    let first = requests.recv_timeout(IDLE).ok();
    if first.is_none() {
        cells.warm_up();
    }
    for request in first.into_iter().chain(requests) {
        cells.serve(request)?;
    }
    Ok(())
}

/// What happens beside the requests: interrupts.
fn listen(control: UnixStream, work: &Arc<Work>, requests: &Sender<Request>) {
    for line in BufReader::new(control).lines().map_while(Result::ok) {
        match serde_json::from_str(&line) {
            Ok(Request::Interrupt) => work.interrupt(),
            Ok(request) => _ = requests.send(request),
            Err(error) => eprintln!("unknown request: {error}"),
        }
    }
}

/// Ends with the Python process, however that ends: forks of it may keep the
/// socket open.
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

/// Takes the compiler, the cells and their files along.
fn end(folder: &Path) -> ! {
    _ = std::fs::remove_dir_all(folder);
    if getpgrp() == getpid() {
        _ = kill_current_process_group(Signal::KILL);
    }
    std::process::exit(0)
}

struct Cells {
    work: Arc<Work>,
    answers: UnixStream,
    number: u64,
    context: Option<CommandContext>,
}

impl Cells {
    fn start(&mut self, folder: &Path) -> Result<(), Error> {
        let (context, outputs) = EvalContext::with_subprocess_command(self.relay()?)?;
        let context = self
            .context
            .insert(CommandContext::with_eval_context(context));
        self.work.knows_relay(context.process_handle());
        forward(outputs);
        let lock = crate_folder().join("Cargo.lock");
        // Only now: evcxr has compiled a crate without dependencies, for which
        // cargo would have emptied it.
        std::fs::copy(lock, folder.join("Cargo.lock"))?;
        context.execute(&format!(":cache {CACHE}"))?;
        self.prelude()
    }

    /// What every cell may use, and what ends it. The trait is how rust-analyzer
    /// writes the type of a column that a variable holds.
    fn prelude(&mut self) -> Result<(), Error> {
        let folder = crate_folder();
        let folder = folder.display().to_string();
        let prelude = format!(
            ":dep slaf = {{ path = {folder:?} }}\n\
             #[unsafe(no_mangle)] pub extern \"C\" fn {FLUSH}() {{\n\
                 _ = std::io::Write::flush(&mut std::io::stdout());\n\
             }}\n\
             use slaf::Array;\n\
             slaf::begin();"
        );
        self.context()?.execute(&prelude)?;
        Ok(())
    }

    /// Has rust-analyzer read the standard library, for which the first variable
    /// or completion would wait.
    fn warm_up(&mut self) {
        let code = "let all = vec![1]; all.";
        self.complete(code, code.len());
    }

    fn context(&mut self) -> Result<&mut CommandContext, Error> {
        let gone = || Error::from("The Rust session has ended.");
        self.context.as_mut().ok_or_else(gone)
    }

    /// The command by which evcxr starts the cells' process, now and after each
    /// end of it.
    fn relay(&self) -> io::Result<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command.env(FLAGS, self.work.flags.raw_fd().to_string());
        let mut kept: Vec<RawFd> = vec![self.work.flags.raw_fd()];
        for name in [DOOR, STREAMS[0], STREAMS[1]] {
            kept.push(inherited(name)?.as_raw_fd());
        }
        // SAFETY: the calls are safe between fork and exec. This thread starts
        // every relay and lasts, so the signal comes with the process's end.
        unsafe {
            command.pre_exec(move || {
                set_parent_process_death_signal(Some(Signal::KILL))?;
                for &fd in &kept {
                    let fd = std::os::fd::BorrowedFd::borrow_raw(fd);
                    fcntl_setfd(fd.as_fd(), FdFlags::empty())?;
                }
                Ok(())
            });
        }
        Ok(command)
    }

    fn at_work<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> (T, bool, bool) {
        self.number += 1;
        let shared = Arc::clone(&self.work);
        shared.during(self.number, || work(self))
    }

    fn serve(&mut self, request: Request) -> io::Result<()> {
        let (id, mut answer) = match request {
            Request::Run { id, code } => (id, self.cell(&code)),
            Request::Complete { id, code, cursor } => (id, self.complete(&code, cursor)),
            Request::Variables { id } => (id, self.variables()),
            Request::Reset { id } => (id, self.reset()),
            Request::Interrupt => return Ok(()),
        };
        answer["id"] = id.into();
        self.answer(answer)
    }

    fn cell(&mut self, code: &str) -> Value {
        let (result, interrupted, killed) =
            self.at_work(|cells| cells.context().and_then(|context| context.execute(code)));
        if interrupted {
            return json!({"status": "interrupted", "lost": killed});
        }
        outcome(code, result, &self.work.flags)
    }

    fn complete(&mut self, code: &str, cursor: usize) -> Value {
        let found = self.at_work(|cells| {
            let context = cells.context().ok()?;
            context.completions(code, cursor).ok()
        });
        let Some(found) = found.0 else {
            return json!({"status": "ok", "matches": []});
        };
        let matches: Vec<_> = found
            .completions
            .iter()
            .map(|one| json!({"text": one.code, "type": one.kind, "label": one.label}))
            .collect();
        let (start, end) = (found.start_offset, found.end_offset);
        json!({"status": "ok", "start": start, "end": end, "matches": matches})
    }

    fn variables(&mut self) -> Value {
        let Ok(context) = self.context() else {
            return json!({"status": "ok", "variables": []});
        };
        let variables: Vec<_> = context.variables_and_types().collect();
        json!({"status": "ok", "variables": variables})
    }

    fn reset(&mut self) -> Value {
        let (done, ..) = self.at_work(|cells| {
            cells.context()?.execute(":clear")?;
            cells.prelude()
        });
        match done {
            Ok(()) => json!({"status": "ok"}),
            Err(error) => json!({"status": "message", "message": error.to_string()}),
        }
    }

    fn answer(&mut self, answer: Value) -> io::Result<()> {
        writeln!(self.answers, "{answer}")
    }
}

fn crate_folder() -> PathBuf {
    std::env::var_os(CRATE)
        .map(PathBuf::from)
        .unwrap_or_default()
}

/// What reaches evcxr and not the session is the relay's own trouble.
fn forward(outputs: EvalContextOutputs) {
    for lines in [outputs.stdout, outputs.stderr] {
        thread::spawn(move || lines.iter().for_each(|line| eprintln!("{line}")));
    }
}
