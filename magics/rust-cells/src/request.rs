//! The requests of the Python side, one JSON object per line.

use serde::Deserialize;

use crate::cell_environment::Change;

#[derive(Deserialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub(crate) enum Request {
    Run {
        id: u64,
        code: String,
        change: Option<Change>,
    },
    Complete {
        id: u64,
        code: String,
        cursor: usize,
    },
    Variables {
        id: u64,
    },
    Reset {
        id: u64,
    },
    Interrupt,
}
