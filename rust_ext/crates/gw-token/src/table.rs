//! Live tokens by MAC.

use crate::{MacKey, TokenError, decode};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};

/// What a live token stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The number of whom the token speaks for: a node id, an API token's id.
    pub subject: u64,
    /// UTC nanoseconds from which on it opens nothing.
    pub expires: i64,
}

/// A MAC as a key: compared in constant time (as `blake3::Hash` does), spread by its first bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Mac(blake3::Hash);

impl Mac {
    fn new(bytes: [u8; 32]) -> Self {
        Self(blake3::Hash::from_bytes(bytes))
    }
}

impl Hash for Mac {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [a, b, c, d, e, f, g, h, ..] = *self.0.as_bytes();
        state.write_u64(u64::from_le_bytes([a, b, c, d, e, f, g, h]));
    }
}

/// MACs are uniformly distributed and not for an attacker to choose: what they write is the hash.
#[derive(Default)]
struct AsWritten(u64);

impl Hasher for AsWritten {
    fn write_u64(&mut self, first: u64) {
        self.0 = first;
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |hash, byte| hash.rotate_left(8) ^ u64::from(*byte));
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Tokens by MAC under one key.
pub struct TokenTable {
    key: MacKey,
    entries: HashMap<Mac, Entry, BuildHasherDefault<AsWritten>>,
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
        self.entries.insert(Mac::new(mac), entry);
    }

    /// Forgets an entry; says whether there was one.
    pub fn remove(&mut self, mac: &[u8; 32]) -> bool {
        self.entries.remove(&Mac::new(*mac)).is_some()
    }

    /// What `text` stands for at `now` (UTC nanoseconds).
    ///
    /// # Errors
    /// `Malformed`, `Unknown`, `Expired`.
    #[inline]
    pub fn check(&self, text: &[u8], now: i64) -> Result<Entry, TokenError> {
        let mac = self.mac(text)?;
        let entry = self.entries.get(&Mac::new(mac)).ok_or(TokenError::Unknown)?;
        if now >= entry.expires { Err(TokenError::Expired) } else { Ok(*entry) }
    }

    /// Forgets what has expired at `now`; the MACs that went.
    pub fn sweep(&mut self, now: i64) -> Vec<[u8; 32]> {
        self.entries.extract_if(|_, entry| now >= entry.expires).map(|(mac, _)| *mac.0.as_bytes()).collect()
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
