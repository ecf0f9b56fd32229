//! The versions of a dataset, and the removal of old ones.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::dataset::manifest::{Manifest, file};
use crate::{Config, Dataset, Place, Progress, Result};

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

/// The result of [`vacuum`].
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Vacuumed {
    pub versions: Vec<u64>,
    pub bytes: u64,
}

/// Removes all versions except the newest `keep` (at least one), and everything
/// that killed writers left. Progress counts tables.
pub async fn vacuum(place: &Place, keep: usize, progress: &Progress) -> Result<Vacuumed> {
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
    let tables: Vec<_> = dataset
        .tables()
        .chain(companions.into_iter().flat_map(|c| c.tables()))
        .collect();
    progress.begin(tables.len() as u64);
    for table in tables {
        let pinned: BTreeSet<u64> = kept
            .iter()
            .filter_map(|m| m.tables.get(&table.folder).copied())
            .chain([table.lance.version_id()])
            .collect();
        table.clean(&pinned).await?;
        progress.add(1);
    }
    Ok(Vacuumed {
        versions: gone.iter().map(|m| m.version).collect(),
        bytes: before.saturating_sub(size(place).await?),
    })
}

async fn size(place: &Place) -> Result<u64> {
    Ok(place.files().await?.iter().map(|(_, bytes)| bytes).sum())
}
