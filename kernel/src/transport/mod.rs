//! ZeroMQ as far as a kernel needs it: ZMTP 3.0 with the mechanisms NULL and
//! CURVE, ROUTER and XPUB sockets. Why it is ours: `docs/kernel.md`, "Why not a
//! ZeroMQ library".

pub(crate) mod curve;
mod curve_handshake;
pub(crate) mod handshake;
mod listener;
mod peers;
pub(crate) mod publisher;
#[cfg(test)]
mod reserved;
pub(crate) mod router;
pub(crate) mod zmtp;
