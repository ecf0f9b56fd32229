//! The XPUB socket of iopub (<https://rfc.zeromq.org/spec/29/>). Each
//! subscriber has its own queue: nothing is dropped, a producer waits while
//! somebody is far behind, and who takes nothing for ten seconds while others
//! wait, a suspended front end, is disconnected.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::curve::Keys;
use super::handshake::shake_hands;
use super::listener::accept;
use super::peers::{Peer, Peers};
use super::zmtp::{Reader, Writer, read_message};

/// Bytes that a subscriber may be behind before producers wait for it.
const BEHIND: usize = 64 << 20;
/// No front end asks for nearly as much.
const MOST_TOPICS: usize = 1000;
const LONGEST_TOPIC: usize = 1000;

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
        let publisher = Self::new(keys, greeting);
        let serving = publisher.clone();
        accept(endpoint, move |read, write| {
            serving.clone().serve(read, write)
        })
        .await?;
        Ok(publisher)
    }

    /// One that is bound nowhere.
    pub(crate) fn new(
        keys: Option<Arc<Keys>>,
        greeting: impl Fn(&[u8]) -> Vec<Vec<Bytes>> + Send + Sync + 'static,
    ) -> Self {
        let shared = Arc::new(Shared {
            peers: Peers::default(),
            topics: Mutex::default(),
            greeting: Box::new(greeting),
            keys,
        });
        Self { shared }
    }

    /// Serves one peer until it goes.
    pub(crate) async fn serve(self, read: Reader, write: Writer) -> io::Result<()> {
        self.shared.serve(read, write).await
    }

    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn is_deserted(&self) -> bool {
        self.shared.peers.list().is_empty() && self.shared.topics().is_empty()
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
    async fn serve(&self, mut read: Reader, mut write: Writer) -> io::Result<()> {
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
            peer.keeps_up(BEHIND).await;
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
                    if topics.len() >= MOST_TOPICS || topic.len() > LONGEST_TOPIC {
                        return Err(io::ErrorKind::InvalidData.into());
                    }
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
