//! The progress of a conversion, stored beside its output, so that a conversion
//! that was killed can continue.

use lance::table::format::Fragment;
use serde::{Deserialize, Serialize};

use crate::{Place, Result};

/// The file of the checkpoint.
const CHECKPOINT: &str = "progress.json";

/// The progress of a conversion.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Checkpoint {
    /// The input; see `Writer::create`.
    pub(crate) source: String,
    pub(crate) shape: (u64, u64),
    pub(crate) value_type: String,
    /// Number of complete cells in the fragments.
    pub(crate) cells: u64,
    pub(crate) fragments: Vec<Fragment>,
}

impl Checkpoint {
    pub(crate) async fn read(place: &Place) -> Result<Option<Self>> {
        let found = place.read(CHECKPOINT).await?;
        Ok(found.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }

    pub(crate) async fn write(&self, place: &Place) -> Result<()> {
        let text = serde_json::to_vec(self).unwrap_or_default();
        place.put(CHECKPOINT, text).await
    }

    pub(crate) async fn remove(place: &Place) -> Result<()> {
        place.remove_file(CHECKPOINT).await
    }
}
