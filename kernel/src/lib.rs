//! The Jupyter protocol: five sockets, signatures, routing. It knows no
//! language: what a kernel does with a request is up to whoever takes it from
//! [`Kernel::main_lane`].
//!
//! Threads of its own own the sockets, so the heartbeat, `kernel_info` and
//! interrupts are answered while a cell computes.

mod capture;
mod connection;
mod control;
mod curve;
mod death;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod iopub;
mod kernel;
mod lane;
mod log;
mod message;
mod peer;
mod processes;
mod publisher;
mod refusals;
mod router;
mod stdin;
mod zmtp;

pub use connection::{Connection, ConnectionError};
pub use kernel::{Kernel, KernelError};
pub use lane::Lane;
pub use message::{Channel, Header, Message, NO_PARENT, Parent, Signer, WireError};
pub use stdin::Input;
