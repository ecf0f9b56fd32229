//! The server's side of the CurveZMQ handshake: HELLO, WELCOME, INITIATE and READY
//! (<https://rfc.zeromq.org/spec/26/>).

use std::io::{self, ErrorKind::InvalidData};

use bytes::Bytes;
use crypto_box::aead::{OsRng, rand_core::RngCore};
use crypto_box::{KEY_SIZE, PublicKey, SalsaBox, SecretKey};

use super::curve::{Half, Keys, LONG, SHORT, open, seal};
use super::zmtp::{COMMAND, Reader, Writer, read_frame, write_command};

const VERSION: [u8; 2] = [1, 0];
const COOKIE: usize = 96;

/// After the greetings: exchanges keys for this connection, and properties.
/// Returns the client's properties, the key that decrypts its messages, and the
/// key that encrypts ours.
pub(crate) async fn shake_hands(
    read: &mut Reader,
    write: &mut Writer,
    keys: &Keys,
    properties: &[u8],
) -> io::Result<(Bytes, Half, Half)> {
    let hello = command(read, b"\x05HELLO").await?;
    let mut hello = Fields(&hello);
    if hello.take(VERSION.len())? != VERSION {
        return Err(InvalidData.into());
    }
    hello.take(72)?;
    let client = hello.key()?;
    let nonce = hello.take(SHORT)?;
    let first = SalsaBox::new(&client, &keys.secret);
    open(&first, b"CurveZMQHELLO---", nonce, hello.0)?;

    let session = SecretKey::generate(&mut OsRng);
    let (cookie, nonce): ([u8; COOKIE], [u8; LONG]) = (random(), random());
    let offer = [session.public_key().as_bytes(), &cookie[..]].concat();
    let sealed = seal(&first, b"WELCOME-", &nonce, &offer)?;
    write_command(write, &[b"\x07WELCOME", &nonce[..], &sealed]).await?;

    let initiate = command(read, b"\x08INITIATE").await?;
    let mut initiate = Fields(&initiate);
    if initiate.take(COOKIE)? != cookie {
        return Err(InvalidData.into());
    }
    let nonce = initiate.take(SHORT)?;
    let between = SalsaBox::new(&client, &session);
    let vouched = open(&between, b"CurveZMQINITIATE", nonce, initiate.0)?;
    let count = u64::from_be_bytes(nonce.try_into().map_err(|_| InvalidData)?);
    let mut vouched = Fields(&vouched);
    let lasting = SalsaBox::new(&vouched.key()?, &session);
    let (nonce, vouch) = (vouched.take(LONG)?, vouched.take(80)?);
    let vouch = open(&lasting, b"VOUCH---", nonce, vouch)?;
    if vouch != [client.to_bytes(), keys.secret.public_key().to_bytes()].concat() {
        return Err(InvalidData.into());
    }

    let nonce = 1u64.to_be_bytes();
    let sealed = seal(&between, b"CurveZMQREADY---", &nonce, properties)?;
    write_command(write, &[b"\x05READY", &nonce, &sealed]).await?;
    let half = |name, count| Half::new(SalsaBox::new(&client, &session), name, count);
    Ok((
        Bytes::copy_from_slice(vouched.0),
        half(b"CurveZMQMESSAGEC", count),
        half(b"CurveZMQMESSAGES", 1),
    ))
}

/// Reads a command that must have this name; returns what follows the name.
async fn command(read: &mut Reader, name: &[u8]) -> io::Result<Bytes> {
    let (flags, body) = read_frame(read).await?;
    if flags & COMMAND == 0 || !body.starts_with(name) {
        return Err(InvalidData.into());
    }
    Ok(body.slice(name.len()..))
}

/// The rest of a command, to be read field by field.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, length: usize) -> io::Result<&'a [u8]> {
        let (field, rest) = self.0.split_at_checked(length).ok_or(InvalidData)?;
        self.0 = rest;
        Ok(field)
    }

    fn key(&mut self) -> io::Result<PublicKey> {
        PublicKey::from_slice(self.take(KEY_SIZE)?).map_err(|_| InvalidData.into())
    }
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    OsRng.fill_bytes(&mut bytes);
    bytes
}
