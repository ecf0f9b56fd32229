//! The process in which cells run. We do not use evcxr's own runtime: it keeps
//! output without a line end in a buffer, does not mark the end of stderr, and a
//! cell that reads stdin would wait forever or take evcxr's requests from there.

use std::ffi::{OsStr, c_void};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsFd;

use libloading::Library;
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::stdio::dup2_stdin;

use crate::cell_environment::World;
use crate::flags::{FLAGS, inherited};
use crate::relay::{DOOR, END};

/// A function of the prelude in every cell's library: flushes the library's
/// stdout, to which cells print, and which is not this executable's.
pub(crate) const FLUSH: &str = "slaf_cell_flush";

/// Another: does what must happen once in a process, before its first cell.
pub(crate) const BEGIN: &str = "slaf_cell_begin";

type Cell = extern "C" fn(*mut c_void) -> *mut c_void;

/// Runs the cells that the relay names, one per line, until its input ends.
pub(crate) fn run() -> ! {
    for name in [DOOR, FLAGS] {
        // Commands that a cell runs must not use them.
        _ = inherited(name).and_then(|fd| Ok(fcntl_setfd(fd, FdFlags::CLOEXEC)?));
    }
    let requests = requests().unwrap_or_else(|error| {
        eprintln!("The Rust process does not start: {error}.");
        std::process::exit(98);
    });
    let (mut variables, mut world, mut begun) = (std::ptr::null_mut(), World::default(), false);
    for line in BufReader::new(requests).lines() {
        let Ok(line) = line else { break };
        let mut words = line.rsplitn(2, ' ');
        let (Some(function), Some(path)) = (words.next(), words.next()) else {
            continue;
        };
        let path = path.trim_start_matches("LOAD_AND_RUN ");
        world.follow();
        match load(path.as_ref(), function, variables, &mut begun) {
            Ok(after) => variables = after,
            Err(error) => {
                eprintln!("The cell's library does not load: {error}.");
                std::process::exit(99);
            }
        }
        // In this order, because the relay passes the second on when it has seen the first.
        _ = std::io::stderr().write_all(END);
        println!("EVCXR_EXECUTION_COMPLETE");
    }
    std::process::exit(0)
}

/// The original stdin; afterwards stdin is empty.
fn requests() -> io::Result<File> {
    let requests = io::stdin().as_fd().try_clone_to_owned()?;
    dup2_stdin(File::open("/dev/null")?)?;
    Ok(requests.into())
}

fn load(
    path: &OsStr,
    function: &str,
    variables: *mut c_void,
    begun: &mut bool,
) -> Result<*mut c_void, libloading::Error> {
    // SAFETY: evcxr compiled it, with a function of this type and this name; the
    // store of variables is passed from one cell to the next.
    unsafe {
        let library = Library::new(path)?;
        if !*begun && let Ok(begin) = library.get::<extern "C" fn()>(BEGIN) {
            begin();
            *begun = true;
        }
        let after = library.get::<Cell>(function)?(variables);
        if let Ok(flush) = library.get::<extern "C" fn()>(FLUSH) {
            flush();
        }
        // Variables may point into the library, and threads may run in it.
        std::mem::forget(library);
        Ok(after)
    }
}
