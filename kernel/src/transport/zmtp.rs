//! The frames of ZeroMQ's wire protocol, ZMTP 3.0
//! (<https://rfc.zeromq.org/spec/23/>), encrypted or not. Anybody can send them, so
//! buffers never grow beyond the data that has arrived.

use std::io::{self, ErrorKind::InvalidData};

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::curve::Half;

/// Larger messages are rejected.
const LARGEST: u64 = 4 << 30;
const MOST_FRAMES: usize = 1 << 16;

pub(crate) const MORE: u8 = 1;
pub(crate) const LONG: u8 = 2;
pub(crate) const COMMAND: u8 = 4;

/// The receiving side of a connection.
pub(crate) struct Reader {
    pub(crate) stream: Box<dyn AsyncRead + Send + Unpin>,
    pub(crate) opening: Option<Half>,
}

/// The sending side of a connection.
pub(crate) struct Writer {
    pub(crate) stream: Box<dyn AsyncWrite + Send + Unpin>,
    pub(crate) sealing: Option<Half>,
}

pub(crate) fn reader(stream: impl AsyncRead + Send + Unpin + 'static) -> Reader {
    let (stream, opening) = (Box::new(stream), None);
    Reader { stream, opening }
}

pub(crate) fn writer(stream: impl AsyncWrite + Send + Unpin + 'static) -> Writer {
    let (stream, sealing) = (Box::new(stream), None);
    Writer { stream, sealing }
}

/// Writes a command made of `parts`, of at most 255 bytes.
pub(crate) async fn write_command(write: &mut Writer, parts: &[&[u8]]) -> io::Result<()> {
    let body = parts.concat();
    let length = u8::try_from(body.len()).map_err(|_| InvalidData)?;
    write.stream.write_all(&[COMMAND, length]).await?;
    write.stream.write_all(&body).await
}

/// The frames of the next message; commands are skipped.
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

/// The flags and body of the next frame.
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

/// Large frames as they are, and everything between them joined.
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
    use crate::transport::counting_allocator::largest_piece;

    fn blocking<T>(work: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.unwrap().block_on(work)
    }

    fn read_from(bytes: Vec<u8>) -> Reader {
        reader(io::Cursor::new(bytes))
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
            let mut read = read_from(bytes);
            while blocking(read_message(&mut read)).is_ok() {}
        }
    }

    #[test]
    fn a_frame_that_claims_too_much_takes_no_memory() {
        for length in [LARGEST, u64::MAX, 1 << 45] {
            let mut bytes = vec![LONG];
            bytes.extend(length.to_be_bytes());
            bytes.extend(b"short");
            let mut read = read_from(bytes);
            let reserved = largest_piece(async {
                assert!(read_message(&mut read).await.is_err());
            });
            assert!(reserved <= 1 << 16, "it reserved {reserved} bytes");
        }
    }
}
