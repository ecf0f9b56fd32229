//! The part of ZeroMQ that a kernel needs: ZMTP 3.0 with the mechanisms NULL and
//! CURVE, ROUTER and XPUB sockets.
//!
//! We wrote it because anybody can send to a kernel, and because one front end that
//! stops reading must not cost the others a message. No library does all of this:
//! it needs CURVE, memory only for data that has arrived, and queues limited in
//! bytes. `docs/kernel.md` compares libraries in "Why not a ZeroMQ library".

#[cfg(test)]
mod announced_frames;
#[cfg(test)]
mod counting_allocator;
pub(crate) mod curve;
mod curve_handshake;
pub(crate) mod handshake;
mod listener;
mod peers;
pub(crate) mod publisher;
pub(crate) mod router;
pub(crate) mod zmtp;
