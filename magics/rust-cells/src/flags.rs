//! A memory page that host, relay and cell share. It holds flags that the others see at
//! once, without a message.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU8, Ordering};

use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::{MemfdFlags, memfd_create};

/// The variable with the page's descriptor; cells read the first flag through
/// it.
pub(crate) const FLAGS: &str = "SLAF_CELL_FLAGS";

/// A flag, by its position in the page.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Flag {
    /// The user wants the cell to stop.
    Cancel = 0,
    /// The code of a cell is running, not the compiler.
    Running = 1,
    /// The cell panicked, which evcxr does not report.
    Panicked = 2,
    /// The cell ended early at a `?`, which evcxr does not report either.
    Failed = 3,
}

#[derive(Debug)]
pub(crate) struct Flags {
    fd: OwnedFd,
    page: MmapRaw,
}

impl Flags {
    const BYTES: usize = 4;

    pub(crate) fn new() -> io::Result<Self> {
        let file = File::from(memfd_create(c"slaf-flags", MemfdFlags::CLOEXEC)?);
        file.set_len(Self::BYTES as u64)?;
        Self::map(file.into())
    }

    /// Opens the page whose descriptor the parent left in the environment.
    pub(crate) fn inherited() -> io::Result<Self> {
        let fd = inherited(FLAGS)?;
        Self::map(fd.try_clone_to_owned()?)
    }

    fn map(fd: OwnedFd) -> io::Result<Self> {
        let page = MmapOptions::new().len(Self::BYTES).map_raw(&fd)?;
        Ok(Self { fd, page })
    }

    pub(crate) fn get(&self, flag: Flag) -> bool {
        self.byte(flag).load(Ordering::SeqCst) != 0
    }

    pub(crate) fn set(&self, flag: Flag, value: bool) {
        self.byte(flag).store(value.into(), Ordering::SeqCst);
    }

    fn byte(&self, flag: Flag) -> &AtomicU8 {
        // SAFETY: the page has BYTES bytes and lives as long as `self`.
        unsafe { AtomicU8::from_ptr(self.page.as_mut_ptr().add(flag as usize)) }
    }

    pub(crate) fn raw_fd(&self) -> RawFd {
        self.fd.as_fd().as_raw_fd()
    }
}

/// The descriptor in an environment variable.
pub(crate) fn inherited(name: &str) -> io::Result<BorrowedFd<'static>> {
    let number = std::env::var(name).ok().and_then(|fd| fd.parse().ok());
    let number = number.ok_or_else(|| io::Error::other(format!("{name} is not set")))?;
    // SAFETY: the parent opened it for this process, which never closes it.
    Ok(unsafe { BorrowedFd::borrow_raw(number) })
}
