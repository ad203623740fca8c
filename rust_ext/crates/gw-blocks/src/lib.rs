//! Typed column blocks, packed, sealed, and kept decoded in a cache.
//!
//! A block holds some hundred to some thousand rows of a series as columns. Each column is coded by what it holds
//! (`integers`, `reals`, `texts`), the whole is compressed with zstd and sealed under its place (`seal`). Nothing here
//! draws random bits or reads a clock.
#![deny(unsafe_code)]

mod bits;
mod block;
mod cache;
mod error;
mod groups;
mod integers;
mod reals;
mod seal;
mod texts;
mod varint;

pub use block::{Block, Column, MOST_BODY_BYTES, MOST_PLAIN_BYTES};
pub use cache::{Cache, Counters, Slot};
pub use error::BlockError;
pub use seal::{Cipher, Place, Sealer};
pub use texts::Texts;
