//! ROUTER sockets (<https://rfc.zeromq.org/spec/28/>): the first frame of each
//! message is the identity of its sender or receiver.

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

/// Bytes of replies that a peer can leave unread before we stop reading its
/// requests.
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
    pub(crate) fn new(keys: Option<Arc<Keys>>) -> Self {
        Self {
            shared: Arc::new(Shared {
                peers: Peers::default(),
                keys,
                by_identity: Mutex::default(),
                nameless: AtomicU32::default(),
            }),
        }
    }

    /// Calls `take` with the frames of every message; it must not block.
    /// Returns the endpoint.
    pub(crate) async fn listen(
        &self,
        endpoint: &str,
        take: impl Fn(&Router, Vec<Bytes>) + Clone + Send + Sync + 'static,
    ) -> io::Result<String> {
        let serving = self.clone();
        accept(endpoint, move |read, write| {
            serving.clone().serve(read, write, take.clone())
        })
        .await
    }

    /// Sends to the peer that the first frame names; if it has left, the
    /// message is dropped.
    pub(crate) fn send(&self, frames: &[Bytes]) {
        let Some((identity, rest)) = frames.split_first() else {
            return;
        };
        if let Some(peer) = self.by_identity().get(identity) {
            peer.push(rest.into());
        }
    }

    /// Waits until the transport has everything that was sent.
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
            // Peers cannot choose an identity that begins with 0.
            let number = self.shared.nameless.fetch_add(1, Ordering::Relaxed);
            identity = [&[0][..], &number.to_be_bytes()].concat().into();
        }
        let peer = Peer::new();
        self.shared.peers.list().push(Arc::clone(&peer));
        // A peer that connects again with the same identity replaces its old connection.
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

#[cfg(test)]
mod tests {
    use tokio::runtime::Runtime;
    use zeromq::util::PeerIdentity;
    use zeromq::{DealerSocket, ReqSocket, Socket, SocketOptions, SocketRecv, SocketSend};

    use super::*;

    /// A router that sends everything back to its sender.
    struct Echo {
        /// Runs the tasks of its connections, which end with it.
        _runtime: Runtime,
        endpoint: String,
        router: Router,
    }

    impl Echo {
        fn start(endpoint: &str) -> Self {
            let runtime = Runtime::new().unwrap();
            let router = Router::new(None);
            let echo = |router: &Router, frames: Vec<Bytes>| router.send(&frames);
            let endpoint = runtime.block_on(router.listen(endpoint, echo)).unwrap();
            Self {
                _runtime: runtime,
                endpoint,
                router,
            }
        }

        async fn dealer(&self, name: &str) -> DealerSocket {
            let mut options = SocketOptions::default();
            if !name.is_empty() {
                options.peer_identity(name.parse::<PeerIdentity>().unwrap());
            }
            let mut dealer = DealerSocket::with_options(options);
            dealer.connect(&self.endpoint).await.unwrap();
            dealer
        }
    }

    fn bytes(frames: &[&[u8]]) -> Vec<Bytes> {
        frames.iter().map(|f| Bytes::copy_from_slice(f)).collect()
    }

    async fn say(socket: &mut impl SocketSend, frames: Vec<Bytes>) {
        socket.send(frames.try_into().unwrap()).await.unwrap();
    }

    async fn hear(socket: &mut impl SocketRecv) -> Vec<Bytes> {
        socket.recv().await.unwrap().into_vec()
    }

    async fn is_echoed(socket: &mut (impl SocketSend + SocketRecv), frames: Vec<Bytes>) {
        say(socket, frames.clone()).await;
        assert!(hear(socket).await == frames);
    }

    fn block_on<T>(work: impl Future<Output = T>) -> T {
        Runtime::new().unwrap().block_on(work)
    }

    #[test]
    fn a_dealer_hears_what_it_said_over_tcp_and_ipc() {
        let folder = tempfile::tempdir().unwrap();
        let path = format!("ipc://{}/socket", folder.path().display());
        for endpoint in ["tcp://127.0.0.1:0", &path] {
            let echo = Echo::start(endpoint);
            block_on(async {
                let mut dealer = echo.dealer("").await;
                is_echoed(&mut dealer, bytes(&[b"one"])).await;
                is_echoed(&mut dealer, bytes(&[b"", b"two", b"", b"three", b""])).await;
                let frames = (0..1000).map(|i| Bytes::from(i.to_string()));
                is_echoed(&mut dealer, frames.collect()).await;
            });
        }
    }

    /// Frame lengths at which the header changes or frames are written
    /// separately, and one that exceeds all buffers between the two sides.
    #[test]
    fn frames_of_any_length_arrive_whole() {
        let echo = Echo::start("tcp://127.0.0.1:0");
        let frame = |length: usize| Bytes::from_iter((0..length).map(|i| (i % 251) as u8));
        block_on(async {
            let mut dealer = echo.dealer("").await;
            let edges = [0, 1, 255, 256, 65_535, 65_536, 65_537, 1 << 20];
            for length in edges {
                is_echoed(&mut dealer, vec![frame(length)]).await;
            }
            is_echoed(&mut dealer, edges.map(frame).to_vec()).await;
            is_echoed(&mut dealer, vec![frame(24 << 20), frame(3), frame(8 << 20)]).await;
        });
    }

    #[test]
    fn messages_are_answered_in_their_order() {
        let echo = Echo::start("tcp://127.0.0.1:0");
        block_on(async {
            let mut dealer = echo.dealer("").await;
            for i in 0..2000 {
                say(&mut dealer, vec![Bytes::from(i.to_string())]).await;
            }
            for i in 0..2000 {
                assert_eq!(hear(&mut dealer).await, [i.to_string()]);
            }
        });
    }

    #[test]
    fn a_name_reaches_its_peer_alone() {
        let echo = Echo::start("tcp://127.0.0.1:0");
        block_on(async {
            let (mut one, mut two) = (echo.dealer("one").await, echo.dealer("two").await);
            // After an answer, the identity is known.
            is_echoed(&mut one, bytes(&[b"here"])).await;
            is_echoed(&mut two, bytes(&[b"here"])).await;
            echo.router.send(&bytes(&[b"two", b"for two"]));
            echo.router.send(&bytes(&[b"nobody", b"for nobody"]));
            echo.router.send(&bytes(&[b"one", b"for one"]));
            assert_eq!(hear(&mut one).await, ["for one"]);
            assert_eq!(hear(&mut two).await, ["for two"]);
        });
    }

    #[test]
    fn nameless_peers_are_told_apart() {
        let echo = Echo::start("tcp://127.0.0.1:0");
        block_on(async {
            let mut dealers = Vec::new();
            for _ in 0..5 {
                dealers.push(echo.dealer("").await);
            }
            for (i, dealer) in dealers.iter_mut().enumerate() {
                say(dealer, vec![Bytes::from(i.to_string())]).await;
            }
            for (i, dealer) in dealers.iter_mut().enumerate() {
                assert_eq!(hear(dealer).await, [i.to_string()]);
            }
        });
    }

    #[test]
    fn who_comes_again_under_its_name_is_answered() {
        let echo = Echo::start("tcp://127.0.0.1:0");
        block_on(async {
            let mut first = echo.dealer("client").await;
            is_echoed(&mut first, bytes(&[b"first"])).await;
            // While the first connection still exists, and after it has closed.
            let mut second = echo.dealer("client").await;
            is_echoed(&mut second, bytes(&[b"second"])).await;
            drop((first, second));
            let mut third = echo.dealer("client").await;
            is_echoed(&mut third, bytes(&[b"third"])).await;
        });
    }

    /// Front ends do this with the heartbeat: a restarted kernel has the same
    /// port.
    #[test]
    fn heartbeats_of_a_req_come_back_also_after_a_restart() {
        let echo = Echo::start("tcp://127.0.0.1:0");
        let endpoint = echo.endpoint.clone();
        let beats = |echo: &Echo| {
            block_on(async {
                let mut heart = ReqSocket::new();
                heart.connect(&echo.endpoint).await.unwrap();
                for beat in [&b"ping"[..], b"", &[0; 300]] {
                    is_echoed(&mut heart, bytes(&[beat])).await;
                }
            });
        };
        beats(&echo);
        drop(echo);
        beats(&Echo::start(&endpoint));
    }
}
