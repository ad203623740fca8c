//! Live tokens by MAC.

use crate::{MacKey, TokenError, decode};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use subtle::ConstantTimeEq;

/// What a live token stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The number of whom the token speaks for: a node id, an API token's id.
    pub subject: u64,
    /// UTC nanoseconds from which on it opens nothing.
    pub expires: i64,
}

/// MACs are uniformly distributed and not for an attacker to choose: their first bytes are the hash.
#[derive(Default)]
struct FirstBytes(u64);

impl Hasher for FirstBytes {
    fn write(&mut self, bytes: &[u8]) {
        let mut first = [0u8; 8];
        let n = bytes.len().min(8);
        first[..n].copy_from_slice(&bytes[..n]);
        self.0 ^= u64::from_le_bytes(first);
    }

    fn write_usize(&mut self, _length: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Tokens by MAC under one key.
pub struct TokenTable {
    key: MacKey,
    entries: HashMap<[u8; 32], ([u8; 32], Entry), BuildHasherDefault<FirstBytes>>,
}

impl TokenTable {
    #[must_use]
    pub fn new(key: MacKey) -> Self {
        Self { key, entries: HashMap::default() }
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The MAC under which a token is kept.
    ///
    /// # Errors
    /// `Malformed`.
    pub fn mac(&self, text: &[u8]) -> Result<[u8; 32], TokenError> {
        Ok(self.key.mac(&decode(text)?))
    }

    /// Keeps (or replaces) an entry.
    pub fn insert(&mut self, mac: [u8; 32], entry: Entry) {
        self.entries.insert(mac, (mac, entry));
    }

    /// Forgets an entry; says whether there was one.
    pub fn remove(&mut self, mac: &[u8; 32]) -> bool {
        self.entries.remove(mac).is_some()
    }

    /// What `text` stands for at `now` (UTC nanoseconds).
    ///
    /// # Errors
    /// `Malformed`, `Unknown`, `Expired`.
    #[inline]
    pub fn check(&self, text: &[u8], now: i64) -> Result<Entry, TokenError> {
        let mac = self.mac(text)?;
        let (kept, entry) = self.entries.get(&mac).ok_or(TokenError::Unknown)?;
        if !bool::from(kept.ct_eq(&mac)) {
            return Err(TokenError::Unknown);
        }
        if now >= entry.expires { Err(TokenError::Expired) } else { Ok(*entry) }
    }

    /// Forgets what has expired at `now`; the MACs that went.
    pub fn sweep(&mut self, now: i64) -> Vec<[u8; 32]> {
        let gone: Vec<_> = self.entries.iter().filter(|(_, (_, e))| now >= e.expires).map(|(mac, _)| *mac).collect();
        for mac in &gone {
            self.entries.remove(mac);
        }
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode;

    fn table() -> TokenTable {
        TokenTable::new(MacKey::new([7; 32]))
    }

    #[test]
    fn a_token_opens_until_it_expires() {
        let mut table = table();
        let text = encode(&[9; 32]);
        assert_eq!(table.check(text.as_bytes(), 0), Err(TokenError::Unknown));
        let mac = table.mac(text.as_bytes()).unwrap();
        let entry = Entry { subject: 5, expires: 10 };
        table.insert(mac, entry);
        assert_eq!(table.check(text.as_bytes(), 9), Ok(entry));
        assert_eq!(table.check(text.as_bytes(), 10), Err(TokenError::Expired));
        assert_eq!(table.sweep(9), Vec::<[u8; 32]>::new());
        assert_eq!(table.sweep(10), vec![mac]);
        assert_eq!(table.check(text.as_bytes(), 0), Err(TokenError::Unknown));
        assert!(!table.remove(&mac));
    }

    #[test]
    fn another_key_is_another_mac() {
        let text = encode(&[9; 32]);
        let other = TokenTable::new(MacKey::new([8; 32]));
        assert_ne!(table().mac(text.as_bytes()), other.mac(text.as_bytes()));
    }
}
