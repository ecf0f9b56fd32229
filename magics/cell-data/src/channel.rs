//! Sends one request to the session and receives the answer. The cell's process inherits
//! a socket (the "door"). For each request, it sends one end of a new connection through
//! the door; the answer arrives on the other end. So several threads can ask at once, and
//! a cell that was killed leaves no partial answer to the next cell.

use std::fs::File;
use std::io::{self, Write};
use std::mem::{size_of, zeroed};
use std::net::Shutdown;
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use crate::memory::Mapping;
use crate::{Error, Result};

/// The variable with the door's file descriptor.
const DOOR: &str = "SLAF_CELL_DOOR";
/// File descriptors per message; Linux allows 253.
const MOST: usize = 250;

/// Sends a text and memory files; returns those of the answer.
pub(crate) fn ask(text: &str, files: &[Arc<Mapping>]) -> Result<(String, Vec<Arc<Mapping>>)> {
    let door = std::env::var(DOOR)
        .ok()
        .and_then(|door| door.parse::<RawFd>().ok());
    let door =
        door.ok_or_else(|| Error("There is no session here: no `%%rust` cell runs.".into()))?;
    let (mut ours, theirs) = UnixStream::pair()?;
    send(door, b"?", &[theirs.as_raw_fd()])?;
    drop(theirs);
    let fds: Vec<RawFd> = files.iter().map(|file| file.file().as_raw_fd()).collect();
    for some in fds.chunks(MOST) {
        send(ours.as_raw_fd(), b"\n", some)?;
    }
    ours.write_all(text.as_bytes())?;
    ours.shutdown(Shutdown::Write)?;
    let (answer, files) = receive(&ours)?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let files = files
        .into_iter()
        .map(Mapping::open)
        .collect::<Result<_>>()?;
    Ok((answer, files))
}

fn send(socket: RawFd, bytes: &[u8], fds: &[RawFd]) -> io::Result<()> {
    let mut part = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    let mut control = Control::new();
    let length = size_of_val(fds);
    // SAFETY: `message` points to `part` and `control`, which live until the call
    // ends; `control` has room for MOST descriptors, and `fds` has no more.
    unsafe {
        let mut message: libc::msghdr = zeroed();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.0.as_mut_ptr().cast();
        message.msg_controllen = libc::CMSG_SPACE(length as u32) as usize;
        let header = libc::CMSG_FIRSTHDR(&message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(length as u32) as usize;
        let data = libc::CMSG_DATA(header).cast::<RawFd>();
        std::ptr::copy_nonoverlapping(fds.as_ptr(), data, fds.len());
        match retry(|| libc::sendmsg(socket, &message, libc::MSG_NOSIGNAL))? {
            sent if sent == bytes.len() => Ok(()),
            _ => Err(io::ErrorKind::WriteZero.into()),
        }
    }
}

/// Reads until the other end closes.
fn receive(socket: &UnixStream) -> io::Result<(Vec<u8>, Vec<File>)> {
    let (mut bytes, mut files) = (Vec::new(), Vec::new());
    let mut block = vec![0; 1 << 16];
    loop {
        let mut part = libc::iovec {
            iov_base: block.as_mut_ptr().cast(),
            iov_len: block.len(),
        };
        let mut control = Control::new();
        // SAFETY: as in `send`; each descriptor that arrives is ours.
        let read = unsafe {
            let mut message: libc::msghdr = zeroed();
            message.msg_iov = &raw mut part;
            message.msg_iovlen = 1;
            message.msg_control = control.0.as_mut_ptr().cast();
            message.msg_controllen = size_of_val(&control.0);
            let flags = libc::MSG_CMSG_CLOEXEC;
            let read = retry(|| libc::recvmsg(socket.as_raw_fd(), &mut message, flags))?;
            let mut header = libc::CMSG_FIRSTHDR(&message);
            while let Some(found) = header.as_ref() {
                let length = found.cmsg_len - libc::CMSG_LEN(0) as usize;
                let data = libc::CMSG_DATA(header).cast::<RawFd>();
                let count = length / size_of::<RawFd>();
                files.extend((0..count).map(|i| File::from_raw_fd(data.add(i).read_unaligned())));
                header = libc::CMSG_NXTHDR(&message, header);
            }
            read
        };
        if read == 0 {
            return Ok((bytes, files));
        }
        bytes.extend_from_slice(&block[..read]);
    }
}

/// Aligned space for a control message with [`MOST`] descriptors.
struct Control([u64; MOST.div_ceil(2) + 4]);

impl Control {
    fn new() -> Self {
        Self([0; MOST.div_ceil(2) + 4])
    }
}

fn retry(mut call: impl FnMut() -> isize) -> io::Result<usize> {
    loop {
        match usize::try_from(call()) {
            Ok(done) => return Ok(done),
            Err(_) => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
}
