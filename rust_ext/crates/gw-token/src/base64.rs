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

/// The value of one character in 0..=63, or 64 where it is not in the alphabet.
#[inline]
fn value(c: u8) -> u8 {
    let within = |low: u8, high: u8| u8::from(c.wrapping_sub(low) <= high - low).wrapping_neg();
    let (upper, lower, digit) = (within(b'A', b'Z'), within(b'a', b'z'), within(b'0', b'9'));
    let (dash, underscore) = (within(b'-', b'-'), within(b'_', b'_'));
    (upper & c.wrapping_sub(65))
        | (lower & c.wrapping_sub(71))
        | (digit & c.wrapping_add(4))
        | (dash & 62)
        | (underscore & 63)
        | (!(upper | lower | digit | dash | underscore) & 64)
}

/// The 32 bytes that `text` stands for.
///
/// # Errors
/// `Malformed` for any other length, alphabet or non-canonical last character.
#[inline]
pub fn decode(text: &[u8]) -> Result<[u8; 32], TokenError> {
    let text: &[u8; LENGTH] = text.try_into().map_err(|_| TokenError::Malformed)?;
    // Padded with the character for zero to three times sixteen: the loop compiles to vectors without a remainder.
    let mut values = [b'A'; 48];
    values[..LENGTH].copy_from_slice(text);
    for slot in &mut values {
        *slot = value(*slot);
    }
    let unknown = values.iter().fold(0, |seen, v| seen | v) & 64;
    let mut bytes = [0u8; 33];
    for (three, four) in bytes.chunks_exact_mut(3).zip(values.chunks_exact(4)) {
        let bits = four.iter().fold(0u32, |bits, v| bits << 6 | u32::from(*v));
        three.copy_from_slice(&bits.to_be_bytes()[1..]);
    }
    // 43 characters carry two bits more than 32 bytes: they must be zero.
    let [token @ .., rest] = bytes;
    if unknown | rest == 0 { Ok(token) } else { Err(TokenError::Malformed) }
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
