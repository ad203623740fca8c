//! URL-safe base64 of exactly 32 bytes, without padding (RFC 4648 section 5).
//!
//! Decoding takes the same time for every well-formed token: bit arithmetic, no table indexed by a secret.

use crate::TokenError;

const LENGTH: usize = 43;

/// The 43 characters of `token`.
#[must_use]
pub fn encode(token: &[u8; 32]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::with_capacity(LENGTH);
    for chunk in token.chunks(3) {
        let bits = chunk.iter().enumerate().fold(0u32, |acc, (i, b)| acc | u32::from(*b) << (16 - 8 * i));
        for i in 0..=chunk.len() {
            text.push(char::from(ALPHABET[(bits >> (18 - 6 * i) & 63) as usize]));
        }
    }
    text
}

/// The value of one character in 0..=63, or a value above 63 where it is not in the alphabet.
#[inline]
fn value(character: u8) -> u32 {
    let c = i32::from(character);
    // `inside(lo, hi)` is all ones when lo <= c <= hi and zero otherwise.
    let inside = |lo: i32, hi: i32| ((lo - 1 - c) & (c - hi - 1)) >> 31;
    let upper = inside(65, 90) & (c - 65);
    let lower = inside(97, 122) & (c - 71);
    let digit = inside(48, 57) & (c + 4);
    let dash = inside(45, 45) & 62;
    let underscore = inside(95, 95) & 63;
    let known = inside(65, 90) | inside(97, 122) | inside(48, 57) | inside(45, 45) | inside(95, 95);
    (upper | lower | digit | dash | underscore | (!known & 64)) as u32
}

/// The 32 bytes that `text` stands for.
///
/// # Errors
/// `Malformed` for any other length, alphabet or non-canonical last character.
pub fn decode(text: &[u8]) -> Result<[u8; 32], TokenError> {
    if text.len() != LENGTH {
        return Err(TokenError::Malformed);
    }
    let mut token = [0u8; 32];
    let mut bad = 0u32;
    for (i, quad) in text.chunks(4).enumerate() {
        let mut bits = 0u32;
        for (j, character) in quad.iter().enumerate() {
            let v = value(*character);
            bad |= v >> 6;
            bits |= (v & 63) << (18 - 6 * j);
        }
        let bytes = bits.to_be_bytes();
        if quad.len() == 4 {
            token[3 * i..3 * i + 3].copy_from_slice(&bytes[1..]);
        } else {
            // Three characters carry two bytes; the two bits left over must be zero.
            token[3 * i..3 * i + 2].copy_from_slice(&bytes[1..3]);
            bad |= u32::from(bytes[3]);
        }
    }
    if bad == 0 { Ok(token) } else { Err(TokenError::Malformed) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_token_comes_back(token: [u8; 32]) {
            prop_assert_eq!(decode(encode(&token).as_bytes()), Ok(token));
        }

        #[test]
        fn decoding_is_canonical(text in "[A-Za-z0-9_-]{43}") {
            if let Ok(token) = decode(text.as_bytes()) {
                prop_assert_eq!(encode(&token), text);
            }
        }

        #[test]
        fn anything_else_is_malformed(text: Vec<u8>) {
            let well_formed = text.len() == LENGTH
                && text.iter().all(|c| c.is_ascii_alphanumeric() || *c == b'-' || *c == b'_');
            prop_assert!(well_formed || decode(&text) == Err(TokenError::Malformed));
        }
    }
}
