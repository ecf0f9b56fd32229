//! A received message, and what is needed to reply to it.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

/// The protocol that we speak.
pub(crate) const VERSION: &str = "5.4";
/// The parent header of what answers nothing.
pub const NO_PARENT: &str = "{}";

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Header {
    pub msg_id: String,
    pub msg_type: String,
    // Of others' messages these say nothing to us, and may be anything.
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

/// What is no string is a name by its JSON, of nobody.
fn name<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    let told = Option::<Box<RawValue>>::deserialize(from)?;
    Ok(told.map(|told| serde_json::from_str(told.get()).unwrap_or(told.get().to_owned())))
}

/// The socket that a message came by, and its answer leaves by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    Shell,
    Control,
    Stdin,
}

/// What a message answers: its request's header, byte for byte, and the way
/// back to whoever sent it.
#[derive(Debug)]
pub struct Parent {
    pub channel: Channel,
    pub header: Arc<str>,
    pub identities: Vec<Bytes>,
}

/// A message received.
#[derive(Debug, Clone)]
pub struct Message {
    pub header: Header,
    pub parent: Arc<Parent>,
    pub content: Bytes,
    pub metadata: Bytes,
    pub buffers: Vec<Bytes>,
}
