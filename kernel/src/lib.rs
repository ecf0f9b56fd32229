//! The Jupyter protocol: five sockets, signatures, routing. It knows no
//! language: what a kernel does with a request is up to whoever takes it from
//! [`Kernel::next_request`].
//!
//! Threads of its own own the sockets, so the heartbeat, `kernel_info` and
//! interrupts are answered while a cell computes.

mod connection;
mod control;
mod iopub;
mod kernel;
mod message;
mod requests;
mod sockets;
mod stdin;

pub use connection::{Connection, ConnectionError};
pub use kernel::{Kernel, KernelError};
pub use message::{Header, Message, NO_PARENT, Parent, Signer, WireError};
pub use stdin::Input;
