//! Publishes a version of a dataset: it becomes visible in one step.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::dataset::config::slaf_entries;
use crate::dataset::manifest::{Manifest, digest, file};
use crate::{Config, Error, Place, Result};

/// A new state of the dataset at `place`, which becomes visible in one step.
pub(crate) struct Commit<'a> {
    pub(crate) place: &'a Place,
    pub(crate) operation: &'a str,
    /// The version from which it was made.
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
        slaf_entries(&mut config).insert("manifest".to_owned(), value);
        let text = serde_json::to_vec_pretty(&config).unwrap_or_default();
        let name = file(manifest.version);
        if !self.place.create(&name, text.clone()).await? {
            // Either somebody else is publishing the same version, or a writer was killed
            // after writing it and before making it the current one.
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
