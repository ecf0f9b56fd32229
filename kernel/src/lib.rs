//! The Jupyter protocol: five sockets, signatures, routing. It knows no language:
//! whoever takes a request from [`Kernel::main_lane`] decides what to do with it.
//!
//! The sockets run on their own threads, so the heartbeat, `kernel_info` and
//! interrupts are answered while a cell is running.
//!
//! [`Kernel`] combines three folders. `protocol` uses the other two, which know
//! neither each other nor Jupyter:
//!
//! | folder | contents |
//! |---|---|
//! | `protocol` | messages and signatures, the channels, and replies that need no language |
//! | `transport` | ZeroMQ: ZMTP, CURVE, ROUTER and XPUB sockets |
//! | `process` | output of file descriptors, crashes, child processes, resource usage, shutdown |

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
pub use protocol::message::{Channel, Header, Message, NO_PARENT, Parent};
pub use protocol::request_queues::Lane;
pub use protocol::signer::{Signer, WireError};
pub use protocol::sockets::KernelError;
pub use protocol::stdin::Input;
