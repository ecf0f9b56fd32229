//! Which versions of the tables belong together. Lance versions each table on its
//! own; a manifest in `config.json` lists the versions, so that nobody sees half of
//! an append. The configuration of each version is kept under `versions/`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// A version of a dataset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    pub version: u64,
    /// The version from which it was made.
    pub parent: Option<u64>,
    /// `convert`, `append`, `index`, `repair`, …
    pub operation: String,
    /// RFC 3339, UTC.
    pub at: String,
    /// Cells × genes.
    pub shape: (u64, u64),
    /// Table folder → its Lance version.
    pub tables: BTreeMap<String, u64>,
    /// A digest of the rest of the configuration; see
    /// [`crate::Config::manifest`].
    pub covers: String,
}

impl Manifest {
    pub(crate) fn of(config: &Map<String, Value>) -> Option<Self> {
        let value = config.get("slaf")?.get("manifest")?;
        Self::deserialize(value).ok()
    }
}

/// The file with the configuration of a version.
pub(crate) fn file(version: u64) -> String {
    format!("versions/{version}.json")
}

/// A digest of everything in a configuration that other software changes. The
/// statistics under `metadata` are left out, because JSON libraries print the
/// same number differently.
pub(crate) fn digest(config: &Map<String, Value>) -> String {
    let sorted: BTreeMap<_, _> = config
        .iter()
        .filter(|(key, _)| !matches!(key.as_str(), "slaf" | "metadata"))
        .collect();
    let text = serde_json::to_string(&sorted).unwrap_or_default();
    format!("{:x}", Sha256::digest(canonical(&text)))
}

/// JSON with sorted keys, at every depth.
fn canonical(text: &str) -> String {
    fn sort(value: Value) -> Value {
        match value {
            Value::Object(map) => {
                let sorted: BTreeMap<_, _> = map.into_iter().map(|(k, v)| (k, sort(v))).collect();
                Value::Object(sorted.into_iter().collect())
            }
            Value::Array(items) => items.into_iter().map(sort).collect(),
            other => other,
        }
    }
    let value = serde_json::from_str(text).unwrap_or(Value::Null);
    sort(value).to_string()
}
