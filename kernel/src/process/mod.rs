//! The process that a kernel runs in: what it writes, takes and starts, how it
//! crashes and ends.

pub(crate) mod capture;
pub(crate) mod children;
pub(crate) mod crashes;
pub(crate) mod lifetime;
pub(crate) mod log;
pub(crate) mod usage;
