//! Sits between evcxr and the runtime: evcxr receives the messages of its generated
//! code, and the session receives the output of the cell, byte by byte, as it
//! arrives.

use std::fs::File;
use std::io::{self, BufRead, BufReader, PipeReader, PipeWriter, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use memchr::memmem::find;
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Resource, Rlimit, Signal, set_parent_process_death_signal, setrlimit};

use crate::flags::{Flag, Flags, inherited};

/// The variable that makes this executable the runtime.
pub(crate) const RUNTIME: &str = "SLAF_CELL_RUNTIME";
/// The variables with the descriptors of the session's door and streams.
pub(crate) const DOOR: &str = "SLAF_CELL_DOOR";
pub(crate) const STREAMS: [&str; 2] = ["SLAF_CELL_STDOUT", "SLAF_CELL_STDERR"];
/// The variable with the number of bytes that cells can allocate.
pub(crate) const MEMORY: &str = "SLAF_CELL_MEMORY";

/// Marks the end of a cell's stderr.
pub(crate) const END: &[u8] = b"\0slaf-end\0";
/// Prefix of the messages of evcxr's generated code.
const MARK: &[u8] = b"EVCXR_";
/// How long a process that the cell left behind can keep the streams of a dead
/// runtime open.
const LINGER: Duration = Duration::from_secs(1);

/// Runs the runtime, and ends with its exit status.
pub(crate) fn run() -> ! {
    let status = relay().unwrap_or_else(|error| {
        eprintln!("The Rust process does not start: {error}.");
        std::process::exit(98);
    });
    end_like(status)
}

fn relay() -> io::Result<ExitStatus> {
    let flags = Flags::inherited()?;
    let [out, err] = STREAMS.map(stream);
    let (out, err) = (out?, err?);
    let (from_out, to_out) = io::pipe()?;
    let (from_err, to_err) = io::pipe()?;
    let mut command = runtime(to_out, to_err)?;
    let mut child = command.spawn()?;
    // The command holds the other ends of the pipes.
    drop(command);
    let mut to_child = child.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
    let (ended, err_ended) = channel();
    let (done, finished) = channel();
    let out_done = done.clone();
    let out_flags = Flags::inherited()?;
    thread::spawn(move || {
        _ = Stdout {
            out,
            flags: out_flags,
            err_ended,
            inside: false,
        }
        .pass(from_out);
        _ = out_done.send(());
    });
    thread::spawn(move || {
        _ = pass_stderr(from_err, err, &ended);
        _ = done.send(());
    });
    thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            flags.set(Flag::Running, line.starts_with("LOAD_AND_RUN"));
            if writeln!(to_child, "{line}").is_err() {
                break;
            }
        }
    });
    let status = child.wait()?;
    for _ in 0..2 {
        _ = finished.recv_timeout(LINGER);
    }
    Ok(status)
}

/// Starts this executable as the runtime, with two pipes.
fn runtime(to_out: PipeWriter, to_err: PipeWriter) -> io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .env(RUNTIME, "1")
        .env_remove("RUST_BACKTRACE")
        .stdin(Stdio::piped())
        .stdout(to_out)
        .stderr(to_err);
    let memory = std::env::var(MEMORY)
        .ok()
        .and_then(|bytes| bytes.parse().ok());
    // SAFETY: the calls are safe between fork and exec.
    unsafe {
        command.pre_exec(move || {
            set_parent_process_death_signal(Some(Signal::KILL))?;
            // If memory runs out, the system should kill a cell and not the kernel.
            _ = std::fs::write("/proc/self/oom_score_adj", "1000");
            if let Some(bytes) = memory {
                let limit = Rlimit {
                    current: Some(bytes),
                    maximum: Some(bytes),
                };
                setrlimit(Resource::Data, limit)?;
            }
            Ok(())
        });
    }
    Ok(command)
}

fn stream(name: &str) -> io::Result<File> {
    let fd = inherited(name)?;
    fcntl_setfd(fd, FdFlags::CLOEXEC)?;
    let fd: OwnedFd = fd.try_clone_to_owned()?;
    Ok(fd.into())
}

/// Separates the runtime's stdout.
struct Stdout {
    out: File,
    flags: Flags,
    err_ended: Receiver<()>,
    /// Whether the text is inside a displayed value.
    inside: bool,
}

impl Stdout {
    fn pass(&mut self, mut from: PipeReader) -> io::Result<()> {
        let (mut waiting, mut block) = (Vec::new(), vec![0; 1 << 16]);
        loop {
            let read = from.read(&mut block)?;
            if read == 0 {
                return self.out.write_all(&waiting);
            }
            waiting.extend_from_slice(&block[..read]);
            let used = self.part(&waiting)?;
            waiting.drain(..used);
        }
    }

    /// Passes on what is certain; returns how many bytes that was.
    fn part(&mut self, text: &[u8]) -> io::Result<usize> {
        let mut used = 0;
        loop {
            let rest = &text[used..];
            if !self.inside {
                let plain = find(rest, MARK).unwrap_or(rest.len() - partial(rest, MARK));
                self.out.write_all(&rest[..plain])?;
                used += plain;
            }
            let rest = &text[used..];
            let Some(end) = rest.iter().position(|&byte| byte == b'\n') else {
                return Ok(used);
            };
            if self.line(&rest[..end])? {
                used += end + 1;
            } else {
                // A cell can print the mark, too, and evcxr's line may follow it.
                self.out.write_all(MARK)?;
                used += MARK.len();
            }
        }
    }

    /// Passes on a line if it is one of evcxr's messages.
    fn line(&mut self, line: &[u8]) -> io::Result<bool> {
        match line {
            b"EVCXR_END_CONTENT" => self.inside = false,
            b"EVCXR_PANIC_NOTIFICATION" => {
                self.inside = false;
                self.flags.set(Flag::Panicked, true);
            }
            b"EVCXR_ERROR_OCCURRED" => self.flags.set(Flag::Failed, true),
            b"EVCXR_EXECUTION_COMPLETE" => {
                _ = self.err_ended.recv();
                self.flags.set(Flag::Running, false);
            }
            _ if line.starts_with(b"EVCXR_BEGIN_CONTENT ") => self.inside = true,
            _ if self.inside => {}
            _ if [&b"EVCXR_VARIABLE_CHANGED_TYPE:"[..], b"EVCXR_INPUT_REQUEST"]
                .iter()
                .any(|known| line.starts_with(known)) => {}
            _ => return Ok(false),
        }
        let mut evcxr = io::stdout().lock();
        evcxr.write_all(line)?;
        evcxr.write_all(b"\n")?;
        evcxr.flush()?;
        Ok(true)
    }
}

fn pass_stderr(from: PipeReader, mut err: File, ended: &Sender<()>) -> io::Result<()> {
    let mut from = BufReader::with_capacity(1 << 16, from);
    let mut waiting = Vec::new();
    loop {
        let block = from.fill_buf()?;
        if block.is_empty() {
            return err.write_all(&waiting);
        }
        let read = block.len();
        waiting.extend_from_slice(block);
        from.consume(read);
        while let Some(end) = find(&waiting, END) {
            err.write_all(&waiting[..end])?;
            waiting.drain(..end + END.len());
            _ = ended.send(());
        }
        let plain = waiting.len() - partial(&waiting, END);
        err.write_all(&waiting[..plain])?;
        waiting.drain(..plain);
    }
}

/// How many bytes at the end of `text` can be the beginning of `mark`.
fn partial(text: &[u8], mark: &[u8]) -> usize {
    let most = text.len().min(mark.len() - 1);
    (0..=most)
        .rev()
        .find(|&n| text.ends_with(&mark[..n]))
        .unwrap_or(0)
}

/// Ends this process with another's exit status, which evcxr reports.
fn end_like(status: ExitStatus) -> ! {
    let Some(number) = status.signal() else {
        std::process::exit(status.code().unwrap_or(1));
    };
    // Only the runtime's core dump, if there is one, is useful.
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    _ = setrlimit(Resource::Core, none);
    if let Some(signal) = Signal::from_named_raw(number) {
        // The first signal may reach Rust's handler of stack overflows, which then removes
        // itself.
        for _ in 0..2 {
            _ = rustix::process::kill_process(rustix::process::getpid(), signal);
        }
    }
    std::process::exit(128 + number)
}

#[cfg(test)]
mod tests {
    use std::io::pipe;

    use super::*;

    /// What the session receives of a runtime's stdout. evcxr's part goes to
    /// this process's own stdout, so only the session's part is checked.
    fn printed(blocks: &[&[u8]]) -> (Vec<u8>, Flags) {
        let (mut session, out) = pipe().unwrap();
        let (ended, err_ended) = channel();
        ended.send(()).unwrap();
        let out = File::from(OwnedFd::from(out));
        let flags = Flags::new().unwrap();
        let mut stdout = Stdout {
            out,
            flags,
            err_ended,
            inside: false,
        };
        let mut waiting = Vec::new();
        for block in blocks {
            waiting.extend_from_slice(block);
            let used = stdout.part(&waiting).unwrap();
            waiting.drain(..used);
        }
        stdout.out.write_all(&waiting).unwrap();
        let Stdout { out, flags, .. } = stdout;
        drop(out);
        let mut all = Vec::new();
        session.read_to_end(&mut all).unwrap();
        (all, flags)
    }

    #[test]
    fn what_a_cell_prints_is_parted_from_what_evcxr_says() {
        let (all, flags) = printed(&[
            b"no line end",
            b"EVC",
            b"XR_BEGIN_CONTENT text/plain\nEVCXR_ is shown\nEVCXR_END_CONTENT\nmore\nEVCXR_",
            b"ERROR_OCCURRED\nEVCXR_EXECUTION_COMPLETE\nafter",
        ]);
        assert_eq!(all, b"no line endmore\nafter");
        assert!(flags.get(Flag::Failed) && !flags.get(Flag::Panicked));
    }

    #[test]
    fn a_cell_may_print_the_mark() {
        let (all, _) = printed(&[
            b"my EVCXR_",
            b"THING\nEV",
            b"C\n",
            b"EVCXR_EVCXR_ERROR_OCCURRED\nx",
        ]);
        assert_eq!(all, b"my EVCXR_THING\nEVC\nEVCXR_x");
    }

    #[test]
    fn a_panic_ends_a_value_that_was_displayed() {
        let (all, flags) =
            printed(&[b"EVCXR_BEGIN_CONTENT text/html\n<b>\nEVCXR_PANIC_NOTIFICATION\nseen\n"]);
        assert_eq!(all, b"seen\n");
        assert!(flags.get(Flag::Panicked));
    }
}
