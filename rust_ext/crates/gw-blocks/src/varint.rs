//! Integers of variable length: seven bits a byte, the lowest first; signed ones zigzagged.

use crate::{BlockError, bits};

pub fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub fn put_signed(out: &mut Vec<u8>, value: i64) {
    put(out, zigzag(value));
}

/// The bytes that `put` takes.
pub fn size(value: u64) -> usize {
    (bits::width(value) as usize).div_ceil(7).max(1)
}

/// The bytes that `put_signed` takes.
pub fn size_signed(value: i64) -> usize {
    size(zigzag(value))
}

/// Reads from the front of `data` and leaves it behind what was read.
pub fn take(data: &mut &[u8]) -> Result<u64, BlockError> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = data.split_first().ok_or(BlockError::Damaged("it ends within a number"))?;
        *data = rest;
        let part = u64::from(byte & 0x7f);
        if shift == 63 && part > 1 {
            break;
        }
        value |= part << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(BlockError::Damaged("a number has more than 64 bits"))
}

pub fn take_signed(data: &mut &[u8]) -> Result<i64, BlockError> {
    take(data).map(unzigzag)
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

pub fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_put_is_taken(value: i64, more: u8) {
            let mut bytes = Vec::new();
            put_signed(&mut bytes, value);
            bytes.push(more);
            let mut rest = bytes.as_slice();
            prop_assert_eq!(take_signed(&mut rest), Ok(value));
            prop_assert_eq!(rest, &[more]);
        }
    }

    #[test]
    fn numbers_without_end_are_refused() {
        assert!(take(&mut [0xff; 10].as_slice()).is_err());
        assert!(take(&mut [0xff; 9].as_slice()).is_err());
        assert!(take(&mut [].as_slice()).is_err());
    }
}
