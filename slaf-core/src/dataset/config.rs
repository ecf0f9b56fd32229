//! `config.json`: what the dataset contains, and where its tables are. slafdb or we
//! wrote it; unknown keys are kept.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::manifest::{self, Manifest};
use crate::{Error, Place, Result};

#[derive(Debug, Clone)]
pub struct Config {
    root: Arc<Map<String, Value>>,
    shape: (u64, u64),
}

impl Config {
    /// Reads and checks the `config.json` of the dataset at `place`, or the one
    /// of `version`.
    pub async fn read(place: &Place, version: Option<u64>) -> Result<Self> {
        let not_slaf = |reason: String| Error::NotSlaf {
            path: place.uri().to_owned(),
            reason,
        };
        if place.local().is_some_and(|path| path.is_file()) {
            return Err(not_slaf("it is a file, and a dataset is a folder".into()));
        }
        let Some(bytes) = place.read("config.json").await? else {
            return Err(if place.exists().await? {
                not_slaf("it has no config.json".into())
            } else {
                Error::NotFound {
                    path: place.uri().to_owned(),
                }
            });
        };
        let current = Self::parse(&bytes).map_err(not_slaf)?;
        let Some(version) = version else {
            return Ok(current);
        };
        if current.manifest().is_some_and(|m| m.version == version) {
            return Ok(current);
        }
        let file = manifest::file(version);
        match place.read(&file).await? {
            Some(bytes) => Self::parse(&bytes).map_err(not_slaf),
            None => Err(Error::NoVersion {
                uri: place.uri().to_owned(),
                version,
            }),
        }
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let value: Value = serde_json::from_slice(bytes)
            .map_err(|e| format!("its config.json is not valid JSON ({e})"))?;
        let Value::Object(map) = value else {
            return Err("its config.json is not a JSON object".into());
        };
        Self::from_map(map)
    }

    fn from_map(root: Map<String, Value>) -> Result<Self, String> {
        let shape = root
            .get("array_shape")
            .and_then(Value::as_array)
            .and_then(|s| match s.as_slice() {
                [cells, genes] => Some((cells.as_u64()?, genes.as_u64()?)),
                _ => None,
            })
            .ok_or("its config.json has no `array_shape` of two counts")?;
        let root = Arc::new(root);
        let config = Self { root, shape };
        for table in ["expression", "cells", "genes"] {
            if config.table_path(table).is_none() {
                return Err(format!(
                    "its config.json names no `{table}` table under `tables`"
                ));
            }
        }
        Ok(config)
    }

    /// Cells × genes.
    pub fn shape(&self) -> (u64, u64) {
        self.shape
    }

    pub fn format_version(&self) -> &str {
        self.text(&["format_version"]).unwrap_or("unknown")
    }

    /// The path of a table, relative to the dataset.
    pub fn table_path(&self, table: &str) -> Option<&str> {
        self.text(&["tables", table])
    }

    /// Names of the keys stored under `section` (`obsm`, `layers`, …).
    pub fn available(&self, section: &str) -> Option<Vec<String>> {
        let names = self.root.get(section)?.get("available")?.as_array()?;
        Some(
            names
                .iter()
                .filter_map(|n| n.as_str().map(str::to_owned))
                .collect(),
        )
    }

    /// Which versions of the tables belong together, if we were the last to
    /// write. Other software does not know the manifest, and leaves it in a
    /// changed configuration; then the result is `None`, and the newest tables
    /// are used.
    pub fn manifest(&self) -> Option<Manifest> {
        let manifest = Manifest::of(&self.root)?;
        (manifest.covers == manifest::digest(&self.root)).then_some(manifest)
    }

    /// Whether we wrote all rows of `expression` and their offsets.
    pub(crate) fn is_ours(&self) -> bool {
        self.manifest().is_some() && self.text(&["slaf", "writer"]).is_some()
    }

    /// The number of values in X, according to the statistics.
    pub(crate) fn value_count(&self) -> Option<u64> {
        self.root.get("metadata")?.get("expression_count")?.as_u64()
    }

    pub fn as_json(&self) -> &Map<String, Value> {
        &self.root
    }

    fn text(&self, path: &[&str]) -> Option<&str> {
        let (first, rest) = path.split_first()?;
        rest.iter()
            .try_fold(self.root.get(*first)?, |value, key| value.get(key))?
            .as_str()
    }
}

/// Our part of the configuration.
pub(crate) fn slaf_entries(config: &mut Map<String, Value>) -> &mut Map<String, Value> {
    let ours = config.entry("slaf").or_insert(Value::Null);
    if !ours.is_object() {
        *ours = Value::Object(Map::new());
    }
    ours.as_object_mut().expect("it was just made one")
}
