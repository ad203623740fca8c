//! Bit packing in groups, each with a base and a width of its own.
//!
//! A group is its width (1 byte), the least of its values, and the distances from that. Where most of the
//! values are one and the same, as between bursts, it is shorter to say which those are: the width then carries
//! `MOSTLY_ONE`, and the value and a bit for each row, set for the others, stand before what is said of these.

use crate::error::BlockError;
use crate::{bits, varint};

const GROUP: usize = 128;
const MOSTLY_ONE: u8 = 0x80;

/// How a group is written.
struct Form {
    /// The value that is set apart, where one is.
    common: Option<i64>,
    /// The least of the others and the bits of their distance from it.
    least: i64,
    width: u32,
    size: usize,
}

/// The bytes that `pack` takes.
pub fn size(values: &[i64]) -> usize {
    values.chunks(GROUP).map(|group| form(group).size).sum()
}

pub fn pack(out: &mut Vec<u8>, values: &[i64]) {
    for group in values.chunks(GROUP) {
        let Form { common, least, width, .. } = form(group);
        let distance = |value: &i64| value.wrapping_sub(least) as u64;
        if let Some(common) = common {
            out.push(width as u8 | MOSTLY_ONE);
            varint::put_signed(out, common);
            bits::pack(out, group.iter().map(|value| u64::from(*value != common)), 1);
            varint::put_signed(out, least);
            bits::pack(out, group.iter().filter(|value| **value != common).map(distance), width);
        } else {
            out.push(width as u8);
            varint::put_signed(out, least);
            bits::pack(out, group.iter().map(distance), width);
        }
    }
}

/// Reads `count` integers from the front of `data`, which ends in `bits::PADDING` bytes that are not theirs.
pub fn unpack(data: &mut &[u8], count: usize, mut each: impl FnMut(i64)) -> Result<(), BlockError> {
    let mut left = count;
    while left > 0 {
        let (&head, rest) = data.split_first().ok_or(BlockError::Damaged("it ends before a group"))?;
        *data = rest;
        let here = left.min(GROUP);
        let width = u32::from(head & !MOSTLY_ONE);
        if head & MOSTLY_ONE == 0 {
            take(data, here, width, &mut each)?;
        } else {
            take_mostly_one(data, here, width, &mut each)?;
        }
        left -= here;
    }
    Ok(())
}

fn take(data: &mut &[u8], count: usize, width: u32, mut each: impl FnMut(i64)) -> Result<(), BlockError> {
    let least = varint::take_signed(data)?;
    bits::unpack(data, count, width, |distance| each(least.wrapping_add(distance as i64)))
}

fn take_mostly_one(data: &mut &[u8], count: usize, width: u32, mut each: impl FnMut(i64)) -> Result<(), BlockError> {
    let common = varint::take_signed(data)?;
    let (mut values, mut at) = ([common; GROUP], [0u8; GROUP]);
    let (mut row, mut count_others) = (0u8, 0);
    bits::unpack(data, count, 1, |other| {
        at[count_others] = row;
        count_others += other as usize;
        row += 1;
    })?;
    let mut places = at[..count_others].iter();
    take(data, count_others, width, |value| {
        if let Some(place) = places.next() {
            values[usize::from(*place)] = value;
        }
    })?;
    values[..count].iter().for_each(|value| each(*value));
    Ok(())
}

/// The shorter form of a group.
fn form(group: &[i64]) -> Form {
    let (least, width) = range(group.iter());
    let plain =
        Form { common: None, least, width, size: 1 + varint::size_signed(least) + bits::size(group.len(), width) };
    let common = majority(group);
    let others = group.iter().filter(|value| **value != common);
    let count = others.clone().count();
    if width <= 1 || 2 * count > group.len() {
        return plain;
    }
    let (least, width) = range(others);
    let size = 1 + varint::size_signed(common) + bits::size(group.len(), 1);
    let size = size + varint::size_signed(least) + bits::size(count, width);
    if size < plain.size { Form { common: Some(common), least, width, size } } else { plain }
}

/// The value that more than half of a group are, if any is (Boyer and Moore's vote); else one of them.
fn majority(group: &[i64]) -> i64 {
    let (mut candidate, mut votes) = (group[0], 0u32);
    for value in group {
        if votes == 0 {
            candidate = *value;
        }
        votes = if *value == candidate { votes + 1 } else { votes - 1 };
    }
    candidate
}

/// The least of some values and the bits of the others' distance from it.
fn range<'a>(mut values: impl Iterator<Item = &'a i64>) -> (i64, u32) {
    let Some(&first) = values.next() else { return (0, 0) };
    let (least, most) = values.fold((first, first), |(least, most), &value| (value.min(least), value.max(most)));
    (least, bits::width(most.wrapping_sub(least) as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn round_trip(values: &[i64]) -> usize {
        let mut bytes = Vec::new();
        pack(&mut bytes, values);
        assert_eq!(bytes.len(), size(values));
        let length = bytes.len();
        bytes.extend([7; bits::PADDING]);
        let (mut rest, mut found) = (bytes.as_slice(), Vec::new());
        unpack(&mut rest, values.len(), |value| found.push(value)).unwrap();
        assert_eq!(found, values);
        assert_eq!(rest, [7; bits::PADDING]);
        length
    }

    proptest! {
        #[test]
        fn any_come_back(values: Vec<i64>) {
            round_trip(&values);
        }

        #[test]
        fn bursts_come_back(values in prop::collection::vec(prop_oneof![9 => Just(5i64), 1 => any::<i64>()], 0..600)) {
            round_trip(&values);
        }

        #[test]
        fn arbitrary_bytes_are_an_answer_or_an_error(data: Vec<u8>, count in 0usize..600) {
            let _ = unpack(&mut data.as_slice(), count, |_| ());
        }
    }

    #[test]
    fn bursts_take_a_bit_where_nothing_happens() {
        let bursts: Vec<i64> = (0..1280).map(|at| if at % 8 == 0 { at * 7919 % 16384 } else { 310 }).collect();
        assert!(round_trip(&bursts) < 1280 / 8 + 160 * 14 / 8 + 10 * 8);
        assert_eq!(round_trip(&[5; 128]), 2);
        assert_eq!(round_trip(&[i64::MIN, i64::MAX, 0, 0, 0, 0, 0, 0, 0, 0]), 1 + 1 + 2 + 10 + 16);
    }
}
