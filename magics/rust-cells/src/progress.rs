//! Reports which crate is being compiled. rustc's wrapper, which is this
//! executable, tells it.

use std::fs::File;
use std::io::Write;

use crate::flags::inherited;

/// The variable with the descriptor that receives the names, one per line.
const PROGRESS: &str = "SLAF_CELL_PROGRESS";

/// Reports the crate that this process is going to compile, if any.
pub(crate) fn tell() {
    if std::env::var_os("EVCXR_RUSTC_WRAPPER").is_none() {
        return;
    }
    let mut arguments = std::env::args().skip_while(|argument| argument != "--crate-name");
    let Some(name) = arguments.nth(1) else { return };
    // `___` is cargo asking for rustc's features, and `ctx` is the cell.
    if ["___", "ctx"].contains(&name.as_str()) {
        return;
    }
    if let Ok(fd) = inherited(PROGRESS).and_then(|fd| fd.try_clone_to_owned()) {
        _ = writeln!(File::from(fd), "{name}");
    }
}
