//! Bit packing: numbers of one width, the lowest bit first.

use crate::BlockError;

/// What must follow packed numbers, so that each is read in one load.
pub const PADDING: usize = 16;

/// The bits that the largest of some numbers needs.
pub fn width(largest: u64) -> u32 {
    64 - largest.leading_zeros()
}

/// The bytes that `count` numbers of `width` bits take.
pub fn size(count: usize, width: u32) -> usize {
    (count * width as usize).div_ceil(8)
}

pub fn pack(out: &mut Vec<u8>, values: impl Iterator<Item = u64>, width: u32) {
    let (mut pending, mut held) = (0u128, 0);
    for value in values {
        pending |= u128::from(value) << held;
        held += width;
        while held >= 8 {
            out.push(pending as u8);
            pending >>= 8;
            held -= 8;
        }
    }
    if held > 0 {
        out.push(pending as u8);
    }
}

/// Reads `count` numbers from the front of `data`, which ends in `PADDING` bytes that are not theirs, and leaves it
/// behind what was read.
pub fn unpack(data: &mut &[u8], count: usize, width: u32, mut each: impl FnMut(u64)) -> Result<(), BlockError> {
    if width > 64 {
        return Err(BlockError::Damaged("a number has more than 64 bits"));
    }
    let bytes = size(count, width);
    if data.len() < bytes + PADDING {
        return Err(BlockError::Damaged("it ends within packed numbers"));
    }
    let (mine, rest) = (&data[..bytes + PADDING], &data[bytes..]);
    if width == 0 {
        (0..count).for_each(|_| each(0));
    } else if width <= 56 {
        let mask = (1u64 << width) - 1;
        for at in 0..count {
            let bit = at * width as usize;
            let start = bit >> 3;
            let word: [u8; 8] = mine[start..start + 8].try_into().expect("eight bytes");
            each(u64::from_le_bytes(word) >> (bit & 7) & mask);
        }
    } else {
        let mask = u64::MAX >> (64 - width);
        for at in 0..count {
            let bit = at * width as usize;
            let start = bit >> 3;
            let word: [u8; 16] = mine[start..start + 16].try_into().expect("sixteen bytes");
            each((u128::from_le_bytes(word) >> (bit & 7)) as u64 & mask);
        }
    }
    *data = rest;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_packed_is_unpacked(values: Vec<u64>, cut in 0u32..=64) {
            let values: Vec<u64> = values.iter().map(|value| value.checked_shr(cut).unwrap_or(0)).collect();
            let width = width(values.iter().copied().max().unwrap_or(0));
            let mut bytes = Vec::new();
            pack(&mut bytes, values.iter().copied(), width);
            prop_assert_eq!(bytes.len(), size(values.len(), width));
            bytes.extend([0xff; PADDING]);
            let (mut rest, mut found) = (bytes.as_slice(), Vec::new());
            unpack(&mut rest, values.len(), width, |value| found.push(value)).unwrap();
            prop_assert_eq!(found, values);
            prop_assert_eq!(rest, &[0xff; PADDING]);
        }
    }
}
