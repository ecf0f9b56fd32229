//! Versions of a dataset. Lance versions each table by itself; a manifest in
//! `config.json` says which belong together, so that nobody sees half an
//! append. Each version's configuration is kept under `versions/`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::dataset::Dataset;
use crate::storage::Place;
use crate::write::ours;
use crate::{Config, Error, Result};

/// What belongs together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    pub version: u64,
    /// The version it was made from.
    pub parent: Option<u64>,
    /// `convert`, `append`, `index`, `repair`, …
    pub operation: String,
    /// RFC 3339, UTC.
    pub at: String,
    /// Cells × genes.
    pub shape: (u64, u64),
    /// Table folder → its Lance version.
    pub tables: BTreeMap<String, u64>,
    /// Of the rest of the configuration; see [`Config::manifest`].
    pub covers: String,
}

impl Manifest {
    pub(crate) fn of(config: &Map<String, Value>) -> Option<Self> {
        let value = config.get("slaf")?.get("manifest")?;
        Self::deserialize(value).ok()
    }
}

/// Where the configuration of a version is kept.
pub(crate) fn file(version: u64) -> String {
    format!("versions/{version}.json")
}

/// Of what other writers change in a configuration. The statistics under
/// `metadata` are left out: JSON libraries print the same number differently.
pub(crate) fn digest(config: &Map<String, Value>) -> String {
    let sorted: BTreeMap<_, _> = config
        .iter()
        .filter(|(key, _)| !matches!(key.as_str(), "slaf" | "metadata"))
        .collect();
    let text = serde_json::to_string(&sorted).unwrap_or_default();
    format!("{:x}", Sha256::digest(canonical(&text)))
}

/// Object keys in order, at every depth.
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

/// A state of the dataset at `place` that becomes visible at once.
pub(crate) struct Commit<'a> {
    pub(crate) place: &'a Place,
    pub(crate) operation: &'a str,
    /// The version that it was made from.
    pub(crate) parent: Option<u64>,
    pub(crate) shape: (u64, u64),
    pub(crate) tables: BTreeMap<String, u64>,
}

impl Commit<'_> {
    /// Publishes `config` as the next version.
    pub(crate) async fn publish(self, mut config: Map<String, Value>) -> Result<Manifest> {
        let manifest = Manifest {
            version: self.parent.unwrap_or(0) + 1,
            parent: self.parent,
            operation: self.operation.to_owned(),
            at: chrono::Utc::now().to_rfc3339(),
            shape: self.shape,
            tables: self.tables,
            covers: digest(&config),
        };
        let value = serde_json::to_value(&manifest).unwrap_or_default();
        ours(&mut config).insert("manifest".to_owned(), value);
        let text = serde_json::to_vec_pretty(&config).unwrap_or_default();
        let name = file(manifest.version);
        if !self.place.create(&name, text.clone()).await? {
            // Either somebody publishes the same version just now, or somebody
            // died between writing it and making it the current one.
            for _ in 0..4 {
                tokio::time::sleep(Duration::from_millis(500)).await;
                let current = Config::read(self.place, None).await?.manifest();
                if current.map(|m| m.version) != self.parent {
                    return Err(Error::Conflict {
                        uri: self.place.uri().to_owned(),
                    });
                }
            }
            self.place.put(&name, text.clone()).await?;
        }
        self.place.put("config.json", text).await?;
        Ok(manifest)
    }
}

/// The versions of the dataset at `place`, newest first.
pub async fn history(place: &Place) -> Result<Vec<Manifest>> {
    let mut found = vec![];
    let mut next = Manifest::of(Config::read(place, None).await?.as_json());
    while let Some(manifest) = next {
        next = match manifest.parent {
            Some(parent) => kept(place, parent).await?,
            None => None,
        };
        found.push(manifest);
    }
    Ok(found)
}

async fn kept(place: &Place, version: u64) -> Result<Option<Manifest>> {
    let Some(bytes) = place.read(&file(version)).await? else {
        return Ok(None);
    };
    let value: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    Ok(value.as_object().and_then(Manifest::of))
}

/// What [`vacuum`] did.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Vacuumed {
    pub versions: Vec<u64>,
    pub bytes: u64,
}

/// Removes all versions but the newest `keep` (at least one), and whatever
/// died writers left behind.
pub async fn vacuum(place: &Place, keep: usize) -> Result<Vacuumed> {
    let before: u64 = size(place).await?;
    let history = history(place).await?;
    let (kept, gone) = history.split_at(history.len().min(keep.max(1)));
    let stays: BTreeSet<u64> = kept.iter().map(|m| m.version).collect();
    for name in place.names("versions").await? {
        let version = name.strip_suffix(".json").and_then(|v| v.parse().ok());
        if version.is_none_or(|v: u64| !stays.contains(&v)) {
            place.remove_file(&format!("versions/{name}")).await?;
        }
    }
    let dataset = Dataset::open_at(place.clone(), None).await?;
    let companions = dataset.companions().await?;
    for table in dataset
        .tables()
        .chain(companions.into_iter().flat_map(|c| c.tables()))
    {
        let pinned: BTreeSet<u64> = kept
            .iter()
            .filter_map(|m| m.tables.get(&table.folder).copied())
            .chain([table.lance.version_id()])
            .collect();
        table.clean(&pinned).await?;
    }
    Ok(Vacuumed {
        versions: gone.iter().map(|m| m.version).collect(),
        bytes: before.saturating_sub(size(place).await?),
    })
}

async fn size(place: &Place) -> Result<u64> {
    Ok(place.files().await?.iter().map(|(_, bytes)| bytes).sum())
}
