//! The data plane of a node: WireGuard, with a TUN device or a TCP/IP stack in userspace.
//!
//! One thread runs one event loop ([`engine`](crate) in `engine.rs`): datagrams come in through `udp`, find their peer
//! and pass the inbound filter in `router`, and go on to one `side`: `device` hands them to the system, `proxy` ends TCP
//! over the tunnel in a userspace stack.
//! Calls from outside are closures handed to that thread, so nothing is locked and no packet leaves it.
//!
//! # Why boringtun
//! boringtun 0.7 and its fork gotatun 0.10 speak the protocol equally fast here (4.9 and 4.8 Gbit/s, encrypting and
//! decrypting 1,400-byte packets in one thread). boringtun's session works on the caller's buffers: a packet is
//! encrypted straight into the batch that leaves, without an allocation; gotatun allocates for each packet sent. It
//! also brings no async runtime, and its licence is BSD-3 rather than MPL-2.0. What gotatun has that boringtun lacks
//! is done outside of it: padding, refusing worn-out counters, several candidate endpoints, faster first retries.
//! Its receive window of 1,024 packets is smaller than the kernel's 8,192; one thread and batches in order need less.
#![deny(unsafe_code)]

mod allowed;
mod clock;
mod config;
mod device;
mod engine;
mod error;
#[cfg(test)]
mod hostile;
mod local;
mod peer;
mod ping;
mod proxy;
mod router;
mod sent;
mod session;
mod side;
mod socks;
mod stack;
mod tunnel;
mod udp;

pub use config::bytes_from_hex;
pub use error::TunnelError;
pub use peer::Flow;
pub use tunnel::{MAX_PING, Tunnel};
