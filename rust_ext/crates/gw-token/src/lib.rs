//! Bearer tokens: 256 random bits as URL-safe base64, kept only as keyed BLAKE3 MACs.
//!
//! A token is looked up by its MAC and compared in constant time. Nothing here draws random bits or reads a clock.
#![deny(unsafe_code)]

mod base64;
mod table;

pub use base64::{decode, encode};
pub use table::{Entry, TokenTable};

/// Why a token opens nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("the token is malformed: expected 43 characters of URL-safe base64")]
    Malformed,
    #[error("the token is unknown")]
    Unknown,
    #[error("the token has expired")]
    Expired,
}

/// A MAC key. Zeroised when dropped.
#[derive(Clone, zeroize::Zeroize, zeroize::ZeroizeOnDrop)]
pub struct MacKey([u8; 32]);

impl MacKey {
    #[must_use]
    pub fn new(key: [u8; 32]) -> Self {
        Self(key)
    }

    /// Keyed BLAKE3 of the raw token.
    #[must_use]
    pub fn mac(&self, token: &[u8; 32]) -> [u8; 32] {
        *blake3::keyed_hash(&self.0, token).as_bytes()
    }
}

/// BLAKE3 of `data`, 32 bytes.
#[must_use]
pub fn hash(data: &[u8]) -> [u8; 32] {
    *blake3::hash(data).as_bytes()
}

/// Keyed BLAKE3 of `data`, 32 bytes.
#[must_use]
pub fn keyed_hash(key: &[u8; 32], data: &[u8]) -> [u8; 32] {
    *blake3::keyed_hash(key, data).as_bytes()
}

/// BLAKE3's key derivation (`derive_key` mode).
#[must_use]
pub fn derive_key(context: &str, material: &[u8]) -> [u8; 32] {
    blake3::derive_key(context, material)
}
