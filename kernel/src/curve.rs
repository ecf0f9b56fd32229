//! CurveZMQ (<https://rfc.zeromq.org/spec/26/>), the server's side: only who
//! knows the kernel's public key can speak to it, and nobody can listen. A
//! client's own key is not asked for: who holds the kernel's may connect.

use std::io::{self, ErrorKind::InvalidData};

use bytes::Bytes;
use crypto_box::aead::{Aead, OsRng, rand_core::RngCore};
use crypto_box::{KEY_SIZE, Nonce, PublicKey, SalsaBox, SecretKey};

use crate::zmtp::{COMMAND, Reader, Writer, read_frame, write_command};

const VERSION: [u8; 2] = [1, 0];
const MESSAGE: &[u8] = b"\x07MESSAGE";
/// Bytes of a nonce that a message brings along.
const SHORT: usize = 8;
const LONG: usize = 16;
const COOKIE: usize = 96;

/// The kernel's key pair.
pub(crate) struct Keys {
    secret: SecretKey,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys")
    }
}

impl Keys {
    /// From a connection file's `curve_secretkey`; `None` if it is no key.
    pub(crate) fn new(z85: &str) -> Option<Self> {
        let bytes: [u8; KEY_SIZE] = z85::decode(z85).ok()?.try_into().ok()?;
        let secret = bytes.into();
        Some(Self { secret })
    }
}

/// What encrypts one direction of a connection.
pub(crate) struct Half {
    between: SalsaBox,
    name: &'static [u8; LONG],
    /// The last nonce.
    count: u64,
}

impl Half {
    /// The body of the frame that carries a frame.
    pub(crate) fn seal(&mut self, flags: u8, frame: &[u8]) -> io::Result<Bytes> {
        self.count += 1;
        let nonce = self.count.to_be_bytes();
        let plain = [&[flags], frame].concat();
        let sealed = seal(&self.between, self.name, &nonce, &plain)?;
        Ok([MESSAGE, &nonce, &sealed].concat().into())
    }

    /// Flags and body of the frame in a frame's body.
    pub(crate) fn open(&mut self, body: &[u8]) -> io::Result<(u8, Bytes)> {
        let rest = body.strip_prefix(MESSAGE).ok_or(InvalidData)?;
        let (nonce, sealed) = rest.split_at_checked(SHORT).ok_or(InvalidData)?;
        let count = u64::from_be_bytes(nonce.try_into().map_err(|_| InvalidData)?);
        if count <= self.count {
            return Err(InvalidData.into());
        }
        self.count = count;
        let plain = Bytes::from(open(&self.between, self.name, nonce, sealed)?);
        let flags = *plain.first().ok_or(InvalidData)?;
        Ok((flags, plain.slice(1..)))
    }
}

/// After the greetings: exchanges keys for this connection and `properties`;
/// gives the client's properties, what opens its messages and what seals ours.
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
    let half = |name, count| Half {
        between: SalsaBox::new(&client, &session),
        name,
        count,
    };
    Ok((
        Bytes::copy_from_slice(vouched.0),
        half(b"CurveZMQMESSAGEC", count),
        half(b"CurveZMQMESSAGES", 1),
    ))
}

/// What follows the name of the command that must come now.
async fn command(read: &mut Reader, name: &[u8]) -> io::Result<Bytes> {
    let (flags, body) = read_frame(read).await?;
    if flags & COMMAND == 0 || !body.starts_with(name) {
        return Err(InvalidData.into());
    }
    Ok(body.slice(name.len()..))
}

/// The rest of a command, read field by field.
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

pub(crate) fn seal(
    between: &SalsaBox,
    name: &[u8],
    nonce: &[u8],
    plain: &[u8],
) -> io::Result<Vec<u8>> {
    let nonce = Nonce::clone_from_slice(&[name, nonce].concat());
    between
        .encrypt(&nonce, plain)
        .map_err(|_| InvalidData.into())
}

pub(crate) fn open(
    between: &SalsaBox,
    name: &[u8],
    nonce: &[u8],
    sealed: &[u8],
) -> io::Result<Vec<u8>> {
    let nonce = Nonce::clone_from_slice(&[name, nonce].concat());
    between
        .decrypt(&nonce, sealed)
        .map_err(|_| InvalidData.into())
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    OsRng.fill_bytes(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn halves() -> (Half, Half) {
        let secret = SecretKey::generate(&mut OsRng);
        let half = || Half {
            between: SalsaBox::new(&secret.public_key(), &secret),
            name: b"CurveZMQMESSAGES",
            count: 1,
        };
        (half(), half())
    }

    #[test]
    fn what_is_sealed_is_opened_once_and_in_order() {
        let (mut ours, mut theirs) = halves();
        let [one, two] = [&b"one"[..], b""].map(|frame| ours.seal(1, frame).unwrap());
        assert_eq!(theirs.open(&one).unwrap(), (1, Bytes::from_static(b"one")));
        assert!(theirs.open(&one).is_err());
        assert_eq!(theirs.open(&two).unwrap(), (1, Bytes::new()));
        assert!(theirs.open(&one).is_err());
    }

    #[test]
    fn what_was_changed_is_refused() {
        let (mut ours, mut theirs) = halves();
        let sealed = ours.seal(0, b"message").unwrap();
        for at in 0..sealed.len() {
            let mut changed = sealed.to_vec();
            changed[at] ^= 1;
            theirs.count = 1;
            assert!(theirs.open(&changed).is_err());
            assert!(theirs.open(&sealed[..at]).is_err());
        }
        theirs.count = 1;
        assert!(theirs.open(&sealed).is_ok());
    }

    #[test]
    fn a_key_is_forty_characters_of_z85() {
        assert!(Keys::new("D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%cs").is_some());
        for wrong in ["", "D:)Q", "D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%c~"] {
            assert!(Keys::new(wrong).is_none());
        }
    }
}
