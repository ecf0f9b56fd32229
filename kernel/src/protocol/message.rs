//! A received message, and what is needed to reply to it.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

/// The protocol version that we implement.
pub(crate) const VERSION: &str = "5.4";
/// The parent header of messages that answer no request.
pub const NO_PARENT: &str = "{}";

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Header {
    pub msg_id: String,
    pub msg_type: String,
    // We ignore these fields of received messages; they can contain anything.
    #[serde(skip_deserializing)]
    pub session: String,
    #[serde(skip_deserializing)]
    pub username: String,
    #[serde(skip_deserializing)]
    pub date: String,
    #[serde(skip_deserializing)]
    pub version: String,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "name"
    )]
    pub subshell_id: Option<String>,
}

/// Reads an id; any JSON value that is not a string becomes its JSON text.
fn name<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    let json = Option::<Box<RawValue>>::deserialize(from)?;
    Ok(json.map(|json| serde_json::from_str(json.get()).unwrap_or(json.get().to_owned())))
}

/// The channel of a message; its reply goes to the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    Shell,
    Control,
    Stdin,
}

/// The request that a message answers: its header, byte for byte, and its
/// sender.
#[derive(Debug)]
pub struct Parent {
    pub channel: Channel,
    pub header: Arc<str>,
    pub identities: Vec<Bytes>,
}

/// A received message.
#[derive(Debug, Clone)]
pub struct Message {
    pub header: Header,
    pub parent: Arc<Parent>,
    pub content: Bytes,
    pub metadata: Bytes,
    pub buffers: Vec<Bytes>,
}
