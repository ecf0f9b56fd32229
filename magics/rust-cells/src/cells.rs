//! Handles the requests: cells, completion, variables.

use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread;

use evcxr::{CommandContext, Error, EvalContext, EvalContextOutputs, EvalOutputs};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Signal, set_parent_process_death_signal};
use serde_json::{Value, json};

use crate::crate_cache::Seed;
use crate::flags::{FLAGS, inherited};
use crate::impl_blocks::{ALIAS, Fit, Impls};
use crate::interrupt::Work;
use crate::macros::Macros;
use crate::relay::{DOOR, STREAMS};
use crate::report::{is_double, is_in, is_users, outcome};
use crate::request::Request;
use crate::runtime::{BEGIN, FLUSH};
use crate::rust_analyzer::{Analysis, without_std};
use crate::source::{begin, command, straight};

/// The folder of the crate that cells use as `slaf`, and of the lock file with
/// the tested versions of its dependencies.
const CRATE: &str = "SLAF_CELL_CRATE";

/// Size in MiB of the cache of compiled crates that sessions share, in
/// `~/.cache/evcxr`.
const CACHE: u32 = 2048;

pub(crate) struct Cells {
    work: Arc<Work>,
    answers: UnixStream,
    number: u64,
    context: Option<CommandContext>,
    analysis: Analysis,
    impls: Impls,
    macros: Macros,
    /// Whether the next cell was interrupted while this was starting.
    stopped: bool,
}

impl Cells {
    pub(crate) fn new(work: Arc<Work>, answers: UnixStream) -> Self {
        Self {
            work,
            answers,
            number: 0,
            context: None,
            analysis: Analysis::default(),
            impls: Impls::default(),
            macros: Macros::default(),
            stopped: false,
        }
    }

    /// Prepares for cells; also returns whether that was interrupted.
    pub(crate) fn start(&mut self, folder: &Path) -> (Result<(), Error>, bool) {
        let (started, interrupted, _) = self.at_work(|cells| {
            without_std(folder, || cells.start_evcxr(folder)).map_err(Error::from)?
        });
        (started, interrupted)
    }

    fn start_evcxr(&mut self, folder: &Path) -> Result<(), Error> {
        let seed = Seed::of(&crate_folder());
        if let Some(seed) = &seed {
            seed.plant(folder);
        }
        let (context, outputs) = EvalContext::with_subprocess_command(self.relay()?)?;
        self.analysis = Analysis::without_std(context.state().opt_level());
        let context = self
            .context
            .insert(CommandContext::with_eval_context(context));
        self.work.knows_relay(context.process_handle());
        forward(outputs);
        let lock = crate_folder().join("Cargo.lock");
        // Not earlier: evcxr first compiles a crate without dependencies, for which cargo
        // would have emptied the file.
        std::fs::copy(lock, folder.join("Cargo.lock"))?;
        self.analysis.begin(context)?;
        context.execute(&format!(":cache {CACHE}"))?;
        self.prelude()?;
        if let Some(seed) = &seed
            && let Ok(true) = seed.keep(folder)
        {
            // evcxr uses a check to explain what it cannot compile, and for that all crates
            // are checked once more. Doing it here means that no cell waits for it.
            let checked = self.context()?.check("1");
            _ = checked.map(|_| seed.keep(folder));
        }
        Ok(())
    }

    /// The imports of every cell, and the functions that start and end it.
    fn prelude(&mut self) -> Result<(), Error> {
        let folder = crate_folder();
        let folder = folder.display().to_string();
        let uses = self.analysis.uses();
        let prelude = format!(
            ":dep slaf = {{ path = {folder:?} }}\n\
             {uses}\n\
             #[unsafe(no_mangle)] pub extern \"C\" fn {FLUSH}() {{\n\
                 _ = std::io::Write::flush(&mut std::io::stdout());\n\
             }}\n\
             #[unsafe(no_mangle)] pub extern \"C\" fn {BEGIN}() {{ slaf::begin(); }}"
        );
        self.context()?.execute(&prelude)?;
        Ok(())
    }

    /// Does some of the analysis that a variable or a completion would wait
    /// for; returns whether there was any left.
    pub(crate) fn prepare(&mut self) -> bool {
        let (more, interrupted, _) = self.at_work(|cells| {
            let context = cells.context.as_mut();
            context.is_some_and(|context| cells.analysis.next(context))
        });
        self.stopped |= interrupted;
        more
    }

    fn context(&mut self) -> Result<&mut CommandContext, Error> {
        let gone = || Error::from("The Rust session has ended.");
        self.context.as_mut().ok_or_else(gone)
    }

    /// The command with which evcxr starts the process of the cells, and
    /// restarts it.
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
                    let fd = BorrowedFd::borrow_raw(fd);
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

    pub(crate) fn serve(&mut self, request: Request) -> io::Result<()> {
        let stopped = std::mem::take(&mut self.stopped);
        let (id, mut answer) = match request {
            Request::Run { id, code, change } => {
                change.map_or(Ok(()), |change| change.tell())?;
                let interrupted = json!({"status": "interrupted", "lost": false});
                (
                    id,
                    if stopped {
                        interrupted
                    } else {
                        self.cell(&code)
                    },
                )
            }
            Request::Complete { id, code, cursor } => (id, self.complete(&code, cursor)),
            Request::Variables { id } => (id, self.variables()),
            Request::Reset { id } => (id, self.reset()),
            Request::Interrupt => return Ok(()),
        };
        answer["id"] = id.into();
        self.answer(answer)
    }

    fn cell(&mut self, code: &str) -> Value {
        let mut code = straight(code);
        let ((code, result, dropped), interrupted, killed) = self.at_work(|cells| {
            // evcxr's own `:clear` would also remove what every cell needs.
            if let Some(range) = command(&code, ":clear") {
                code.replace_range(range.clone(), &" ".repeat(range.len()));
                if let Err(error) = cells.forget() {
                    return (code, Err(error), Vec::new());
                }
            }
            cells.execute(code)
        });
        if interrupted {
            return json!({"status": "interrupted", "lost": killed});
        }
        let mut answer = outcome(&code, result, &self.work.flags);
        answer["dropped"] = dropped.into();
        answer
    }

    /// Runs a normalised cell. Returns the code that its errors refer to, its
    /// result, and the items of earlier cells that no longer fit its types.
    fn execute(&mut self, code: String) -> (String, Result<EvalOutputs, Error>, Vec<String>) {
        let Self {
            context: Some(context),
            analysis,
            impls,
            macros,
            ..
        } = self
        else {
            return (code, Err("The Rust session has ended.".into()), Vec::new());
        };
        let uses = match analysis.ready_for(&code, context) {
            Ok(uses) => uses,
            Err(error) => return (code, Err(error), Vec::new()),
        };
        let mut known = macros.clone();
        let (mut whole, mut touched) = known.write(&code);
        if !uses.is_empty() {
            let start = begin(&whole);
            touched.insert(1 + whole[..start].matches('\n').count());
            whole.insert_str(start, uses);
        }
        let written = impls.write(&whole, Fit::Header);
        touched.extend(&written.touched);
        let result = context.execute(&written.code);
        let Err(Error::CompilationErrors(errors)) = &result else {
            if result.is_ok() {
                analysis.used(uses);
                (*impls, *macros) = (written.after, known);
            }
            return (written.code, result, Vec::new());
        };
        // An item of an earlier cell may be the cause.
        let fit = match is_users(errors) {
            true if is_double(errors) => Some(Fit::Names),
            true => None,
            false => Some(Fit::Types),
        };
        if let Some(other) = fit.map(|fit| impls.write(&whole, fit))
            && other.code != written.code
            && let Ok(outputs) = context.execute(&other.code)
        {
            analysis.used(uses);
            (*impls, *macros) = (other.after, known);
            let mut dropped = other.dropped;
            dropped.retain(|head| !written.dropped.contains(head));
            return (other.code, Ok(outputs), dropped);
        }
        if is_users(errors) && is_in(errors, &touched) {
            // The same errors, at positions in the user's code.
            let result = context.execute(&code);
            return (code, result, Vec::new());
        }
        (written.code, result, Vec::new())
    }

    fn complete(&mut self, code: &str, cursor: usize) -> Value {
        let code = straight(code);
        let found = self.at_work(|cells| {
            let context = cells.context.as_mut()?;
            cells.analysis.read(context).ok()?;
            context.completions(&code, cursor).ok()
        });
        let Some(found) = found.0 else {
            return json!({"status": "ok", "matches": []});
        };
        let matches: Vec<_> = found
            .completions
            .iter()
            .filter(|one| !one.code.starts_with(ALIAS))
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
        let (done, ..) = self.at_work(Self::forget);
        match done {
            Ok(()) => json!({"status": "ok"}),
            Err(error) => json!({"status": "message", "message": error.to_string()}),
        }
    }

    fn forget(&mut self) -> Result<(), Error> {
        (self.impls, self.macros) = Default::default();
        self.context()?.execute(":clear")?;
        self.prelude()
    }

    pub(crate) fn answer(&mut self, answer: Value) -> io::Result<()> {
        writeln!(self.answers, "{answer}")
    }
}

fn crate_folder() -> PathBuf {
    std::env::var_os(CRATE)
        .map(PathBuf::from)
        .unwrap_or_default()
}

/// Forwards output that reaches evcxr instead of the session: errors of the
/// relay itself.
fn forward(outputs: EvalContextOutputs) {
    for lines in [outputs.stdout, outputs.stderr] {
        thread::spawn(move || lines.iter().for_each(|line| eprintln!("{line}")));
    }
}
