//! ZeroMQ's wire protocol, ZMTP 3.0 with the NULL mechanism
//! (<https://rfc.zeromq.org/spec/23/>), as far as a kernel needs it. The
//! `zeromq` crate reserves the memory that a peer's first bytes claim to need,
//! and gives up all subscribers' turns while one of them does not read; what
//! strangers send must not end a kernel, so nothing here is larger than what
//! has arrived.

use std::future::Future;
use std::io::{self, ErrorKind::InvalidData};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};

/// A message that claims to be larger is refused.
const LARGEST: u64 = 4 << 30;
const MOST_FRAMES: usize = 1 << 16;

const MORE: u8 = 1;
const LONG: u8 = 2;
const COMMAND: u8 = 4;

pub(crate) type Reader = Box<dyn AsyncRead + Send + Unpin>;
pub(crate) type Writer = Box<dyn AsyncWrite + Send + Unpin>;

/// Accepts connections at `tcp://IP:PORT` or `ipc://PATH`; each is served by a
/// task of its own, whose errors are its peer's.
pub(crate) async fn accept<F>(
    endpoint: &str,
    serve: impl Fn(Reader, Writer) -> F + Send + 'static,
) -> io::Result<()>
where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    if let Some(path) = endpoint.strip_prefix("ipc://") {
        // A socket file that a dead kernel has left cannot be bound.
        let _ = std::fs::remove_file(path);
        let listener = UnixListener::bind(path)?;
        tokio::spawn(async move {
            loop {
                if let Ok((stream, _)) = listener.accept().await {
                    let (read, write) = stream.into_split();
                    tokio::spawn(serve(Box::new(read), Box::new(write)));
                }
            }
        });
    } else {
        let listener = TcpListener::bind(endpoint.trim_start_matches("tcp://")).await?;
        tokio::spawn(async move {
            loop {
                if let Ok((stream, _)) = listener.accept().await {
                    let _ = stream.set_nodelay(true);
                    let (read, write) = stream.into_split();
                    tokio::spawn(serve(Box::new(read), Box::new(write)));
                }
            }
        });
    }
    Ok(())
}

/// Greetings and READY commands of both sides; gives the peer's identity, which
/// may be empty.
pub(crate) async fn shake_hands(
    read: &mut Reader,
    write: &mut Writer,
    socket: &str,
) -> io::Result<Bytes> {
    let mut ours = [0u8; 64];
    (ours[0], ours[9], ours[10]) = (0xff, 0x7f, 3);
    ours[12..16].copy_from_slice(b"NULL");
    write.write_all(&ours).await?;
    let mut theirs = [0u8; 64];
    read.read_exact(&mut theirs).await?;
    if theirs[0] != 0xff || theirs[9] & 1 == 0 || theirs[10] < 3 || theirs[12..32] != ours[12..32] {
        return Err(InvalidData.into());
    }
    let mut ready = BytesMut::from(&b"\x05READY\x0bSocket-Type"[..]);
    ready.put_u32(socket.len() as u32);
    ready.put_slice(socket.as_bytes());
    write.write_all(&[COMMAND, ready.len() as u8]).await?;
    write.write_all(&ready).await?;
    let (flags, body) = read_frame(read).await?;
    let properties = body.strip_prefix(b"\x05READY").ok_or(InvalidData)?;
    if flags & COMMAND == 0 {
        return Err(InvalidData.into());
    }
    let identity = property(properties, b"identity").ok_or(InvalidData)?;
    Ok(Bytes::copy_from_slice(identity))
}

/// The value of a property of READY; empty if it is missing, none if the
/// properties are malformed.
fn property<'a>(mut rest: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let mut found = &b""[..];
    while !rest.is_empty() {
        let (key, after) = rest[1..].split_at_checked(rest[0].into())?;
        let length = after.get(..4)?.get_u32() as usize;
        let (value, after) = after[4..].split_at_checked(length)?;
        if key.eq_ignore_ascii_case(name) {
            found = value;
        }
        rest = after;
    }
    Some(found)
}

/// The frames of the next message; commands are none.
pub(crate) async fn read_message(read: &mut Reader) -> io::Result<Vec<Bytes>> {
    let mut frames = Vec::new();
    let mut size = 0;
    loop {
        let (flags, body) = read_frame(read).await?;
        if flags & COMMAND != 0 {
            continue;
        }
        size += body.len() as u64;
        frames.push(body);
        if flags & MORE == 0 {
            return Ok(frames);
        }
        if size > LARGEST || frames.len() > MOST_FRAMES {
            return Err(InvalidData.into());
        }
    }
}

async fn read_frame(read: &mut Reader) -> io::Result<(u8, Bytes)> {
    let flags = read.read_u8().await?;
    let length = if flags & LONG == 0 {
        u64::from(read.read_u8().await?)
    } else {
        read.read_u64().await?
    };
    if length > LARGEST {
        return Err(InvalidData.into());
    }
    let mut body = Vec::with_capacity(length.min(1 << 16) as usize);
    read.take(length).read_to_end(&mut body).await?;
    if body.len() as u64 != length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok((flags, body.into()))
}

/// A message on the wire: large frames as they are, all else in one piece.
pub(crate) fn encode(frames: &[Bytes]) -> Vec<Bytes> {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn blocking<T>(work: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.unwrap().block_on(work)
    }

    fn reader(bytes: Vec<u8>) -> Reader {
        Box::new(io::Cursor::new(bytes))
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_read_back(
            messages in prop::collection::vec(
                prop::collection::vec(prop::collection::vec(any::<u8>(), 0..600), 1..6),
                1..4,
            ),
        ) {
            let messages: Vec<Vec<Bytes>> = messages
                .into_iter()
                .map(|m| m.into_iter().map(Bytes::from).collect())
                .collect();
            let bytes = messages.iter().flat_map(|m| encode(m).concat()).collect();
            let mut read = reader(bytes);
            for message in messages {
                prop_assert_eq!(blocking(read_message(&mut read)).unwrap(), message);
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut read = reader(bytes.clone());
            while blocking(read_message(&mut read)).is_ok() {}
            let (mut read, mut write) = (reader(bytes.clone()), Box::new(io::Cursor::new(vec![])) as Writer);
            let _ = blocking(shake_hands(&mut read, &mut write, "ROUTER"));
            let _ = property(&bytes, b"identity");
        }

        #[test]
        fn any_greeting_is_answered_or_refused(change in any::<(u8, u8)>(), rest in prop::collection::vec(any::<u8>(), 0..80)) {
            let mut bytes = vec![0u8; 64];
            (bytes[0], bytes[9], bytes[10]) = (0xff, 0x7f, 3);
            bytes[12..16].copy_from_slice(b"NULL");
            bytes.extend([COMMAND, rest.len() as u8 + 6]);
            bytes.extend(b"\x05READY");
            bytes.extend(rest);
            let at = usize::from(change.0) % bytes.len();
            bytes[at] ^= change.1;
            let (mut read, mut write) = (reader(bytes), Box::new(io::Cursor::new(vec![])) as Writer);
            let _ = blocking(shake_hands(&mut read, &mut write, "ROUTER"));
        }
    }

    #[test]
    fn a_frame_that_claims_too_much_takes_no_memory() {
        for length in [LARGEST, u64::MAX, 1 << 45] {
            let mut bytes = vec![LONG];
            bytes.extend(length.to_be_bytes());
            bytes.extend(b"short");
            assert!(blocking(read_message(&mut reader(bytes))).is_err());
        }
    }
}
