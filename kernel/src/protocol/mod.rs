//! Jupyter's messages and channels, from the connection file to `input()`.
//! <https://jupyter-client.readthedocs.io/en/stable/messaging.html>

pub(crate) mod channels;
pub(crate) mod connection;
pub(crate) mod control;
mod iopub;
mod kernel_info;
pub(crate) mod message;
mod rejection_log;
pub(crate) mod request_queues;
pub(crate) mod shell;
pub(crate) mod signer;
pub(crate) mod sockets;
pub(crate) mod stdin;
mod streams;
