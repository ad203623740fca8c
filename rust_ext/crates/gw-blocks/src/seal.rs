//! Sealed blocks: bound to their database, series, number and key version.
//!
//! A sealed block is the cipher (1 byte), the key version (4, little-endian), a nonce (12) and the ciphertext of the open
//! form with its tag. The associated data are the cipher and, each behind its length, database id, series, block number
//! and key version (the numbers little-endian): a block that stands elsewhere does not open.

use crate::block::Block;
use crate::error::BlockError;
use aes_gcm::aead::{AeadInPlace, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce, Tag};
use chacha20poly1305::ChaCha20Poly1305;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

const NONCE: usize = 12;
const HEAD: usize = 1 + 4 + NONCE;
const TAG: usize = 16;

/// What a block is sealed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cipher {
    Aes256Gcm = 1,
    ChaCha20Poly1305 = 2,
}

/// Where a block stands in its database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place<'a> {
    pub series: &'a [u8],
    pub number: u64,
}

/// Seals and opens the blocks of one database. Each series and key version has a key of its own: keyed BLAKE3 of the
/// version and the series under the secret. Zeroised when dropped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Sealer {
    database: Vec<u8>,
    secret: [u8; 32],
}

impl Sealer {
    #[must_use]
    pub fn new(database: &[u8], secret: [u8; 32]) -> Self {
        Self { database: database.to_vec(), secret }
    }

    /// The sealed form of a block. A nonce is random and never used twice.
    ///
    /// # Errors
    /// What `Block::pack` raises.
    pub fn seal(
        &self,
        block: &Block,
        place: Place<'_>,
        (cipher, version): (Cipher, u32),
        nonce: [u8; NONCE],
        level: i32,
    ) -> Result<Vec<u8>, BlockError> {
        let packed = block.pack(level)?;
        let mut sealed = Vec::with_capacity(HEAD + packed.len() + TAG);
        sealed.push(cipher as u8);
        sealed.extend(version.to_le_bytes());
        sealed.extend(nonce);
        sealed.extend_from_slice(&packed);
        let (key, context) = (self.key(place, version), self.context(place, cipher as u8, version));
        let body = &mut sealed[HEAD..];
        let nonce = Nonce::from(nonce);
        let tag = match cipher {
            Cipher::Aes256Gcm => Aes256Gcm::new((&*key).into()).encrypt_in_place_detached(&nonce, &context, body),
            Cipher::ChaCha20Poly1305 => {
                ChaCha20Poly1305::new((&*key).into()).encrypt_in_place_detached(&nonce, &context, body)
            }
        };
        sealed.extend(tag.map_err(|_| BlockError::Invalid("a block is too long to be sealed"))?);
        Ok(sealed)
    }

    /// The reverse of `seal`, for any bytes.
    ///
    /// # Errors
    /// `Sealed`, `Damaged`.
    pub fn open(&self, sealed: &[u8], place: Place<'_>) -> Result<Block, BlockError> {
        let (head, rest) = sealed.split_first_chunk::<HEAD>().ok_or(BlockError::Sealed)?;
        let (body, tag) = rest.split_last_chunk::<TAG>().ok_or(BlockError::Sealed)?;
        let [cipher, v0, v1, v2, v3, nonce @ ..] = *head;
        let version = u32::from_le_bytes([v0, v1, v2, v3]);
        let (key, context) = (self.key(place, version), self.context(place, cipher, version));
        let (nonce, tag) = (Nonce::from(nonce), Tag::from(*tag));
        let mut open = Zeroizing::new(body.to_vec());
        match cipher {
            1 => Aes256Gcm::new((&*key).into()).decrypt_in_place_detached(&nonce, &context, &mut open, &tag),
            2 => ChaCha20Poly1305::new((&*key).into()).decrypt_in_place_detached(&nonce, &context, &mut open, &tag),
            _ => return Err(BlockError::Sealed),
        }
        .map_err(|_| BlockError::Sealed)?;
        Block::unpack(&open)
    }

    fn key(&self, place: Place<'_>, version: u32) -> Zeroizing<[u8; 32]> {
        let mut hasher = blake3::Hasher::new_keyed(&self.secret);
        hasher.update(&version.to_le_bytes()).update(place.series);
        let key = Zeroizing::new(*hasher.finalize().as_bytes());
        hasher.zeroize();
        key
    }

    fn context(&self, place: Place<'_>, cipher: u8, version: u32) -> Vec<u8> {
        let mut context = vec![cipher];
        let (number, version) = (place.number.to_le_bytes(), version.to_le_bytes());
        for part in [self.database.as_slice(), place.series, &number, &version] {
            context.extend((part.len() as u64).to_le_bytes());
            context.extend_from_slice(part);
        }
        context
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Column;
    use proptest::prelude::*;

    const PLACE: Place<'_> = Place { series: b"series", number: 7 };
    const CIPHERS: [Cipher; 2] = [Cipher::Aes256Gcm, Cipher::ChaCha20Poly1305];

    fn sealer(database: &[u8]) -> Sealer {
        Sealer::new(database, [1; 32])
    }

    fn block() -> Block {
        Block::new(vec![Column::Integers((0..100).collect())]).unwrap()
    }

    fn sealed(cipher: Cipher) -> Vec<u8> {
        sealer(b"database").seal(&block(), PLACE, (cipher, 5), [9; 12], 3).unwrap()
    }

    #[test]
    fn it_opens_at_its_place_alone() {
        for bytes in CIPHERS.map(sealed) {
            let here = sealer(b"database");
            assert_eq!(here.open(&bytes, PLACE), Ok(block()));
            assert_eq!(here.open(&bytes, Place { number: 8, ..PLACE }), Err(BlockError::Sealed));
            assert_eq!(here.open(&bytes, Place { series: b"another", ..PLACE }), Err(BlockError::Sealed));
            assert_eq!(sealer(b"another").open(&bytes, PLACE), Err(BlockError::Sealed));
            assert_eq!(Sealer::new(b"database", [2; 32]).open(&bytes, PLACE), Err(BlockError::Sealed));
        }
    }

    #[test]
    fn parts_of_the_place_do_not_run_into_each_other() {
        let (one, other) = (sealer(b"ab"), sealer(b"a"));
        let context = |sealer: &Sealer, series| sealer.context(Place { series, number: 0 }, 1, 1);
        assert_ne!(context(&one, b"c"), context(&other, b"bc"));
    }

    #[test]
    fn a_flipped_bit_is_found_anywhere() {
        for bytes in CIPHERS.map(sealed) {
            for at in 0..bytes.len() * 8 {
                let mut changed = bytes.clone();
                changed[at / 8] ^= 1 << (at % 8);
                assert_eq!(sealer(b"database").open(&changed, PLACE), Err(BlockError::Sealed), "bit {at}");
            }
            for end in 0..bytes.len() {
                assert_eq!(sealer(b"database").open(&bytes[..end], PLACE), Err(BlockError::Sealed));
            }
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_do_not_open(bytes: Vec<u8>) {
            prop_assert_eq!(sealer(b"database").open(&bytes, PLACE), Err(BlockError::Sealed));
        }
    }
}
