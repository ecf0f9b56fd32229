//! Memory files: written once, sealed, then mapped by their users. The system frees
//! a file with its last user, however that process ends.

use std::any::TypeId;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use arrow_buffer::Buffer;
use bytes::Bytes;
use memmap2::{Mmap, MmapOptions};

use crate::{Error, Result};

/// Alignment of buffers, as Arrow recommends.
const ALIGNMENT: usize = 64;

/// The mappings of this process by their first addresses: a buffer inside one
/// of them is already shared.
type Mapped = Mutex<BTreeMap<usize, Weak<Mapping>>>;

/// The variable with the address of a process's mappings. Each cell is a
/// library with its own statics, so they are passed on this way.
const MAPPED: &str = "SLAF_CELL_MAPPED";

/// A sealed memory file, mapped for reading.
#[derive(Debug)]
pub struct Mapping {
    map: Mmap,
    file: File,
}

impl Mapping {
    /// Maps a memory file, which must be sealed.
    pub fn open(file: File) -> Result<Arc<Self>> {
        // SAFETY: F_GET_SEALS takes no argument.
        let seals = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GET_SEALS) };
        let needed = libc::F_SEAL_WRITE | libc::F_SEAL_SHRINK;
        if seals == -1 || seals & needed != needed {
            return Err(Error("The memory is not sealed, and could change.".into()));
        }
        // A private mapping, because systems before Linux 6.7 refuse shared mappings of
        // sealed files. It is only read, so no page of it is copied.
        // SAFETY: the seals forbid writing and shrinking for good.
        let map = unsafe { MmapOptions::new().map_copy_read_only(&file)? };
        let mapping = Arc::new(Self { map, file });
        let first = mapping.map.as_ptr() as usize;
        mapped().insert(first, Arc::downgrade(&mapping));
        Ok(mapping)
    }

    /// The mapping that contains `bytes`, and their offset.
    pub fn find(bytes: &[u8]) -> Option<(Arc<Self>, usize)> {
        let begin = bytes.as_ptr() as usize;
        let (first, mapping) = mapped()
            .range(..=begin)
            .next_back()
            .map(|(first, mapping)| (*first, mapping.upgrade()))?;
        let (mapping, offset) = (mapping?, begin - first);
        (offset + bytes.len() <= mapping.map.len()).then_some((mapping, offset))
    }

    pub fn file(&self) -> &File {
        &self.file
    }

    /// A part of the file as a buffer, which keeps the whole file mapped.
    pub fn buffer(self: &Arc<Self>, offset: usize, length: usize) -> Result<Buffer> {
        if offset
            .checked_add(length)
            .is_none_or(|end| end > self.map.len())
        {
            return Err(Error(
                "The shared memory is shorter than it should be.".into(),
            ));
        }
        let all = Bytes::from_owner(Owner(Arc::clone(self)));
        Ok(Buffer::from(all.slice(offset..offset + length)))
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        let first = self.map.as_ptr() as usize;
        let mut mapped = mapped();
        // Nothing else is mapped at this address until the memory is released.
        mapped.remove(&first);
    }
}

struct Owner(Arc<Mapping>);

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        &self.0.map
    }
}

fn mapped() -> MutexGuard<'static, BTreeMap<usize, Weak<Mapping>>> {
    static OURS: OnceLock<&'static Mapped> = OnceLock::new();
    let mapped = OURS.get_or_init(|| adopted().unwrap_or_else(|| Box::leak(Box::default())));
    mapped.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The value that this process, and this build of the crate, stores in the
/// variable.
fn announcement() -> String {
    format!("{} {:?} ", std::process::id(), TypeId::of::<Mapping>())
}

fn adopted() -> Option<&'static Mapped> {
    let text = std::env::var(MAPPED).ok()?;
    let address: usize = text.strip_prefix(&announcement())?.parse().ok()?;
    // SAFETY: this process announced it, with the same types, and leaked it.
    Some(unsafe { &*std::ptr::with_exposed_provenance(address) })
}

/// Makes the mappings of earlier cells known to later ones. Call it before
/// there are threads.
pub fn announce() {
    if adopted().is_none() {
        let ours: &'static Mapped = Box::leak(Box::default());
        let address = std::ptr::from_ref(ours).expose_provenance();
        // SAFETY: only the cells' first thread runs yet.
        unsafe { std::env::set_var(MAPPED, format!("{}{address}", announcement())) };
    }
}

/// Copies `parts` into a new memory file, seals it, and returns the offset of
/// each part.
pub fn store(parts: &[&[u8]]) -> Result<(Arc<Mapping>, Vec<usize>)> {
    let mut offsets = Vec::with_capacity(parts.len());
    let mut end = 0;
    for part in parts {
        offsets.push(end);
        end += part.len().next_multiple_of(ALIGNMENT);
    }
    check_room(end as u64)?;
    let file = memory_file()?;
    // An empty file cannot be mapped.
    file.set_len(end.max(ALIGNMENT) as u64)?;
    for (part, &offset) in parts.iter().zip(&offsets) {
        file.write_all_at(part, offset as u64)?;
    }
    let seals = libc::F_SEAL_WRITE | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;
    // SAFETY: F_ADD_SEALS takes an int.
    if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) } == -1 {
        return Err(io::Error::last_os_error().into());
    }
    Ok((Mapping::open(file)?, offsets))
}

fn memory_file() -> io::Result<File> {
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    // SAFETY: the name is a C string, and a descriptor that is returned is ours.
    unsafe {
        let fd = libc::memfd_create(c"slaf".as_ptr(), flags);
        if fd == -1 {
            return Err(io::Error::last_os_error());
        }
        Ok(File::from_raw_fd(fd))
    }
}

/// Checks that there is enough memory: memory files have no limit of their own,
/// and the process would be killed.
fn check_room(bytes: u64) -> Result<()> {
    match room() {
        Some(free) if bytes > free => Err(Error(format!(
            "Sharing this takes {:.1} GB, and {:.1} GB of memory are free.",
            bytes as f64 / 1e9,
            free as f64 / 1e9
        ))),
        _ => Ok(()),
    }
}

/// Bytes of memory that are still available, of the machine or of the
/// container.
fn room() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text
        .lines()
        .find(|line| line.starts_with("MemAvailable:"))?;
    let machine = 1024 * line.split_whitespace().nth(1)?.parse::<u64>().ok()?;
    let number = |name: &str| {
        let text = std::fs::read_to_string(format!("/sys/fs/cgroup/{name}")).ok()?;
        text.trim().parse::<u64>().ok()
    };
    let container = number("memory.max").zip(number("memory.current"));
    let container = container.map_or(u64::MAX, |(max, current)| max.saturating_sub(current));
    Some(machine.min(container))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_is_found_by_its_address() {
        let (mapping, offsets) = store(&[b"one", &[7; 100], b""]).unwrap();
        assert_eq!(offsets, [0, 64, 192]);
        let buffer = mapping.buffer(offsets[1] + 10, 50).unwrap();
        assert_eq!(buffer.as_slice(), [7; 50]);
        let (found, offset) = Mapping::find(&buffer).unwrap();
        assert!(Arc::ptr_eq(&found, &mapping));
        assert_eq!(offset, 74);
        assert!(Mapping::find(&[7; 50]).is_none());
        assert!(mapping.buffer(190, 100).is_err());
    }

    #[test]
    fn a_buffer_outlives_its_mapping_and_frees_it() {
        let (mapping, _) = store(&[b"abc"]).unwrap();
        let weak = Arc::downgrade(&mapping);
        let buffer = mapping.buffer(0, 3).unwrap();
        drop(mapping);
        assert_eq!(buffer.as_slice(), b"abc");
        drop(buffer);
        assert!(weak.upgrade().is_none());
    }

    #[test]
    fn nobody_writes_what_is_sealed() {
        let (mapping, _) = store(&[b"abc"]).unwrap();
        let error = mapping.file().write_at(b"x", 0).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EPERM));
        assert!(mapping.file().set_len(1).is_err());
    }

    #[test]
    fn what_is_not_sealed_is_refused() {
        let file = memory_file().unwrap();
        file.set_len(64).unwrap();
        assert!(Mapping::open(file).is_err());
    }

    #[test]
    fn more_than_there_is_is_refused() {
        let error = check_room(1 << 60).unwrap_err().to_string();
        assert!(
            error.starts_with("Sharing this takes 1152921504.6 GB, and"),
            "{error}"
        );
    }
}
