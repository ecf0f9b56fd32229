//! ZeroMQ as far as a kernel needs it: ZMTP 3.0 with the mechanisms NULL and
//! CURVE, ROUTER and XPUB sockets.
//!
//! It is ours because strangers can send to it, and because one front end that
//! stops reading must not cost the others a message. No library does all of this:
//! it speaks CURVE, reserves only what has arrived, and bounds its queues in bytes.
//! `docs/kernel.md` compares them in "Why not a ZeroMQ library".

#[cfg(test)]
mod allocations;
#[cfg(test)]
mod claims;
pub(crate) mod curve;
mod curve_handshake;
pub(crate) mod handshake;
mod listener;
mod peers;
pub(crate) mod publisher;
pub(crate) mod router;
pub(crate) mod zmtp;
