//! `config.json`: what the dataset holds and where its tables lie. Written by
//! slafdb or by us; keys that we do not know are kept.

use std::path::Path;

use serde_json::{Map, Value};

use crate::{Error, Result};

#[derive(Debug, Clone)]
pub struct Config {
    root: Map<String, Value>,
    shape: (u64, u64),
}

impl Config {
    /// Reads and checks `config.json` of the dataset folder `root`.
    pub fn read(root: &Path) -> Result<Self> {
        let shown = root.display().to_string();
        let not_slaf = |reason: String| Error::NotSlaf {
            path: shown.clone(),
            reason,
        };
        if !root.exists() {
            return Err(Error::NotFound { path: shown });
        }
        if !root.is_dir() {
            return Err(not_slaf("it is a file, and a dataset is a folder".into()));
        }
        let path = root.join("config.json");
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Err(not_slaf("it has no config.json".into()));
            }
            Err(e) => return Err(not_slaf(format!("its config.json cannot be read ({e})"))),
        };
        let value: Value = serde_json::from_str(&text)
            .map_err(|e| not_slaf(format!("its config.json is not valid JSON ({e})")))?;
        let Value::Object(map) = value else {
            return Err(not_slaf("its config.json is not a JSON object".into()));
        };
        Self::from_map(map).map_err(not_slaf)
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

    /// Where a table lies, relative to the dataset.
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

    /// The dtype that X had at its source, such as `float32`, when we wrote it.
    pub fn x_dtype(&self) -> Option<&str> {
        self.text(&["slaf", "x_dtype"])
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
