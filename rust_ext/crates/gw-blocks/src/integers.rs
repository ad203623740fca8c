//! Columns of integers: as distances from the first, divided by what divides them all, then plain, as differences or as
//! differences of differences, then as runs or bit-packed in groups (`groups`).

use crate::error::BlockError;
use crate::{groups, varint};

const PLAIN: u8 = 0;
const DELTAS: u8 = 1;
const SECOND_DELTAS: u8 = 2;
const RUNS: u8 = 3;

pub fn encode(out: &mut Vec<u8>, values: &[i64]) {
    let Some(&first) = values.first() else { return };
    let (origin, scale) = frame(values, first);
    varint::put_signed(out, origin);
    varint::put(out, scale);
    let reduced: Vec<i64> = values.iter().map(|value| value.wrapping_sub(origin) / scale as i64).collect();
    let deltas = differences(&reduced);
    let seconds = differences(&deltas);
    let sizes = [
        (groups::size(&reduced), PLAIN),
        (groups::size(&deltas), DELTAS),
        (groups::size(&seconds) + 10, SECOND_DELTAS),
        (runs_size(&reduced), RUNS),
    ];
    let (_, form) = *sizes.iter().min().expect("four forms");
    out.push(form);
    match form {
        PLAIN => groups::pack(out, &reduced),
        RUNS => put_runs(out, &reduced),
        _ => {
            varint::put_signed(out, reduced[0]);
            if form == DELTAS {
                groups::pack(out, &deltas);
            } else {
                varint::put_signed(out, deltas.first().copied().unwrap_or(0));
                groups::pack(out, &seconds);
            }
        }
    }
}

/// Reads `rows` integers from the front of `data`, which ends in `bits::PADDING` bytes that are not theirs.
pub fn decode(data: &mut &[u8], rows: usize) -> Result<Vec<i64>, BlockError> {
    if rows == 0 {
        return Ok(Vec::new());
    }
    let origin = varint::take_signed(data)?;
    let scale = varint::take(data)? as i64;
    let (&form, rest) = data.split_first().ok_or(BlockError::Damaged("it ends before a form"))?;
    *data = rest;
    let mut values = Vec::with_capacity(rows);
    match form {
        PLAIN => groups::unpack(data, rows, |value| values.push(value))?,
        DELTAS => {
            let mut sum = varint::take_signed(data)?;
            values.push(sum);
            groups::unpack(data, rows - 1, |delta| {
                sum = sum.wrapping_add(delta);
                values.push(sum);
            })?;
        }
        SECOND_DELTAS => {
            let mut sum = varint::take_signed(data)?;
            let mut delta = varint::take_signed(data)?;
            values.push(sum);
            if rows > 1 {
                sum = sum.wrapping_add(delta);
                values.push(sum);
                groups::unpack(data, rows - 2, |second| {
                    delta = delta.wrapping_add(second);
                    sum = sum.wrapping_add(delta);
                    values.push(sum);
                })?;
            }
        }
        RUNS => take_runs(data, rows, &mut values)?,
        _ => return Err(BlockError::Damaged("integers of an unknown form")),
    }
    if (origin, scale) != (0, 1) {
        values.iter_mut().for_each(|value| *value = value.wrapping_mul(scale).wrapping_add(origin));
    }
    Ok(values)
}

/// From where and in what unit the values count. Where a distance does not fit 64 bits: as they are.
fn frame(values: &[i64], first: i64) -> (i64, u64) {
    let mut unit = 0;
    for value in values {
        let Some(distance) = value.checked_sub(first).filter(|distance| *distance != i64::MIN) else { return (0, 1) };
        if unit != 1 {
            unit = gcd(unit, distance.unsigned_abs());
        }
    }
    (first, unit.max(1))
}

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

fn differences(values: &[i64]) -> Vec<i64> {
    values.windows(2).map(|pair| pair[1].wrapping_sub(pair[0])).collect()
}

fn runs(values: &[i64]) -> impl Iterator<Item = (i64, usize)> {
    values.chunk_by(|a, b| a == b).map(|run| (run[0], run.len()))
}

fn runs_size(values: &[i64]) -> usize {
    runs(values).map(|(value, length)| varint::size_signed(value) + varint::size(length as u64)).sum()
}

fn put_runs(out: &mut Vec<u8>, values: &[i64]) {
    for (value, length) in runs(values) {
        varint::put_signed(out, value);
        varint::put(out, length as u64);
    }
}

fn take_runs(data: &mut &[u8], rows: usize, values: &mut Vec<i64>) -> Result<(), BlockError> {
    while values.len() < rows {
        let value = varint::take_signed(data)?;
        let length = varint::take(data)?;
        if length == 0 || length > (rows - values.len()) as u64 {
            return Err(BlockError::Damaged("a run of values has no or too many of them"));
        }
        values.resize(values.len() + length as usize, value);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bits;
    use proptest::prelude::*;

    fn round_trip(values: &[i64]) -> usize {
        let mut bytes = Vec::new();
        encode(&mut bytes, values);
        let size = bytes.len();
        bytes.extend([7; bits::PADDING]);
        let mut rest = bytes.as_slice();
        assert_eq!(decode(&mut rest, values.len()).unwrap(), values);
        assert_eq!(rest, [7; bits::PADDING]);
        size
    }

    proptest! {
        #[test]
        fn any_integers_come_back(values: Vec<i64>) {
            round_trip(&values);
        }

        #[test]
        fn steady_ones_come_back(start: i64, step in -1_000_000i64..1_000_000, noise in prop::collection::vec(0i64..9, 0..600)) {
            let at = |(at, more): (usize, &i64)| start.wrapping_add(step.wrapping_mul(at as i64)).wrapping_add(*more);
            round_trip(&noise.iter().enumerate().map(at).collect::<Vec<_>>());
        }

        #[test]
        fn arbitrary_bytes_are_an_answer_or_an_error(data: Vec<u8>, rows in 0usize..1000) {
            let _ = decode(&mut data.as_slice(), rows);
        }
    }

    #[test]
    fn each_form_is_small_where_it_fits() {
        let clock: Vec<i64> = (0..1000).map(|at| 1_700_000_000_000_000_000 + at * 30_000_000_000).collect();
        assert!(round_trip(&clock) < 60);
        assert!(round_trip(&vec![5; 1000]) < 12);
        let states: Vec<i64> = (0..1000).map(|at| at / 100 % 3).collect();
        assert!(round_trip(&states) < 40);
        let rounded: Vec<i64> = (0..1000).map(|at| (at * 7919 % 64) * 1_000_000).collect();
        assert!(round_trip(&rounded) < 800);
    }

    #[test]
    fn the_ends_of_the_range() {
        round_trip(&[i64::MIN, i64::MAX, 0, -1, i64::MIN, i64::MIN]);
        round_trip(&[i64::MAX]);
        round_trip(&[0, i64::MIN]);
        round_trip(&[-1, i64::MAX]);
    }
}
