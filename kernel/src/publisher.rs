//! The XPUB socket of iopub (<https://rfc.zeromq.org/spec/29/>). Each
//! subscriber has its own queue: nothing is dropped, a producer waits while
//! somebody is far behind, and who takes nothing for ten seconds while others
//! wait, a suspended front end, is disconnected.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::curve::Keys;
use crate::peer::{Peer, Peers};
use crate::zmtp::{self, Reader, Writer, read_message, shake_hands};

/// Bytes that a subscriber may be behind before producers wait for it.
const BEHIND: usize = 64 << 20;

/// What a new subscriber to a topic is told.
type Greeting = dyn Fn(&[u8]) -> Vec<Vec<Bytes>> + Send + Sync;

/// Clones share the socket.
#[derive(Clone)]
pub(crate) struct Publisher {
    shared: Arc<Shared>,
}

struct Shared {
    peers: Peers,
    /// By the peers' addresses in memory.
    topics: Mutex<HashMap<usize, Vec<Bytes>>>,
    greeting: Box<Greeting>,
    keys: Option<Arc<Keys>>,
}

impl Publisher {
    /// `greeting` makes the messages that a new subscription to a topic gets
    /// before all others.
    pub(crate) async fn bind(
        endpoint: &str,
        keys: Option<Arc<Keys>>,
        greeting: impl Fn(&[u8]) -> Vec<Vec<Bytes>> + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            peers: Peers::default(),
            topics: Mutex::default(),
            greeting: Box::new(greeting),
            keys,
        });
        let serving = Arc::clone(&shared);
        zmtp::accept(endpoint, move |read, write| {
            Arc::clone(&serving).serve(read, write)
        })
        .await?;
        Ok(Self { shared })
    }

    /// Sends to all who have subscribed to the topic, the first frame. Blocks
    /// while one of them is far behind; not for async code.
    pub(crate) fn publish(&self, frames: &[Bytes]) {
        let Some(topic) = frames.first() else { return };
        let message: Arc<[Bytes]> = frames.into();
        {
            let peers = self.shared.peers.list();
            let topics = self.shared.topics();
            for peer in peers.iter() {
                let subscribed = topics.get(&key(peer)).into_iter().flatten();
                if { subscribed }.any(|t| topic.starts_with(t)) {
                    peer.push(Arc::clone(&message));
                }
            }
        }
        self.shared.peers.wait(BEHIND, None);
    }

    /// Waits until all that was published is with the transport.
    pub(crate) fn settle(&self, at_most: Duration) {
        self.shared.peers.wait(0, Some(Instant::now() + at_most));
    }
}

impl Shared {
    async fn serve(self: Arc<Self>, mut read: Reader, mut write: Writer) -> io::Result<()> {
        shake_hands(&mut read, &mut write, "XPUB", self.keys.as_deref()).await?;
        let peer = Peer::new();
        self.peers.list().push(Arc::clone(&peer));
        let ended = tokio::select! {
            ended = self.subscriptions(&peer, &mut read) => ended,
            ended = self.peers.deliver(&peer, write) => ended,
        };
        self.peers.remove(&peer);
        self.topics().remove(&key(&peer));
        ended
    }

    async fn subscriptions(&self, peer: &Arc<Peer>, read: &mut Reader) -> io::Result<()> {
        loop {
            let message = read_message(read).await?;
            let Some((kind, topic)) = message[0].split_first() else {
                continue;
            };
            // Nobody publishes between a greeting and the first message.
            let _peers = self.peers.list();
            let mut topics = self.topics();
            let topics = topics.entry(key(peer)).or_default();
            match kind {
                1 => {
                    for frames in (self.greeting)(topic) {
                        peer.push(frames.into());
                    }
                    topics.push(Bytes::copy_from_slice(topic));
                }
                0 => {
                    if let Some(at) = topics.iter().position(|t| t == topic) {
                        topics.remove(at);
                    }
                }
                _ => {}
            }
        }
    }

    fn topics(&self) -> MutexGuard<'_, HashMap<usize, Vec<Bytes>>> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(peer: &Arc<Peer>) -> usize {
    Arc::as_ptr(peer) as usize
}
