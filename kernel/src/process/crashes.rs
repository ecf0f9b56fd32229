//! If native code crashes the process, the log names the cell, and contains what
//! the code last wrote to stderr (`free(): invalid pointer`, a panic), which is
//! read from the pipe.

use std::os::fd::RawFd;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::log;

const SIGNALS: [(libc::c_int, &str); 5] = [
    (libc::SIGSEGV, "a segmentation fault"),
    (libc::SIGABRT, "an abort"),
    (libc::SIGBUS, "a bus error"),
    (libc::SIGFPE, "an arithmetic fault"),
    (libc::SIGILL, "an illegal instruction"),
];
const LONGEST: usize = 200;

/// Descriptions of what is running. A signal handler can read the newest.
static DESCRIPTIONS: [AtomicPtr<u8>; 2] = [const { AtomicPtr::new(std::ptr::null_mut()) }; 2];
static LENGTHS: [AtomicUsize; 2] = [const { AtomicUsize::new(0) }; 2];
static NEWEST: AtomicUsize = AtomicUsize::new(0);
static STDERR_PIPE: AtomicI32 = AtomicI32::new(-1);
static BEFORE: [AtomicUsize; SIGNALS.len()] = [const { AtomicUsize::new(0) }; SIGNALS.len()];
static WRITER: Mutex<()> = Mutex::new(());

/// Sets the description of what is running from now on.
pub(crate) fn describe(what: &str) {
    let _one = WRITER.lock().unwrap_or_else(PoisonError::into_inner);
    let next = 1 - NEWEST.load(Ordering::Acquire);
    let mut buffer = DESCRIPTIONS[next].load(Ordering::Acquire);
    if buffer.is_null() {
        // Lives as long as the process.
        buffer = Box::leak(Box::new([0u8; LONGEST])).as_mut_ptr();
        DESCRIPTIONS[next].store(buffer, Ordering::Release);
    }
    let bytes = &what.as_bytes()[..what.len().min(LONGEST)];
    // SAFETY: the buffer has LONGEST bytes, and handlers read the other one.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), buffer, bytes.len()) };
    LENGTHS[next].store(bytes.len(), Ordering::Release);
    NEWEST.store(next, Ordering::Release);
}

/// The pipe from which the stderr of cells is read.
pub(crate) fn rescue(pipe: RawFd) {
    STDERR_PIPE.store(pipe, Ordering::Release);
}

/// Installs handlers of fatal signals, which run before the existing ones.
pub(crate) fn watch() {
    for (at, (signal, _)) in SIGNALS.iter().enumerate() {
        // SAFETY: both structs are valid; the handler calls only functions that are
        // allowed in handlers.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            let mut before: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = dying as *const () as usize;
            action.sa_flags = libc::SA_ONSTACK | libc::SA_NODEFER;
            if libc::sigaction(*signal, &action, &mut before) == 0 {
                BEFORE[at].store(before.sa_sigaction, Ordering::Release);
            }
        }
    }
}

extern "C" fn dying(signal: libc::c_int) {
    let found = SIGNALS.iter().position(|(s, _)| *s == signal);
    let at = found.unwrap_or_default();
    // SAFETY: write, read, ioctl and sigaction are safe in handlers; the
    // buffers live for ever.
    unsafe {
        let say = |bytes: &[u8]| libc::write(log::fd(), bytes.as_ptr().cast(), bytes.len());
        say(b"\nslaf kernel: ");
        say(SIGNALS[at].1.as_bytes());
        say(b" in ");
        let newest = NEWEST.load(Ordering::Acquire);
        let text = DESCRIPTIONS[newest].load(Ordering::Acquire);
        if text.is_null() {
            say(b"no cell");
        } else {
            let length = LENGTHS[newest].load(Ordering::Acquire);
            say(std::slice::from_raw_parts(text, length));
        }
        say(b"\n");
        let pipe = STDERR_PIPE.load(Ordering::Acquire);
        let (mut waiting, mut bytes) = (0 as libc::c_int, [0u8; 4096]);
        if pipe >= 0 && libc::ioctl(pipe, libc::FIONREAD, &mut waiting) == 0 && waiting > 0 {
            let read = libc::read(pipe, bytes.as_mut_ptr().cast(), bytes.len());
            say(&bytes[..read.max(0) as usize]);
        }
        let before = BEFORE[at].load(Ordering::Acquire);
        if before == libc::SIG_DFL || before == libc::SIG_IGN {
            libc::signal(signal, libc::SIG_DFL);
            libc::raise(signal);
        } else {
            let before: extern "C" fn(libc::c_int) = std::mem::transmute(before);
            before(signal);
        }
    }
}
