//! Places where datasets are stored: folders, buckets, memory.

mod address;
mod local_folder;
mod place;
mod retry;

pub(crate) use self::local_folder::remove_folder;
pub use self::place::Place;
