//! Queues of requests that wait for the language, here called lanes, one for each
//! of its threads. Cells wait for each other. Completion, inspection and the
//! debugger's requests have their own lanes, and do not wait for cells.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::message::{Channel, Message};

/// What can be answered beside a cell.
const QUESTIONS: [&str; 5] = [
    "complete_request",
    "inspect_request",
    "is_complete_request",
    "history_request",
    "comm_info_request",
];

/// A queue, and the descriptor that wakes the event loop which empties it.
#[derive(Debug)]
pub struct Lane {
    queue: Mutex<Queue>,
    bell: OwnedFd,
    ended: AtomicBool,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Message>,
    working: bool,
}

impl Lane {
    /// One that only its owner feeds.
    pub fn new() -> io::Result<Self> {
        // SAFETY: the descriptor is new and nobody else's.
        let bell = unsafe {
            let fd = libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            OwnedFd::from_raw_fd(fd)
        };
        Ok(Self {
            queue: Mutex::default(),
            bell,
            ended: AtomicBool::new(false),
        })
    }

    /// Readable when there may be a request, or the lane has ended; to be read
    /// as an eventfd.
    pub fn fd(&self) -> RawFd {
        self.bell.as_raw_fd()
    }

    /// The next request, to be followed by [`Self::done`].
    pub fn next(&self) -> Option<Message> {
        let mut queue = self.queue();
        let next = queue.waiting.pop_front();
        queue.working |= next.is_some();
        next
    }

    /// The next message to a comm, before all that waits: for a cell that
    /// awaits.
    pub fn next_comm(&self) -> Option<Message> {
        let mut queue = self.queue();
        let at = queue.waiting.iter().position(is_comm)?;
        queue.waiting.remove(at)
    }

    /// The request has been answered.
    pub fn done(&self) {
        self.queue().working = false;
    }

    /// Whether nothing will come any more.
    pub fn ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    pub fn push(&self, message: Message) {
        self.queue().waiting.push_back(message);
        self.ring();
    }

    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::Release);
        self.ring();
    }

    fn busy(&self) -> bool {
        let queue = self.queue();
        queue.working || !queue.waiting.is_empty()
    }

    fn ring(&self) {
        // SAFETY: an eventfd takes eight bytes. It is full only when nobody
        // has read 2^64 rings.
        unsafe { libc::write(self.fd(), (&raw const ONE).cast(), 8) };
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

static ONE: u64 = 1;

/// All lanes of a kernel.
#[derive(Debug)]
pub(crate) struct Lanes {
    /// Cells and comms.
    pub(crate) main: Arc<Lane>,
    /// What must not wait for a cell.
    pub(crate) side: Arc<Lane>,
    subshells: Mutex<BTreeMap<String, Arc<Lane>>>,
}

impl Lanes {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            main: Arc::new(Lane::new()?),
            side: Arc::new(Lane::new()?),
            subshells: Mutex::default(),
        })
    }

    /// Gives a message to its lane, or back if it names a subshell that does
    /// not exist. Comms are the main thread's, whatever subshell they come
    /// through: widgets and matplotlib expect to be alone.
    pub(crate) fn push(&self, message: Message) -> Option<Message> {
        let kind = message.header.msg_type.as_str();
        if message.parent.channel == Channel::Control {
            self.side.push(message);
        } else if is_comm(&message) {
            self.main.push(message);
        } else if let Some(id) = &message.header.subshell_id {
            let lane = self.subshells().get(id).cloned();
            match lane {
                Some(lane) => lane.push(message),
                None => return Some(message),
            }
        } else if QUESTIONS.contains(&kind) && self.main.busy() {
            self.side.push(message);
        } else {
            self.main.push(message);
        }
        None
    }

    pub(crate) fn open_subshell(&self) -> io::Result<(String, Arc<Lane>)> {
        let id = uuid::Uuid::new_v4().to_string();
        let lane = Arc::new(Lane::new()?);
        self.subshells().insert(id.clone(), Arc::clone(&lane));
        Ok((id, lane))
    }

    /// Whether there was such a subshell.
    pub(crate) fn close_subshell(&self, id: &str) -> bool {
        let lane = self.subshells().remove(id);
        lane.inspect(|lane| lane.end()).is_some()
    }

    pub(crate) fn subshell_ids(&self) -> Vec<String> {
        self.subshells().keys().cloned().collect()
    }

    pub(crate) fn end(&self) {
        self.main.end();
        self.side.end();
        self.subshells().values().for_each(|lane| lane.end());
    }

    fn subshells(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Lane>>> {
        self.subshells
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_comm(message: &Message) -> bool {
    let kind = message.header.msg_type.as_str();
    matches!(kind, "comm_open" | "comm_msg" | "comm_close")
}
