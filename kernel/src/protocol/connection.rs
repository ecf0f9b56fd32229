//! The connection file, which the front end writes for the kernel.

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Deserializer};

use crate::transport::curve::Keys;

#[derive(Debug, Clone, Deserialize)]
pub struct Connection {
    pub transport: String,
    pub ip: String,
    pub shell_port: u16,
    pub iopub_port: u16,
    pub stdin_port: u16,
    pub control_port: u16,
    pub hb_port: u16,
    /// If empty, messages are not signed.
    #[serde(default)]
    pub key: String,
    #[serde(default = "hmac_sha256")]
    pub signature_scheme: String,
    /// If missing, connections are not encrypted.
    #[serde(default, rename = "curve_secretkey", deserialize_with = "keys")]
    pub(crate) curve: Option<Arc<Keys>>,
}

fn hmac_sha256() -> String {
    "hmac-sha256".to_owned()
}

fn keys<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Arc<Keys>>, D::Error> {
    let Some(text) = Option::<String>::deserialize(from)? else {
        return Ok(None);
    };
    let keys = Keys::new(&text).ok_or_else(|| {
        serde::de::Error::custom("`curve_secretkey` is not a key of 40 characters in Z85")
    })?;
    Ok(Some(Arc::new(keys)))
}

#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    #[error("The connection file `{path}` cannot be read: {source}.")]
    Unreadable {
        path: String,
        source: std::io::Error,
    },
    #[error("The connection file `{path}` is not valid: {source}.")]
    Invalid {
        path: String,
        source: serde_json::Error,
    },
    #[error("The connection file asks for {what}, which this kernel does not support.")]
    Unsupported { what: String },
}

impl Connection {
    pub fn read(path: &Path) -> Result<Self, ConnectionError> {
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|source| ConnectionError::Unreadable {
            path: shown.clone(),
            source,
        })?;
        Self::parse(&text, &shown)
    }

    /// Parses the text of the file at `path`.
    pub(crate) fn parse(text: &str, path: &str) -> Result<Self, ConnectionError> {
        let connection: Self =
            serde_json::from_str(text).map_err(|source| ConnectionError::Invalid {
                path: path.to_owned(),
                source,
            })?;
        let unsupported = |what: &str| {
            Err(ConnectionError::Unsupported {
                what: what.to_owned(),
            })
        };
        if connection.signature_scheme != hmac_sha256() && !connection.key.is_empty() {
            return unsupported(&connection.signature_scheme);
        }
        match connection.transport.as_str() {
            "tcp" | "ipc" => Ok(connection),
            other => unsupported(other),
        }
    }

    /// The endpoint of the socket with this `port`.
    pub(crate) fn endpoint(&self, port: u16) -> String {
        match (self.transport.as_str(), self.ip.as_str()) {
            ("ipc", path) => format!("ipc://{path}-{port}"),
            (_, "*") => format!("tcp://0.0.0.0:{port}"),
            (_, ip) => format!("tcp://{ip}:{port}"),
        }
    }
}
