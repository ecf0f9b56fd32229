//! The working directory and environment of cells, which follow the notebook's. The
//! session reports changes; the host applies them, and so does the runtime before
//! each cell.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The variable with the path of the file that lists the changes, one per line.
pub(crate) const WORLD: &str = "SLAF_CELL_WORLD";

/// The changes in the notebook since the last report. Each character stands for
/// one byte, because file names and values need not be UTF-8.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct Change {
    folder: Option<String>,
    set: BTreeMap<String, String>,
    unset: Vec<String>,
}

impl Change {
    /// Applies the changes in this process, and lists them for the running
    /// runtime. Later runtimes inherit them, and apply them again, which has no
    /// effect.
    pub(crate) fn tell(&self) -> io::Result<()> {
        self.apply();
        let path = std::env::var_os(WORLD).ok_or(io::ErrorKind::NotFound)?;
        let mut list = OpenOptions::new().append(true).create(true).open(path)?;
        writeln!(list, "{}", serde_json::to_string(self)?)
    }

    fn apply(&self) {
        if let Some(folder) = &self.folder {
            // If the folder was removed, it is missing for the notebook, too.
            _ = std::env::set_current_dir(PathBuf::from(bytes(folder)));
        }
        // SAFETY: Rust's own readers take a lock, and no cell runs: what else reads
        // the environment at this moment is a thread that a cell left behind.
        unsafe {
            for name in &self.unset {
                std::env::remove_var(bytes(name));
            }
            for (name, value) in &self.set {
                std::env::set_var(bytes(name), bytes(value));
            }
        }
    }
}

fn bytes(text: &str) -> OsString {
    OsString::from_vec(text.chars().map(|c| c as u8).collect())
}

/// The changes that the runtime has applied.
#[derive(Debug, Default)]
pub(crate) struct World {
    done: usize,
}

impl World {
    /// Applies the changes since the last call. What a cell changed stays,
    /// until the notebook changes the same.
    pub(crate) fn follow(&mut self) {
        let list = std::env::var_os(WORLD).and_then(|path| fs::read_to_string(path).ok());
        for line in list.iter().flat_map(|list| list.lines()).skip(self.done) {
            if let Ok(change) = serde_json::from_str::<Change>(line) {
                change.apply();
            }
            self.done += 1;
        }
    }
}
