//! A message on the wire: routing frames, a delimiter, a signature over four JSON
//! frames, and binary buffers.
//! <https://jupyter-client.readthedocs.io/en/stable/messaging.html#the-wire-protocol>

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use hmac::{Hmac, Mac};
use serde_json::value::RawValue;
use sha2::Sha256;

use super::message::{Channel, Header, Message, Parent, VERSION};

const DELIMITER: &[u8] = b"<IDS|MSG>";
/// Number of remembered signatures, to detect replays.
const REMEMBERED: usize = 1 << 16;

#[derive(Debug, thiserror::Error)]
pub enum WireError {
    #[error("a message without a delimiter")]
    NoDelimiter,
    #[error("a message with {count} of the 5 frames after the delimiter")]
    TooShort { count: usize },
    #[error("a message with a wrong signature")]
    BadSignature,
    #[error("a message received twice")]
    Replayed,
    #[error("a message whose {part} is not valid JSON: {source}")]
    BadJson {
        part: &'static str,
        source: serde_json::Error,
    },
}

type Digest = [u8; 32];

/// Signs and verifies with the connection's key. Clones share the remembered
/// signatures.
#[derive(Clone)]
pub struct Signer {
    mac: Option<Hmac<Sha256>>,
    seen: Arc<Mutex<(HashSet<Digest>, VecDeque<Digest>)>>,
    session: Arc<str>,
}

impl Signer {
    /// With an empty key, messages are neither signed nor verified.
    pub fn new(key: &str) -> Self {
        let mac = (!key.is_empty()).then(|| Hmac::new_from_slice(key.as_bytes()).ok());
        Self {
            mac: mac.flatten(),
            seen: Arc::default(),
            session: uuid::Uuid::new_v4().to_string().into(),
        }
    }

    /// The frames of a message to send. `parent` is the JSON of the header that
    /// it answers, `{}` for none.
    pub fn encode(
        &self,
        routing: &[Bytes],
        msg_type: &str,
        parent: &str,
        metadata: &str,
        content: &str,
        buffers: Vec<Bytes>,
    ) -> Vec<Bytes> {
        let header = Header {
            msg_id: uuid::Uuid::new_v4().to_string(),
            msg_type: msg_type.to_owned(),
            session: self.session.to_string(),
            username: "kernel".to_owned(),
            date: chrono::Utc::now().to_rfc3339(),
            version: VERSION.to_owned(),
            subshell_id: None,
        };
        let header = serde_json::to_string(&header).unwrap_or_default();
        let parts =
            [&header, parent, metadata, content].map(|p| Bytes::copy_from_slice(p.as_bytes()));
        let mut frames = routing.to_vec();
        frames.push(Bytes::from_static(DELIMITER));
        frames.push(self.sign(&parts));
        frames.extend(parts);
        frames.extend(buffers);
        frames
    }

    /// Parses a received message. Rejects it if its signature is wrong or was
    /// seen before.
    pub fn decode(&self, channel: Channel, mut frames: Vec<Bytes>) -> Result<Message, WireError> {
        let at = frames
            .iter()
            .position(|frame| frame == DELIMITER)
            .ok_or(WireError::NoDelimiter)?;
        let mut rest = frames.split_off(at);
        if rest.len() < 6 {
            return Err(WireError::TooShort {
                count: rest.len() - 1,
            });
        }
        let buffers = rest.split_off(6);
        let [header, content, metadata] = [&rest[2], &rest[5], &rest[4]];
        self.verify(&rest[1], &rest[2..6])?;
        let json = |part, source| WireError::BadJson { part, source };
        let raw: &RawValue = serde_json::from_slice(header).map_err(|e| json("header", e))?;
        let parsed: Header = serde_json::from_str(raw.get()).map_err(|e| json("header", e))?;
        for (part, bytes) in [("content", content), ("metadata", metadata)] {
            let _: &RawValue = serde_json::from_slice(bytes).map_err(|e| json(part, e))?;
        }
        Ok(Message {
            parent: Arc::new(Parent {
                channel,
                header: raw.get().into(),
                identities: frames,
            }),
            header: parsed,
            content: content.clone(),
            metadata: metadata.clone(),
            buffers,
        })
    }

    pub(crate) fn sign(&self, parts: &[Bytes]) -> Bytes {
        let Some(mut mac) = self.mac.clone() else {
            return Bytes::new();
        };
        parts.iter().for_each(|part| mac.update(part));
        let digest = mac.finalize().into_bytes();
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        hex.into()
    }

    fn verify(&self, signature: &Bytes, parts: &[Bytes]) -> Result<(), WireError> {
        let Some(mut mac) = self.mac.clone() else {
            return Ok(());
        };
        let digest = unhex(signature).and_then(|bytes| Digest::try_from(bytes).ok());
        let digest = digest.ok_or(WireError::BadSignature)?;
        parts.iter().for_each(|part| mac.update(part));
        // Compares in constant time.
        mac.verify_slice(&digest)
            .map_err(|_| WireError::BadSignature)?;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if !seen.0.insert(digest) {
            return Err(WireError::Replayed);
        }
        seen.1.push_back(digest);
        if seen.1.len() > REMEMBERED
            && let Some(oldest) = seen.1.pop_front()
        {
            seen.0.remove(&oldest);
        }
        Ok(())
    }
}

fn unhex(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |c: &u8| (*c as char).to_digit(16);
    if !text.len().is_multiple_of(2) {
        return None;
    }
    text.chunks_exact(2)
        .map(|pair| Some((digit(&pair[0])? * 16 + digit(&pair[1])?) as u8))
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::message::NO_PARENT;

    fn request(signer: &Signer) -> Vec<Bytes> {
        let routing = [Bytes::from_static(b"client")];
        signer.encode(
            &routing,
            "execute_request",
            NO_PARENT,
            "{}",
            r#"{"code":"1"}"#,
            vec![],
        )
    }

    #[test]
    fn what_one_side_signs_the_other_reads_once() {
        let (ours, theirs) = (Signer::new("secret"), Signer::new("secret"));
        let frames = request(&theirs);
        let message = ours.decode(Channel::Shell, frames.clone()).unwrap();
        assert_eq!(message.header.msg_type, "execute_request");
        assert_eq!(message.parent.identities, [Bytes::from_static(b"client")]);
        assert_eq!(message.content, r#"{"code":"1"}"#);
        assert!(matches!(
            ours.decode(Channel::Shell, frames),
            Err(WireError::Replayed)
        ));
    }

    #[test]
    fn another_key_or_a_changed_frame_is_refused() {
        let ours = Signer::new("secret");
        assert!(matches!(
            ours.decode(Channel::Shell, request(&Signer::new("guess"))),
            Err(WireError::BadSignature)
        ));
        let mut frames = request(&Signer::new("secret"));
        frames[6] = Bytes::from_static(br#"{"code":"2"}"#);
        assert!(matches!(
            ours.decode(Channel::Shell, frames),
            Err(WireError::BadSignature)
        ));
    }

    proptest! {
        #[test]
        fn any_frames_are_read_or_refused(frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..9), key in "[a-z]{0,3}") {
            let mut frames: Vec<Bytes> = frames.into_iter().map(Bytes::from).collect();
            let _ = Signer::new(&key).decode(Channel::Shell, frames.clone());
            frames.insert(frames.len().min(1), Bytes::from_static(DELIMITER));
            let _ = Signer::new(&key).decode(Channel::Shell, frames);
        }
    }
}
