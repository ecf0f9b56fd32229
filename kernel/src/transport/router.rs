//! ROUTER sockets (<https://rfc.zeromq.org/spec/28/>): each message comes with
//! the identity of its sender in front, and leaves for the one in front.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::curve::Keys;
use super::handshake::shake_hands;
use super::listener::accept;
use super::peers::{Peer, Peers};
use super::zmtp::{Reader, Writer, read_message};

/// Bytes of answers that a peer may leave unread and go on asking.
const UNREAD: usize = 8 << 20;

/// Clones share the socket.
#[derive(Clone)]
pub(crate) struct Router {
    shared: Arc<Shared>,
}

struct Shared {
    peers: Peers,
    keys: Option<Arc<Keys>>,
    by_identity: Mutex<HashMap<Bytes, Arc<Peer>>>,
    nameless: AtomicU32,
}

impl Router {
    /// Feeds `take` with the frames of every message; it must not block.
    pub(crate) async fn bind(
        endpoint: &str,
        keys: Option<Arc<Keys>>,
        take: impl Fn(&Router, Vec<Bytes>) + Clone + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let router = Self {
            shared: Arc::new(Shared {
                peers: Peers::default(),
                keys,
                by_identity: Mutex::default(),
                nameless: AtomicU32::default(),
            }),
        };
        let serving = router.clone();
        accept(endpoint, move |read, write| {
            serving.clone().serve(read, write, take.clone())
        })
        .await?;
        Ok(router)
    }

    /// Sends to the peer of the first frame; who has left gets nothing.
    pub(crate) fn send(&self, frames: &[Bytes]) {
        let Some((identity, rest)) = frames.split_first() else {
            return;
        };
        if let Some(peer) = self.by_identity().get(identity) {
            peer.push(rest.into());
        }
    }

    /// Waits until all that was sent is with the transport.
    pub(crate) fn settle(&self, at_most: Duration) {
        self.shared.peers.wait(0, Some(Instant::now() + at_most));
    }

    async fn serve(
        self,
        mut read: Reader,
        mut write: Writer,
        take: impl Fn(&Router, Vec<Bytes>),
    ) -> io::Result<()> {
        let mut identity =
            shake_hands(&mut read, &mut write, "ROUTER", self.shared.keys.as_deref()).await?;
        if identity.is_empty() {
            // No peer may call itself by a name that begins with 0.
            let number = self.shared.nameless.fetch_add(1, Ordering::Relaxed);
            identity = [&[0][..], &number.to_be_bytes()].concat().into();
        }
        let peer = Peer::new();
        self.shared.peers.list().push(Arc::clone(&peer));
        // Who comes again under the same name replaces itself.
        self.by_identity()
            .insert(identity.clone(), Arc::clone(&peer));
        let receive = async {
            loop {
                let mut frames = vec![identity.clone()];
                peer.keeps_up(UNREAD).await;
                frames.extend(read_message(&mut read).await?);
                take(&self, frames);
            }
        };
        let ended = tokio::select! {
            ended = receive => ended,
            ended = self.shared.peers.deliver(&peer, write) => ended,
        };
        self.shared.peers.remove(&peer);
        let mut known = self.by_identity();
        if known.get(&identity).is_some_and(|p| Arc::ptr_eq(p, &peer)) {
            known.remove(&identity);
        }
        ended
    }

    fn by_identity(&self) -> MutexGuard<'_, HashMap<Bytes, Arc<Peer>>> {
        let known = self.shared.by_identity.lock();
        known.unwrap_or_else(PoisonError::into_inner)
    }
}
