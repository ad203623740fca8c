//! Columns of floating-point numbers. Most measurements are decimals with few places: those become integers (the idea
//! of ALP, Afroozeh, Kuffó and Boncz 2023), with the few others listed beside them. Where too many are no such decimal,
//! each is combined with the one before by exclusive or, and the bytes are laid out by significance for zstd.

use crate::error::BlockError;
use crate::{integers, varint};

const DECIMALS: u8 = 0;
const BITS: u8 = 1;

const POWERS: [f64; 11] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10];
/// Integers below this are exact as floating-point numbers.
const EXACT: f64 = 9_007_199_254_740_992.0;
/// Of how many values the number of places is guessed.
const SAMPLE: usize = 64;
/// One value in so many may be none of the decimals.
const EXCEPTIONS: usize = 8;

pub fn encode(out: &mut Vec<u8>, values: &[f64]) {
    if values.is_empty() {
        return;
    }
    let places = places(values);
    let mut others = Vec::new();
    let mut decimals = Vec::with_capacity(values.len());
    for (at, value) in values.iter().enumerate() {
        decimals.push(decimal(*value, places).unwrap_or_else(|| {
            others.push(at);
            decimals.last().copied().unwrap_or(0)
        }));
    }
    if others.len() * EXCEPTIONS > values.len() {
        out.push(BITS);
        put_bits(out, values);
        return;
    }
    out.push(DECIMALS);
    out.push(places as u8);
    varint::put(out, others.len() as u64);
    let mut next = 0;
    for at in others {
        varint::put(out, (at - next) as u64);
        out.extend(values[at].to_le_bytes());
        next = at + 1;
    }
    integers::encode(out, &decimals);
}

/// Reads `rows` numbers from the front of `data`, which ends in `bits::PADDING` bytes that are not theirs.
pub fn decode(data: &mut &[u8], rows: usize) -> Result<Vec<f64>, BlockError> {
    if rows == 0 {
        return Ok(Vec::new());
    }
    match byte(data)? {
        DECIMALS => take_decimals(data, rows),
        BITS => take_bits(data, rows),
        _ => Err(BlockError::Damaged("numbers of an unknown form")),
    }
}

fn take_decimals(data: &mut &[u8], rows: usize) -> Result<Vec<f64>, BlockError> {
    let power = *POWERS.get(usize::from(byte(data)?)).ok_or(BlockError::Damaged("decimals of too many places"))?;
    let count = varint::take(data)?;
    if count > rows as u64 {
        return Err(BlockError::Damaged("more exceptions than rows"));
    }
    let mut others = Vec::with_capacity(count as usize);
    let mut next = 0;
    for _ in 0..count {
        let skipped = varint::take(data)?;
        let at = usize::try_from(skipped).ok().and_then(|skipped| skipped.checked_add(next)).filter(|at| *at < rows);
        let at = at.ok_or(BlockError::Damaged("an exception beyond the rows"))?;
        let (bytes, rest) = data.split_first_chunk().ok_or(BlockError::Damaged("it ends within an exception"))?;
        *data = rest;
        others.push((at, f64::from_le_bytes(*bytes)));
        next = at + 1;
    }
    let mut values: Vec<f64> = integers::decode(data, rows)?.into_iter().map(|value| value as f64 / power).collect();
    for (at, value) in others {
        values[at] = value;
    }
    Ok(values)
}

/// The value as a whole number of the unit with so many places, if that is exactly it.
fn decimal(value: f64, places: usize) -> Option<i64> {
    let scaled = (value * POWERS[places]).round();
    let fits = scaled.abs() < EXACT && (scaled / POWERS[places]).to_bits() == value.to_bits();
    fits.then_some(scaled as i64).filter(|whole| *whole != 0 || value.to_bits() == 0)
}

/// The least number of places with the fewest exceptions in a sample.
fn places(values: &[f64]) -> usize {
    let step = (values.len() / SAMPLE).max(1);
    let misses = |places: &usize| {
        values.iter().step_by(step).take(SAMPLE).filter(|value| decimal(**value, *places).is_none()).count()
    };
    (0..POWERS.len()).min_by_key(misses).expect("some powers")
}

fn put_bits(out: &mut Vec<u8>, values: &[f64]) {
    let start = out.len();
    let rows = values.len();
    out.resize(start + rows * 8, 0);
    let mut before = 0;
    for (at, value) in values.iter().enumerate() {
        let bits = value.to_bits();
        for (plane, byte) in (bits ^ before).to_le_bytes().into_iter().enumerate() {
            out[start + plane * rows + at] = byte;
        }
        before = bits;
    }
}

fn take_bits(data: &mut &[u8], rows: usize) -> Result<Vec<f64>, BlockError> {
    let (mine, rest) = data.split_at_checked(rows * 8).ok_or(BlockError::Damaged("it ends within numbers"))?;
    *data = rest;
    let mut before = 0;
    let value = |at: usize| {
        let bytes = std::array::from_fn(|plane| mine[plane * rows + at]);
        before ^= u64::from_le_bytes(bytes);
        f64::from_bits(before)
    };
    Ok((0..rows).map(value).collect())
}

fn byte(data: &mut &[u8]) -> Result<u8, BlockError> {
    let (&byte, rest) = data.split_first().ok_or(BlockError::Damaged("it ends before a form"))?;
    *data = rest;
    Ok(byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bits;
    use proptest::prelude::*;

    fn round_trip(values: &[f64]) -> usize {
        let mut bytes = Vec::new();
        encode(&mut bytes, values);
        let size = bytes.len();
        bytes.extend([7; bits::PADDING]);
        let mut rest = bytes.as_slice();
        let found = decode(&mut rest, values.len()).unwrap();
        let as_bits = |values: &[f64]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        assert_eq!(as_bits(&found), as_bits(values));
        assert_eq!(rest, [7; bits::PADDING]);
        size
    }

    proptest! {
        #[test]
        fn any_numbers_come_back(values in prop::collection::vec(prop::num::f64::ANY, 0..300)) {
            round_trip(&values);
        }

        #[test]
        fn decimals_come_back(values in prop::collection::vec(-1_000_000i64..1_000_000, 0..300), places in 0usize..6) {
            round_trip(&values.iter().map(|value| *value as f64 / POWERS[places]).collect::<Vec<_>>());
        }

        #[test]
        fn arbitrary_bytes_are_an_answer_or_an_error(data: Vec<u8>, rows in 0usize..1000) {
            let _ = decode(&mut data.as_slice(), rows);
        }
    }

    #[test]
    fn strange_ones_among_decimals() {
        let mut values = vec![0.25; 100];
        (values[3], values[4], values[5], values[99]) = (f64::NAN, -0.0, f64::INFINITY, 1e300);
        assert!(round_trip(&values) < 100);
        assert!(round_trip(&vec![0.1; 1000]) < 30);
    }
}
