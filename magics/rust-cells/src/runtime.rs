//! Where cells run. evcxr's own runtime would do, but leaves what a cell printed
//! without a line end in the buffer, and does not say where stderr ends.

use std::ffi::{OsStr, c_void};
use std::io::{BufRead, Write};

use libloading::Library;
use rustix::io::{FdFlags, fcntl_setfd};

use crate::flags::{FLAGS, inherited};
use crate::relay::{DOOR, END};

/// A function of the prelude, in every cell's library: flushes the stdout that
/// cells print to, which is not this executable's.
pub(crate) const FLUSH: &str = "slaf_cell_flush";

type Cell = extern "C" fn(*mut c_void) -> *mut c_void;

/// Runs the cells that the relay names, one a line, and ends with its input.
pub(crate) fn run() -> ! {
    for name in [DOOR, FLAGS] {
        // Commands that a cell runs have no business with them.
        _ = inherited(name).and_then(|fd| Ok(fcntl_setfd(fd, FdFlags::CLOEXEC)?));
    }
    let mut variables = std::ptr::null_mut();
    for line in std::io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        let mut words = line.rsplitn(2, ' ');
        let (Some(function), Some(path)) = (words.next(), words.next()) else {
            continue;
        };
        let path = path.trim_start_matches("LOAD_AND_RUN ");
        match load(path.as_ref(), function, variables) {
            Ok(after) => variables = after,
            Err(error) => {
                eprintln!("The cell's library does not load: {error}.");
                std::process::exit(99);
            }
        }
        // In this order: the relay passes the second on when it has seen the first.
        _ = std::io::stderr().write_all(END);
        println!("EVCXR_EXECUTION_COMPLETE");
    }
    std::process::exit(0)
}

fn load(
    path: &OsStr,
    function: &str,
    variables: *mut c_void,
) -> Result<*mut c_void, libloading::Error> {
    // SAFETY: evcxr compiled it, with a function of this type and this name; the
    // store of variables is passed from one cell to the next.
    unsafe {
        let library = Library::new(path)?;
        let after = library.get::<Cell>(function)?(variables);
        if let Ok(flush) = library.get::<extern "C" fn()>(FLUSH) {
            flush();
        }
        // Variables may point into it, and threads may run in it.
        std::mem::forget(library);
        Ok(after)
    }
}
