//! Where datasets lie: folders, buckets, memory.

mod address;
mod place;
mod retry;

pub use self::place::Place;
pub(crate) use self::place::remove_folder;
