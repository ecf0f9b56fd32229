//! The XPUB socket of iopub (<https://rfc.zeromq.org/spec/29/>). Each subscriber
//! has its own queue, and no message in it is dropped. If a subscriber is far
//! behind, producers wait. If it then takes nothing for ten seconds, as a suspended
//! front end does, it is disconnected.

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

/// A subscriber can be this many bytes behind before producers wait.
const BEHIND: usize = 64 << 20;
/// Limit on the topics of a subscriber. No front end needs nearly as many.
const MOST_TOPICS: usize = 1000;
const LONGEST_TOPIC: usize = 1000;

/// The messages for a new subscriber to a topic.
type Greeting = dyn Fn(&[u8]) -> Vec<Vec<Bytes>> + Send + Sync;

/// Clones share the socket.
#[derive(Clone)]
pub(crate) struct Publisher {
    shared: Arc<Shared>,
}

struct Shared {
    peers: Peers,
    /// Topics of each peer, by its address in memory.
    topics: Mutex<HashMap<usize, Vec<Bytes>>>,
    greeting: Box<Greeting>,
    keys: Option<Arc<Keys>>,
}

impl Publisher {
    /// `greeting` makes the messages that a new subscription receives before
    /// all others.
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

    /// Starts listening; returns the endpoint.
    pub(crate) async fn listen(&self, endpoint: &str) -> io::Result<String> {
        let serving = self.clone();
        accept(endpoint, move |read, write| {
            serving.clone().serve(read, write)
        })
        .await
    }

    /// Serves one peer until it disconnects.
    pub(crate) async fn serve(self, read: Reader, write: Writer) -> io::Result<()> {
        self.shared.serve(read, write).await
    }

    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn is_deserted(&self) -> bool {
        self.shared.peers.list().is_empty() && self.shared.topics().is_empty()
    }

    /// Sends to all who have subscribed to the topic, which is the first frame.
    /// Blocks while one of them is far behind, so it must not be called from
    /// async code.
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

    /// Waits until the transport has everything that was published.
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
            // While this is locked, nothing can be published between the welcome and the
            // first message.
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

#[cfg(test)]
mod tests {
    use tokio::runtime::Runtime;
    use zeromq::{Socket, SocketRecv, SubSocket};

    use super::*;

    /// A publisher that greets each subscription to `topic` with `topic welcome`.
    struct Station {
        /// Runs the tasks of its connections, which end with it.
        _runtime: Runtime,
        endpoint: String,
        publisher: Publisher,
    }

    impl Station {
        fn start(endpoint: &str) -> Self {
            let runtime = Runtime::new().unwrap();
            let publisher = Publisher::new(None, |topic| {
                vec![vec![Bytes::from([topic, b" welcome"].concat())]]
            });
            let endpoint = runtime.block_on(publisher.listen(endpoint)).unwrap();
            Self {
                _runtime: runtime,
                endpoint,
                publisher,
            }
        }

        fn say(&self, message: &str) {
            self.publisher.publish(&[Bytes::from(message.to_owned())]);
        }

        /// A subscriber that has received its welcome.
        async fn subscriber(&self, topics: &[&str]) -> SubSocket {
            let mut subscriber = SubSocket::new();
            subscriber.connect(&self.endpoint).await.unwrap();
            for topic in topics {
                subscriber.subscribe(topic).await.unwrap();
                let welcome = format!("{topic} welcome");
                assert_eq!(hear(&mut subscriber).await, [welcome]);
            }
            subscriber
        }
    }

    async fn hear(socket: &mut SubSocket) -> Vec<Bytes> {
        socket.recv().await.unwrap().into_vec()
    }

    fn block_on<T>(work: impl Future<Output = T>) -> T {
        Runtime::new().unwrap().block_on(work)
    }

    #[test]
    fn a_subscriber_is_greeted_and_then_misses_nothing_over_tcp_and_ipc() {
        let folder = tempfile::tempdir().unwrap();
        let path = format!("ipc://{}/socket", folder.path().display());
        for endpoint in ["tcp://127.0.0.1:0", &path] {
            let station = Station::start(endpoint);
            station.say("to nobody");
            block_on(async {
                let mut subscriber = station.subscriber(&[""]).await;
                for i in 0..2000 {
                    station.say(&i.to_string());
                }
                for i in 0..2000 {
                    assert_eq!(hear(&mut subscriber).await, [i.to_string()]);
                }
            });
        }
    }

    #[test]
    fn a_topic_is_the_beginning_of_the_first_frame() {
        let station = Station::start("tcp://127.0.0.1:0");
        block_on(async {
            let mut streams = station.subscriber(&["stream"]).await;
            let mut both = station.subscriber(&["stream.stdout", "status"]).await;
            for message in ["stream.stdout", "stream.stderr", "strea", "status"] {
                station.say(message);
            }
            station.say("stream end");
            station.say("status end");
            for expected in ["stream.stdout", "stream.stderr", "stream end"] {
                assert_eq!(hear(&mut streams).await, [expected]);
            }
            for expected in ["stream.stdout", "status", "status end"] {
                assert_eq!(hear(&mut both).await, [expected]);
            }
        });
    }

    #[test]
    fn who_unsubscribes_hears_no_more_of_it() {
        let station = Station::start("tcp://127.0.0.1:0");
        block_on(async {
            let mut subscriber = station.subscriber(&["a", "b"]).await;
            subscriber.unsubscribe("a").await.unwrap();
            // Once this welcome arrives, the unsubscription has been processed.
            subscriber.subscribe("c").await.unwrap();
            assert_eq!(hear(&mut subscriber).await, ["c welcome"]);
            for message in ["a", "b", "a", "c"] {
                station.say(message);
            }
            assert_eq!(hear(&mut subscriber).await, ["b"]);
            assert_eq!(hear(&mut subscriber).await, ["c"]);
        });
    }

    #[test]
    fn large_messages_reach_all_whole() {
        let station = Station::start("tcp://127.0.0.1:0");
        let frame = |length: usize| Bytes::from_iter((0..length).map(|i| (i % 251) as u8));
        let message = [
            Bytes::from_static(b"display"),
            frame(24 << 20),
            frame(70_000),
        ];
        block_on(async {
            let mut subscribers = [
                station.subscriber(&["display"]).await,
                station.subscriber(&[""]).await,
            ];
            station.publisher.publish(&message);
            for subscriber in &mut subscribers {
                assert!(hear(subscriber).await == message);
            }
        });
    }

    #[test]
    fn who_leaves_is_forgotten() {
        let station = Station::start("tcp://127.0.0.1:0");
        block_on(async {
            drop(station.subscriber(&["a", "b"]).await);
            while !station.publisher.is_deserted() {
                tokio::task::yield_now().await;
            }
        });
    }

    /// A restarted kernel has the same port, and its front ends subscribe
    /// again.
    #[test]
    fn a_subscriber_finds_a_publisher_that_is_started_again() {
        let front_end = Runtime::new().unwrap();
        let station = Station::start("tcp://127.0.0.1:0");
        let endpoint = station.endpoint.clone();
        let mut subscriber = front_end.block_on(station.subscriber(&["topic"]));
        station.say("topic before");
        assert_eq!(front_end.block_on(hear(&mut subscriber)), ["topic before"]);
        drop(station);
        let again = Station::start(&endpoint);
        let welcome = front_end.block_on(async {
            loop {
                // The end of the connection is reported as an error.
                if let Ok(message) = subscriber.recv().await {
                    return message.into_vec();
                }
            }
        });
        assert_eq!(welcome, ["topic welcome"]);
        again.say("topic after");
        assert_eq!(front_end.block_on(hear(&mut subscriber)), ["topic after"]);
    }
}
