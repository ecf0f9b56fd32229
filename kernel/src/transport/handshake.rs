//! The start of a connection (<https://rfc.zeromq.org/spec/23/>): greetings, the
//! handshake of the security mechanism, and the properties that each side sends.

use std::io::{self, ErrorKind::InvalidData};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::curve::Keys;
use super::curve_handshake;
use super::zmtp::{COMMAND, Reader, Writer, read_frame, write_command};

/// Time for the handshake; the same as in libzmq.
const INTRODUCTION: Duration = Duration::from_secs(30);

/// Exchanges greetings and READY commands; with `keys`, everything after that
/// is encrypted. Returns the peer's identity, which can be empty.
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
        let (told, opening, sealing) =
            curve_handshake::shake_hands(read, write, keys, &properties).await?;
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

/// The value of a property in READY: empty if it is missing, `None` if the
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::transport::zmtp::{reader, writer};

    fn shaken(bytes: Vec<u8>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let mut read = reader(io::Cursor::new(bytes));
        let mut write = writer(tokio::io::sink());
        let _ = runtime.block_on(shake_hands(&mut read, &mut write, "ROUTER", None));
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = property(&bytes, b"identity");
            shaken(bytes);
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
            shaken(bytes);
        }
    }
}
