//! The kernel's own process: its output, its resource usage, its child processes,
//! its crashes and its end.

pub(crate) mod capture;
pub(crate) mod children;
pub(crate) mod crashes;
pub(crate) mod lifetime;
pub(crate) mod log;
pub(crate) mod usage;
