//! Folders of the local file system.

use std::io;
use std::path::Path;

pub(super) fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none())
}

/// Removes a folder and its content, including files that a task adds while it
/// ends.
pub(crate) fn remove_folder(folder: &Path) -> io::Result<()> {
    let mut tries = 50;
    loop {
        match std::fs::remove_dir_all(folder) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) if e.kind() == io::ErrorKind::DirectoryNotEmpty && tries > 0 => {
                tries -= 1;
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            outcome => return outcome,
        }
    }
}
