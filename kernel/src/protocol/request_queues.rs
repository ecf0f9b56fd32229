//! Queues of requests that wait for the language, here called lanes, one for each
//! of its threads. Cells wait for each other. Completion, inspection and the
//! debugger's requests have their own lanes, and do not wait for cells.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::message::{Channel, Message};

/// Requests that can be answered while a cell is running.
const QUESTIONS: [&str; 5] = [
    "complete_request",
    "inspect_request",
    "is_complete_request",
    "history_request",
    "comm_info_request",
];

/// A queue, and a descriptor that wakes the event loop which empties it.
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
    /// A lane that only its owner adds to.
    pub fn new() -> io::Result<Self> {
        // SAFETY: the descriptor is new, and has no other owner.
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

    /// An eventfd. It is readable when there may be a request, or when the lane
    /// has ended.
    pub fn fd(&self) -> RawFd {
        self.bell.as_raw_fd()
    }

    /// The next request; call [`Self::done`] after answering it.
    pub fn next(&self) -> Option<Message> {
        let mut queue = self.queue();
        let next = queue.waiting.pop_front();
        queue.working |= next.is_some();
        next
    }

    /// The next message to a comm, before all other requests: for a cell that
    /// awaits.
    pub fn next_comm(&self) -> Option<Message> {
        let mut queue = self.queue();
        let at = queue.waiting.iter().position(is_comm)?;
        queue.waiting.remove(at)
    }

    /// Records that the request was answered.
    pub fn done(&self) {
        self.queue().working = false;
    }

    /// Whether no more requests will come.
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
        // SAFETY: an eventfd takes eight bytes. It could be full only after 2^64 unread
        // notifications.
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
    /// Cells and comm messages.
    pub(crate) main: Arc<Lane>,
    /// Requests that must not wait for a cell.
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

    /// Puts a message into its lane, or returns it if it names an unknown
    /// subshell. Comm messages always go to the main thread, even if they come
    /// through a subshell: widgets and matplotlib are not thread-safe.
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

    /// Closes a subshell; returns whether it existed.
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
