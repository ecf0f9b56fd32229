//! The folder in which a new dataset is prepared, used by one process at a time.

use std::fs::{File, TryLockError};

use crate::{Error, Place, Result};

pub(super) const LOCK: &str = "lock";

/// Keeps a second conversion out of a local staging folder. The system releases
/// the lock when the process ends, however it ends.
pub(super) fn lock(place: &Place) -> Result<Option<File>> {
    let Some(folder) = place.local() else {
        return Ok(None);
    };
    std::fs::create_dir_all(&folder).map_err(|e| Error::io(&folder, e))?;
    let path = folder.join(LOCK);
    let file = File::create(&path).map_err(|e| Error::io(&path, e))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(Error::Busy {
            path: place.uri().to_owned(),
        }),
        Err(TryLockError::Error(_)) => Ok(None),
    }
}

/// Removes what another conversion left.
pub(super) async fn clear(place: &Place) -> Result<()> {
    let Some(folder) = place.local() else {
        return place.remove().await;
    };
    for entry in std::fs::read_dir(&folder).map_err(|e| Error::io(&folder, e))? {
        let path = entry.map_err(|e| Error::io(&folder, e))?.path();
        if path.ends_with(LOCK) {
            continue;
        }
        let removed = if path.is_dir() {
            std::fs::remove_dir_all(&path)
        } else {
            std::fs::remove_file(&path)
        };
        removed.map_err(|e| Error::io(&path, e))?;
    }
    Ok(())
}
