//! The XPUB socket of iopub, straight on ZMTP 3.0 (<https://rfc.zeromq.org/spec/23/>,
//! <https://rfc.zeromq.org/spec/29/>). The `zeromq` crate's awaits its
//! subscribers one after another, so that one which has stopped reading, a
//! suspended front end, silences the kernel for all. Here each has its own
//! queue: nothing is dropped, a producer waits while somebody is far behind,
//! and who takes nothing for ten seconds while others wait is disconnected.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufWriter};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Notify;

/// Bytes that a subscriber may be behind before producers wait for it.
const BEHIND: usize = 64 << 20;
/// A subscriber that others wait for and that takes nothing for so long is
/// disconnected.
const STALLED: Duration = Duration::from_secs(10);
/// Subscriptions are topics of a few bytes.
const LONGEST_SUBSCRIPTION: u64 = 4096;

const MORE: u8 = 1;
const LONG: u8 = 2;
const COMMAND: u8 = 4;

/// What a new subscriber to a topic is told.
type Greeting = dyn Fn(&[u8]) -> Vec<Vec<Bytes>> + Send + Sync;

/// Clones share the socket.
#[derive(Clone)]
pub(crate) struct Publisher {
    shared: Arc<Shared>,
}

struct Shared {
    peers: Mutex<Vec<Arc<Peer>>>,
    /// A queue has become shorter.
    shorter: Condvar,
    greeting: Box<Greeting>,
}

struct Peer {
    state: Mutex<State>,
    /// The queue has something, or the peer is to go.
    wake: Notify,
}

struct State {
    topics: Vec<Bytes>,
    queue: VecDeque<Bytes>,
    /// Bytes in the queue and in the hands of the task that writes.
    behind: usize,
    progress: Instant,
    gone: bool,
}

impl Publisher {
    /// `greeting` makes the messages that a new subscription to a topic gets
    /// before all others.
    pub(crate) fn new(greeting: impl Fn(&[u8]) -> Vec<Vec<Bytes>> + Send + Sync + 'static) -> Self {
        Self {
            shared: Arc::new(Shared {
                peers: Mutex::default(),
                shorter: Condvar::new(),
                greeting: Box::new(greeting),
            }),
        }
    }

    /// Accepts subscribers at `tcp://IP:PORT` or `ipc://PATH`.
    pub(crate) async fn bind(&self, endpoint: &str) -> io::Result<()> {
        let publisher = self.clone();
        if let Some(path) = endpoint.strip_prefix("ipc://") {
            let listener = UnixListener::bind(path)?;
            tokio::spawn(async move {
                loop {
                    if let Ok((stream, _)) = listener.accept().await {
                        publisher.admit(stream.into_split());
                    }
                }
            });
        } else {
            let address = endpoint.trim_start_matches("tcp://");
            let listener = TcpListener::bind(address).await?;
            tokio::spawn(async move {
                loop {
                    if let Ok((stream, _)) = listener.accept().await {
                        let _ = stream.set_nodelay(true);
                        publisher.admit(stream.into_split());
                    }
                }
            });
        }
        Ok(())
    }

    /// Sends to all who have subscribed to the topic, the first frame. Blocks
    /// while one of them is far behind; not for async code.
    pub(crate) fn publish(&self, frames: &[Bytes]) {
        let Some(topic) = frames.first() else { return };
        let mut encoded = None;
        let peers = self.shared.peers();
        for peer in peers.iter() {
            let mut state = peer.state();
            if state.topics.iter().any(|t| topic.starts_with(t)) {
                let pieces = encoded.get_or_insert_with(|| encode(frames));
                state.push(pieces);
                peer.wake.notify_one();
            }
        }
        drop(peers);
        self.wait_while(|state| state.behind > BEHIND, None);
    }

    /// Waits until all that was published is with the transport.
    pub(crate) fn settle(&self, at_most: Duration) {
        self.wait_while(|state| state.behind > 0, Some(Instant::now() + at_most));
    }

    fn wait_while(&self, waits: impl Fn(&State) -> bool, until: Option<Instant>) {
        let mut peers = self.shared.peers();
        loop {
            let mut wait = false;
            for peer in peers.iter() {
                let mut state = peer.state();
                if state.gone || !waits(&state) {
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
            let woken = self.shared.shorter.wait_timeout(peers, tick);
            peers = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn admit<R, W>(&self, (read, write): (R, W))
    where
        R: AsyncRead + Unpin + Send + 'static,
        W: AsyncWrite + Unpin + Send + 'static,
    {
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move {
            let peer = Arc::new(Peer::new());
            // An end, of either side, is no error of ours.
            let _ = shared.serve(&peer, read, write).await;
            peer.state().gone = true;
            shared.peers().retain(|p| !Arc::ptr_eq(p, &peer));
            shared.shorter.notify_all();
        });
    }
}

impl Shared {
    async fn serve<R, W>(&self, peer: &Arc<Peer>, mut read: R, mut write: W) -> io::Result<()>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        shake_hands(&mut read, &mut write).await?;
        self.peers().push(Arc::clone(peer));
        tokio::select! {
            ended = self.subscriptions(peer, &mut read) => ended,
            ended = self.deliver(peer, BufWriter::with_capacity(1 << 16, write)) => ended,
        }
    }

    async fn subscriptions<R: AsyncRead + Unpin>(
        &self,
        peer: &Peer,
        read: &mut R,
    ) -> io::Result<()> {
        loop {
            let (flags, body) = read_frame(read).await?;
            if flags & (COMMAND | MORE) != 0 {
                continue;
            }
            let (Some(kind), topic) = (body.first(), body.slice(1.min(body.len())..)) else {
                continue;
            };
            let mut state = peer.state();
            match kind {
                1 => {
                    for frames in (self.greeting)(&topic) {
                        state.push(&encode(&frames));
                    }
                    state.topics.push(topic);
                    peer.wake.notify_one();
                }
                0 => {
                    if let Some(at) = state.topics.iter().position(|t| *t == topic) {
                        state.topics.remove(at);
                    }
                }
                _ => {}
            }
        }
    }

    async fn deliver<W: AsyncWrite + Unpin>(&self, peer: &Peer, write: W) -> io::Result<()> {
        let mut write = BufWriter::with_capacity(1 << 16, write);
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
                Some(piece) => {
                    for part in piece.chunks(1 << 20) {
                        peer.unless_gone(write.write_all(part)).await?;
                    }
                    written += piece.len();
                }
                None if written == 0 => peer.wake.notified().await,
                None => {
                    peer.unless_gone(write.flush()).await?;
                    peer.state().behind -= std::mem::take(&mut written);
                    self.shorter.notify_all();
                }
            }
            if written > BEHIND / 4 {
                peer.state().behind -= std::mem::take(&mut written);
                self.shorter.notify_all();
            }
        }
    }

    fn peers(&self) -> MutexGuard<'_, Vec<Arc<Peer>>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Peer {
    fn new() -> Self {
        Self {
            state: Mutex::new(State {
                topics: Vec::new(),
                queue: VecDeque::new(),
                behind: 0,
                progress: Instant::now(),
                gone: false,
            }),
            wake: Notify::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A write that took place, unless the peer is to go before.
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
}

impl State {
    fn push(&mut self, pieces: &[Bytes]) {
        if self.behind == 0 {
            self.progress = Instant::now();
        }
        self.behind += pieces.iter().map(Bytes::len).sum::<usize>();
        self.queue.extend(pieces.iter().cloned());
    }
}

/// A message on the wire: large frames as they are, all else in one piece.
fn encode(frames: &[Bytes]) -> Vec<Bytes> {
    const LARGE: usize = 1 << 16;
    let mut pieces = Vec::new();
    let mut small = BytesMut::new();
    for (i, frame) in frames.iter().enumerate() {
        let more = if i + 1 < frames.len() { MORE } else { 0 };
        match u8::try_from(frame.len()) {
            Ok(length) => small.put_slice(&[more, length]),
            Err(_) => {
                small.put_u8(more | LONG);
                small.put_u64(frame.len() as u64);
            }
        }
        if frame.len() < LARGE {
            small.put_slice(frame);
        } else {
            pieces.push(small.split().freeze());
            pieces.push(frame.clone());
        }
    }
    if !small.is_empty() {
        pieces.push(small.freeze());
    }
    pieces
}

/// Greetings and READY commands of both sides; the mechanism is NULL.
async fn shake_hands<R, W>(read: &mut R, write: &mut W) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut ours = [0u8; 64];
    (ours[0], ours[9], ours[10]) = (0xff, 0x7f, 3);
    ours[12..16].copy_from_slice(b"NULL");
    write.write_all(&ours).await?;
    let mut theirs = [0u8; 64];
    read.read_exact(&mut theirs).await?;
    if theirs[0] != 0xff || theirs[9] & 1 == 0 || theirs[10] < 3 || theirs[12..32] != ours[12..32] {
        return Err(io::ErrorKind::InvalidData.into());
    }
    const READY: &[u8] = b"\x05READY\x0bSocket-Type\x00\x00\x00\x04XPUB";
    write.write_all(&[COMMAND, READY.len() as u8]).await?;
    write.write_all(READY).await?;
    let (flags, body) = read_frame(read).await?;
    if flags & COMMAND == 0 || !body.starts_with(b"\x05READY") {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(())
}

/// Flags and body of a frame of a subscriber.
async fn read_frame<R: AsyncRead + Unpin>(read: &mut R) -> io::Result<(u8, Bytes)> {
    let flags = read.read_u8().await?;
    let length = if flags & LONG == 0 {
        u64::from(read.read_u8().await?)
    } else {
        read.read_u64().await?
    };
    if length > LONGEST_SUBSCRIPTION {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut body = BytesMut::zeroed(length as usize);
    read.read_exact(&mut body).await?;
    Ok((flags, body.freeze()))
}
