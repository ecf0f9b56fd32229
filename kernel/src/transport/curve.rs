//! CurveZMQ (<https://rfc.zeromq.org/spec/26/>): only those who know the kernel's
//! public key can talk to it, and nobody can listen. The client's own key is not
//! checked: whoever has the kernel's key can connect.

use std::io::{self, ErrorKind::InvalidData};

use bytes::Bytes;
use crypto_box::aead::Aead;
use crypto_box::{KEY_SIZE, Nonce, SalsaBox, SecretKey};

const MESSAGE: &[u8] = b"\x07MESSAGE";
/// Bytes of the nonce in a message.
pub(super) const SHORT: usize = 8;
/// Bytes of a nonce that is used once.
pub(super) const LONG: usize = 16;

/// The kernel's key pair.
pub(crate) struct Keys {
    pub(super) secret: SecretKey,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys")
    }
}

impl Keys {
    /// From a connection file's `curve_secretkey`; `None` if it is not a key.
    pub(crate) fn new(z85: &str) -> Option<Self> {
        let bytes: [u8; KEY_SIZE] = z85::decode(z85).ok()?.try_into().ok()?;
        let secret = bytes.into();
        Some(Self { secret })
    }
}

/// Encrypts one direction of a connection.
pub(crate) struct Half {
    between: SalsaBox,
    name: &'static [u8; LONG],
    /// The last nonce.
    count: u64,
}

impl Half {
    /// `count` is the last nonce that was used.
    pub(super) fn new(between: SalsaBox, name: &'static [u8; LONG], count: u64) -> Self {
        Self {
            between,
            name,
            count,
        }
    }

    /// Encrypts a frame: the body of the frame that carries it.
    pub(crate) fn seal(&mut self, flags: u8, frame: &[u8]) -> io::Result<Bytes> {
        self.count += 1;
        let nonce = self.count.to_be_bytes();
        let plain = [&[flags], frame].concat();
        let sealed = seal(&self.between, self.name, &nonce, &plain)?;
        Ok([MESSAGE, &nonce, &sealed].concat().into())
    }

    /// Decrypts the body of a frame: the flags and body of the frame inside.
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

#[cfg(test)]
mod tests {
    use crypto_box::aead::OsRng;

    use super::*;

    fn halves() -> (Half, Half) {
        let secret = SecretKey::generate(&mut OsRng);
        let between = || SalsaBox::new(&secret.public_key(), &secret);
        let half = || Half::new(between(), b"CurveZMQMESSAGES", 1);
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
