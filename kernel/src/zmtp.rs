//! ZeroMQ's wire protocol, ZMTP 3.0 (<https://rfc.zeromq.org/spec/23/>), as far
//! as a kernel needs it, with the mechanisms NULL and CURVE. The
//! `zeromq` crate reserves the memory that a peer's first bytes claim to need,
//! and gives up all subscribers' turns while one of them does not read; what
//! strangers send must not end a kernel, so nothing here is larger than what
//! has arrived.

use std::future::Future;
use std::io::{self, ErrorKind::InvalidData};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};

use crate::curve::{self, Half, Keys};

/// A message that claims to be larger is refused.
const LARGEST: u64 = 4 << 30;
const MOST_FRAMES: usize = 1 << 16;
/// Who has not introduced itself by then is no peer. libzmq waits as long.
const INTRODUCTION: Duration = Duration::from_secs(30);
/// Until a connection is accepted again for which no descriptor was left.
const PAUSE: Duration = Duration::from_millis(50);

pub(crate) const MORE: u8 = 1;
pub(crate) const LONG: u8 = 2;
pub(crate) const COMMAND: u8 = 4;

/// What comes from a peer.
pub(crate) struct Reader {
    pub(crate) stream: Box<dyn AsyncRead + Send + Unpin>,
    opening: Option<Half>,
}

/// What goes to it.
pub(crate) struct Writer {
    pub(crate) stream: Box<dyn AsyncWrite + Send + Unpin>,
    pub(crate) sealing: Option<Half>,
}

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
                let Ok((stream, _)) = listener.accept().await else {
                    tokio::time::sleep(PAUSE).await;
                    continue;
                };
                let (read, write) = stream.into_split();
                tokio::spawn(serve(reader(read), writer(write)));
            }
        });
    } else {
        let listener = TcpListener::bind(endpoint.trim_start_matches("tcp://")).await?;
        tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else {
                    tokio::time::sleep(PAUSE).await;
                    continue;
                };
                let _ = stream.set_nodelay(true);
                let (read, write) = stream.into_split();
                tokio::spawn(serve(reader(read), writer(write)));
            }
        });
    }
    Ok(())
}

pub(crate) fn reader(stream: impl AsyncRead + Send + Unpin + 'static) -> Reader {
    let (stream, opening) = (Box::new(stream), None);
    Reader { stream, opening }
}

pub(crate) fn writer(stream: impl AsyncWrite + Send + Unpin + 'static) -> Writer {
    let (stream, sealing) = (Box::new(stream), None);
    Writer { stream, sealing }
}

/// Greetings and READY commands of both sides, encrypted from then on if there
/// are `keys`; gives the peer's identity, which may be empty.
pub(crate) async fn shake_hands(
    read: &mut Reader,
    write: &mut Writer,
    socket: &str,
    keys: Option<&Keys>,
) -> io::Result<Bytes> {
    tokio::time::timeout(INTRODUCTION, introduce(read, write, socket, keys)).await?
}

async fn introduce(
    read: &mut Reader,
    write: &mut Writer,
    socket: &str,
    keys: Option<&Keys>,
) -> io::Result<Bytes> {
    let mechanism = if keys.is_some() { "CURVE" } else { "NULL" };
    let mut ours = [0u8; 64];
    (ours[0], ours[9], ours[10]) = (0xff, 0x7f, 3);
    ours[12..12 + mechanism.len()].copy_from_slice(mechanism.as_bytes());
    ours[32] = keys.is_some().into();
    write.stream.write_all(&ours).await?;
    let mut theirs = [0u8; 64];
    read.stream.read_exact(&mut theirs).await?;
    if theirs[0] != 0xff || theirs[9] & 1 == 0 || theirs[10] < 3 || theirs[12..32] != ours[12..32] {
        return Err(InvalidData.into());
    }
    let mut properties = BytesMut::from(&b"\x0bSocket-Type"[..]);
    properties.put_u32(socket.len() as u32);
    properties.put_slice(socket.as_bytes());
    let told = if let Some(keys) = keys {
        let (told, opening, sealing) = curve::shake_hands(read, write, keys, &properties).await?;
        (read.opening, write.sealing) = (Some(opening), Some(sealing));
        told
    } else {
        write_command(write, &[b"\x05READY", &properties]).await?;
        let (flags, body) = read_frame(read).await?;
        if flags & COMMAND == 0 || !body.starts_with(b"\x05READY") {
            return Err(InvalidData.into());
        }
        body.slice(6..)
    };
    let identity = property(&told, b"identity").ok_or(InvalidData)?;
    Ok(Bytes::copy_from_slice(identity))
}

/// Writes a command that `parts` make up, of at most 255 bytes.
pub(crate) async fn write_command(write: &mut Writer, parts: &[&[u8]]) -> io::Result<()> {
    let body = parts.concat();
    let length = u8::try_from(body.len()).map_err(|_| InvalidData)?;
    write.stream.write_all(&[COMMAND, length]).await?;
    write.stream.write_all(&body).await
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

/// Flags and body of the next frame.
pub(crate) async fn read_frame(read: &mut Reader) -> io::Result<(u8, Bytes)> {
    let stream = &mut read.stream;
    let flags = stream.read_u8().await?;
    let length = if flags & LONG == 0 {
        u64::from(stream.read_u8().await?)
    } else {
        stream.read_u64().await?
    };
    if length > LARGEST {
        return Err(InvalidData.into());
    }
    let mut body = Vec::with_capacity(length.min(1 << 16) as usize);
    stream.take(length).read_to_end(&mut body).await?;
    if body.len() as u64 != length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    match &mut read.opening {
        Some(half) => half.open(&body),
        None => Ok((flags, body.into())),
    }
}

/// A message on the wire.
pub(crate) fn encode(frames: &[Bytes], sealing: Option<&mut Half>) -> io::Result<Vec<Bytes>> {
    let Some(half) = sealing else {
        return Ok(plain(frames));
    };
    let mut pieces = Vec::new();
    for (i, frame) in frames.iter().enumerate() {
        let more = if i + 1 < frames.len() { MORE } else { 0 };
        pieces.extend(plain(&[half.seal(more, frame)?]));
    }
    Ok(pieces)
}

/// Large frames as they are, all else in one piece.
fn plain(frames: &[Bytes]) -> Vec<Bytes> {
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
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build();
        runtime.unwrap().block_on(work)
    }

    fn read_from(bytes: Vec<u8>) -> Reader {
        reader(io::Cursor::new(bytes))
    }

    fn write_to_nobody() -> Writer {
        writer(tokio::io::sink())
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
            let bytes = messages.iter().flat_map(|m| plain(m).concat()).collect();
            let mut read = read_from(bytes);
            for message in messages {
                prop_assert_eq!(blocking(read_message(&mut read)).unwrap(), message);
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut read = read_from(bytes.clone());
            while blocking(read_message(&mut read)).is_ok() {}
            let (mut read, mut write) = (read_from(bytes.clone()), write_to_nobody());
            let _ = blocking(shake_hands(&mut read, &mut write, "ROUTER", None));
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
            let (mut read, mut write) = (read_from(bytes), write_to_nobody());
            let _ = blocking(shake_hands(&mut read, &mut write, "ROUTER", None));
        }
    }

    #[test]
    fn a_frame_that_claims_too_much_takes_no_memory() {
        for length in [LARGEST, u64::MAX, 1 << 45] {
            let mut bytes = vec![LONG];
            bytes.extend(length.to_be_bytes());
            bytes.extend(b"short");
            assert!(blocking(read_message(&mut read_from(bytes))).is_err());
        }
    }
}
