//! Stops a cell. The compiler is stopped at once, and nothing is lost. The cell's
//! own code is asked to stop, and is killed after one second, which loses its
//! variables.

use std::fs;
use std::process::Child;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, getpid, kill_process};

use crate::flags::{Flag, Flags};

/// Time for a cell to end on its own.
const GRACE: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(50);

/// The current work, as seen by the thread that interrupts it.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) flags: Flags,
    /// evcxr's handle of the relay, which stays the same after a restart.
    relay: OnceLock<Arc<Mutex<Child>>>,
    /// The number of the current work; 0 for none.
    now: AtomicU64,
    interrupted: AtomicBool,
    killed: AtomicBool,
}

impl Work {
    pub(crate) fn new(flags: Flags) -> Arc<Self> {
        Arc::new(Self {
            flags,
            relay: OnceLock::new(),
            now: AtomicU64::new(0),
            interrupted: AtomicBool::new(false),
            killed: AtomicBool::new(false),
        })
    }

    pub(crate) fn knows_relay(&self, relay: Arc<Mutex<Child>>) {
        _ = self.relay.set(relay);
    }

    /// Runs `work`; returns whether it was interrupted, and whether the process
    /// of the cells was killed for it.
    pub(crate) fn during<T>(&self, number: u64, work: impl FnOnce() -> T) -> (T, bool, bool) {
        self.interrupted.store(false, Ordering::SeqCst);
        self.killed.store(false, Ordering::SeqCst);
        for flag in [Flag::Cancel, Flag::Running, Flag::Panicked, Flag::Failed] {
            self.flags.set(flag, false);
        }
        self.now.store(number, Ordering::SeqCst);
        let done = work();
        self.now.store(0, Ordering::SeqCst);
        let [interrupted, killed] =
            [&self.interrupted, &self.killed].map(|flag| flag.load(Ordering::SeqCst));
        (done, interrupted, killed)
    }

    /// Stops the current work; the second time, without waiting.
    pub(crate) fn interrupt(self: &Arc<Self>) {
        let number = self.now.load(Ordering::SeqCst);
        if number == 0 {
            return;
        }
        self.flags.set(Flag::Cancel, true);
        let again = self.interrupted.swap(true, Ordering::SeqCst);
        let deadline = Instant::now() + if again { Duration::ZERO } else { GRACE };
        let work = Arc::clone(self);
        thread::spawn(move || {
            // evcxr may start the compiler again before it stops.
            while work.now.load(Ordering::SeqCst) == number {
                if !work.flags.get(Flag::Running) {
                    work.kill_compiler();
                } else if Instant::now() >= deadline {
                    work.kill_cell();
                }
                thread::sleep(PAUSE);
            }
        });
    }

    fn kill_cell(&self) {
        // evcxr holds the lock only while it waits for the process to end.
        if let Some(Ok(mut relay)) = self.relay.get().map(|relay| relay.try_lock()) {
            self.killed.store(true, Ordering::SeqCst);
            _ = relay.kill();
        }
    }

    /// Kills all child processes except that of the cells.
    fn kill_compiler(&self) {
        let relay = match self.relay.get().map(|relay| relay.try_lock()) {
            Some(Ok(relay)) => Some(relay.id()),
            Some(Err(_)) => return,
            None => None,
        };
        let parents = parents();
        let mut doomed = vec![getpid().as_raw_nonzero().get() as u32];
        let mut next = 0;
        while let Some(&parent) = doomed.get(next) {
            let children = parents
                .iter()
                .filter(|(_, of)| *of == parent)
                .map(|(pid, _)| *pid);
            doomed.extend(children.filter(|pid| Some(*pid) != relay));
            next += 1;
        }
        for pid in doomed.into_iter().skip(1) {
            if let Some(pid) = Pid::from_raw(pid as i32) {
                _ = kill_process(pid, Signal::KILL);
            }
        }
    }
}

/// Every process and its parent.
fn parents() -> Vec<(u32, u32)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            // The name in parentheses can contain anything.
            let (_, after) = stat.rsplit_once(") ")?;
            Some((pid, after.split(' ').nth(1)?.parse().ok()?))
        })
        .collect()
}
