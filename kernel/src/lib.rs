//! The Jupyter protocol: five sockets, signatures, routing. It knows no
//! language: what a kernel does with a request is up to whoever takes it from
//! [`Kernel::main_lane`].
//!
//! Threads of its own own the sockets, so the heartbeat, `kernel_info` and
//! interrupts are answered while a cell computes.
//!
//! [`Kernel`] puts together what is in three folders. `protocol` uses the other
//! two, which know neither each other nor Jupyter:
//!
//! | folder | what is in it |
//! |---|---|
//! | `protocol` | messages and signatures, the channels, what is answered without the language |
//! | `transport` | ZeroMQ: ZMTP, CURVE, ROUTER and XPUB sockets |
//! | `process` | output of file descriptors, crashes, child processes, usage, the end |

#![cfg_attr(test, allow(clippy::unwrap_used))]

#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod kernel;
mod process;
mod protocol;
mod transport;

pub use kernel::Kernel;
pub use protocol::connection::{Connection, ConnectionError};
pub use protocol::lanes::Lane;
pub use protocol::message::{Channel, Header, Message, NO_PARENT, Parent};
pub use protocol::signer::{Signer, WireError};
pub use protocol::sockets::KernelError;
pub use protocol::stdin::Input;
