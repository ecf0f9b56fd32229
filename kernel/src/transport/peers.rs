//! The queue of each peer, and the task that sends it. While a peer is connected,
//! none of its messages are dropped: if it is too far behind, producers wait.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::io::{AsyncWriteExt, BufWriter};
use tokio::sync::Notify;

use super::zmtp::{Writer, encode};

/// If others wait for a peer and it takes nothing for this long, it is
/// disconnected.
const STALLED: Duration = Duration::from_secs(10);

pub(crate) struct Peer {
    state: Mutex<State>,
    /// Signals that the queue has something, or that the peer must go.
    wake: Notify,
    /// Signals that the peer has taken something.
    taken: Notify,
}

struct State {
    queue: VecDeque<Arc<[Bytes]>>,
    /// Bytes in the queue and in the task that writes.
    behind: usize,
    progress: Instant,
    gone: bool,
}

/// The peers of a socket.
#[derive(Default)]
pub(crate) struct Peers {
    list: Mutex<Vec<Arc<Peer>>>,
    /// Signals that a queue has become shorter, or that a peer has left.
    shorter: Condvar,
}

impl Peers {
    pub(crate) fn list(&self) -> MutexGuard<'_, Vec<Arc<Peer>>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn remove(&self, peer: &Arc<Peer>) {
        peer.state().gone = true;
        self.list().retain(|p| !Arc::ptr_eq(p, peer));
        self.shorter.notify_all();
    }

    /// Waits until nobody is more than `bytes` behind, or until `until`.
    pub(crate) fn wait(&self, bytes: usize, until: Option<Instant>) {
        let mut peers = self.list();
        loop {
            let mut wait = false;
            for peer in peers.iter() {
                let mut state = peer.state();
                if state.gone || state.behind <= bytes {
                    continue;
                }
                if state.progress.elapsed() > STALLED {
                    state.gone = true;
                    peer.wake.notify_one();
                } else {
                    wait = true;
                }
            }
            if !wait || until.is_some_and(|end| Instant::now() >= end) {
                return;
            }
            let tick = Duration::from_millis(20);
            let woken = self.shorter.wait_timeout(peers, tick);
            peers = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Sends the peer's queue until the peer goes.
    pub(crate) async fn deliver(&self, peer: &Peer, write: Writer) -> io::Result<()> {
        /// After this many bytes, waiting producers are notified.
        const CONFIRMED: usize = 8 << 20;
        let Writer {
            stream,
            mut sealing,
        } = write;
        let mut stream = BufWriter::with_capacity(1 << 16, stream);
        let mut written = 0;
        loop {
            let next = {
                let mut state = peer.state();
                if state.gone {
                    return Ok(());
                }
                state.queue.pop_front()
            };
            match next {
                Some(message) => {
                    for piece in encode(&message, sealing.as_mut())? {
                        for part in piece.chunks(1 << 20) {
                            peer.unless_gone(stream.write_all(part)).await?;
                        }
                    }
                    written += size(&message);
                    if written < CONFIRMED {
                        continue;
                    }
                }
                None if written == 0 => {
                    peer.wake.notified().await;
                    continue;
                }
                None => peer.unless_gone(stream.flush()).await?,
            }
            peer.state().behind -= std::mem::take(&mut written);
            self.shorter.notify_all();
            peer.taken.notify_one();
        }
    }
}

impl Peer {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                queue: VecDeque::new(),
                behind: 0,
                progress: Instant::now(),
                gone: false,
            }),
            wake: Notify::new(),
            taken: Notify::new(),
        })
    }

    pub(crate) fn push(&self, message: Arc<[Bytes]>) {
        let mut state = self.state();
        if state.behind == 0 {
            state.progress = Instant::now();
        }
        state.behind += size(&message);
        state.queue.push_back(message);
        self.wake.notify_one();
    }

    /// Waits until the peer is at most `bytes` behind: if a peer does not take
    /// its replies, we do not read its requests. Only one task at a time can
    /// wait.
    pub(crate) async fn keeps_up(&self, bytes: usize) {
        while self.state().behind > bytes {
            self.taken.notified().await;
        }
    }

    /// Runs a write, unless the peer must go first.
    async fn unless_gone(&self, write: impl Future<Output = io::Result<()>>) -> io::Result<()> {
        tokio::pin!(write);
        loop {
            tokio::select! {
                done = &mut write => {
                    self.state().progress = Instant::now();
                    return done;
                }
                () = self.wake.notified() => {
                    if self.state().gone {
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                }
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The memory of a message. Empty frames count too, so that a queue of nothing
/// else is not taken for an empty one.
fn size(message: &[Bytes]) -> usize {
    message.iter().map(|f| f.len() + size_of::<Bytes>()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_behind_with_empty_messages_too() {
        let peer = Peer::new();
        for _ in 0..1000 {
            peer.push([Bytes::new()].into());
        }
        assert!(peer.state().behind >= 1000);
    }
}
