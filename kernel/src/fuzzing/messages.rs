//! Targets for messages, connection files and the output of processes.

use bytes::Bytes;
use serde_json::Value;

use super::input::Input;
use crate::process::capture::whole_characters;
use crate::protocol::connection::Connection;
use crate::protocol::message::{Channel, Message};
use crate::protocol::signer::Signer;
use crate::protocol::{request_queues, stdin};

const DELIMITER: Bytes = Bytes::from_static(b"<IDS|MSG>");

/// A message of any frames, with a correct signature or not.
pub fn message(bytes: &[u8]) {
    let mut input = Input(bytes);
    let how = input.byte();
    let key = if how & 1 == 0 { "key" } else { "" };
    let mut frames = Vec::new();
    while !input.is_empty() {
        let length = usize::from(input.byte()) << (how >> 6);
        frames.push(Bytes::copy_from_slice(input.bytes(length)));
    }
    if how & 2 == 0 {
        frames.insert(frames.len().min(1), DELIMITER);
    }
    let signed = how & 4 == 0;
    if signed && let Some(at) = frames.iter().position(|f| *f == DELIMITER) {
        let parts = frames.iter().skip(at + 1).take(4).cloned();
        let signature = Signer::new(key).sign(&parts.collect::<Vec<_>>());
        frames.insert(at + 1, signature);
    }
    let signer = Signer::new(key);
    let Ok(read) = signer.decode(Channel::Shell, frames.clone()) else {
        return;
    };
    assert!(signed || key.is_empty() || signature_is_right(&frames));
    assert_eq!(
        signer.decode(Channel::Shell, frames).is_ok(),
        key.is_empty()
    );
    answered(&signer, &read);
    // Each of these accepts any content.
    let _ = stdin::line(&read.content);
    let _ = request_queues::Lanes::new().map(|lanes| lanes.push(read));
}

/// The parts of the message can be read, and it can be answered.
fn answered(signer: &Signer, read: &Message) {
    for part in [&read.content, &read.metadata] {
        assert!(std::str::from_utf8(part).is_ok());
    }
    let header = &read.parent.header;
    let frames = signer.encode(&[], "reply", header, "{}", "{}", vec![]);
    let reply = Signer::new("").decode(Channel::Shell, frames.clone());
    assert_eq!(
        reply.map(|m| m.header.msg_type).ok().as_deref(),
        Some("reply")
    );
    assert_eq!(frames[3], header.as_bytes());
}

/// A slow and simple check of the signature.
fn signature_is_right(frames: &[Bytes]) -> bool {
    let Some(at) = frames.iter().position(|f| *f == DELIMITER) else {
        return false;
    };
    let right = Signer::new("key").sign(&frames[at + 2..at + 6]);
    right.eq_ignore_ascii_case(&frames[at + 1])
}

/// A connection file.
pub fn connection(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let read = Connection::parse(text, "fuzzed");
    if let Err(error) = &read {
        assert!(error.to_string().ends_with('.'));
    }
    let Ok(connection) = read else { return };
    let endpoint = connection.endpoint(connection.shell_port);
    assert!(endpoint.starts_with(&connection.transport));
    let _ = Signer::new(&connection.key);
    // Skipped fields may contain JSON that `Value` cannot hold.
    if let Ok(json) = serde_json::from_str::<Value>(text) {
        assert_eq!(json["shell_port"], connection.shell_port);
        assert_eq!(
            json["curve_secretkey"].is_string(),
            connection.curve.is_some()
        );
    }
}

/// Output split at any byte: the pieces together are the whole text.
pub fn output(bytes: &[u8]) {
    let mut input = Input(bytes);
    let (mut said, mut partial, mut all) = (String::new(), Vec::new(), Vec::new());
    while !input.is_empty() {
        let piece = input.piece();
        all.extend_from_slice(piece);
        partial.extend_from_slice(piece);
        let rest = partial.split_off(whole_characters(&partial));
        assert!(rest.len() < 4);
        said.push_str(&String::from_utf8_lossy(&partial));
        partial = rest;
    }
    said.push_str(&String::from_utf8_lossy(&partial));
    if let Ok(text) = std::str::from_utf8(&all) {
        assert_eq!(said, text);
    }
}
