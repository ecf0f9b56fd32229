//! Targets for frames, greetings and subscriptions.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncRead, ReadBuf};

use super::input::{Input, blocking};
use crate::transport::handshake::shake_hands;
use crate::transport::publisher::Publisher;
use crate::transport::zmtp::{encode, read_message, reader, writer};

/// A greeting and frames: they decode to the same messages however they are
/// split, and encoding those gives the same again.
pub fn zmtp(bytes: &[u8]) {
    let mut input = Input(bytes);
    let greets = input.byte() & 1 == 0;
    let step = usize::from(input.byte()) + 1;
    let whole = conversation(greets, Dribble::new(input.0, usize::MAX));
    let pieces = conversation(greets, Dribble::new(input.0, step));
    assert_eq!(whole, pieces);
    for message in whole.1 {
        let bytes = encode(&message, None).unwrap_or_default().concat();
        let again = blocking(read_message(&mut reader(io::Cursor::new(bytes))));
        assert_eq!(again.ok(), Some(message));
    }
}

/// Messages of a subscriber after the greetings; when it disconnects, nothing
/// of it is kept.
pub fn subscriptions(bytes: &[u8]) {
    let publisher = Publisher::new(None, |topic| vec![vec![Bytes::copy_from_slice(topic)]]);
    let told = [&greeting("SUB"), bytes].concat();
    let (read, write) = (reader(io::Cursor::new(told)), writer(tokio::io::sink()));
    // The end of the input is an error, too.
    let _ = blocking(publisher.clone().serve(read, write));
    assert!(publisher.is_deserted());
}

/// The first bytes of a peer without encryption.
fn greeting(socket: &str) -> Vec<u8> {
    let mut said = [0; 64].to_vec();
    (said[0], said[9], said[10]) = (0xff, 0x7f, 3);
    said[12..16].copy_from_slice(b"NULL");
    let length = (socket.len() as u32).to_be_bytes();
    let ready = [b"\x05READY\x0bSocket-Type", &length[..], socket.as_bytes()].concat();
    said.extend([4, ready.len() as u8]);
    said.extend(ready);
    said
}

/// The peer's identity, if its greeting is valid, and all its messages.
fn conversation(greets: bool, stream: Dribble) -> (Option<Bytes>, Vec<Vec<Bytes>>) {
    let (mut read, mut write) = (reader(stream), writer(tokio::io::sink()));
    blocking(async {
        let (mut identity, mut messages) = (None, Vec::new());
        if greets {
            let greeted = shake_hands(&mut read, &mut write, "ROUTER", None).await;
            identity = greeted.ok();
        }
        if greets == identity.is_some() {
            while let Ok(message) = read_message(&mut read).await {
                messages.push(message);
            }
        }
        (identity, messages)
    })
}

/// Bytes that arrive a few at a time.
struct Dribble {
    bytes: io::Cursor<Vec<u8>>,
    step: usize,
}

impl Dribble {
    fn new(bytes: &[u8], step: usize) -> Self {
        let bytes = io::Cursor::new(bytes.to_vec());
        Self { bytes, step }
    }
}

impl AsyncRead for Dribble {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let room = into.remaining().min(self.step);
        let read = io::Read::read(&mut self.bytes, into.initialize_unfilled_to(room))?;
        into.advance(read);
        Poll::Ready(Ok(()))
    }
}
