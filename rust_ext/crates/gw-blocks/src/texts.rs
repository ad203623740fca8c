//! Columns of text or bytes: the distinct ones once, and for each row which one it is.

use crate::error::BlockError;
use crate::{integers, varint};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use zeroize::Zeroize;

/// A column of strings of bytes, each distinct one kept once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Texts {
    bytes: Vec<u8>,
    ends: Vec<u32>,
    rows: Vec<u32>,
}

impl Texts {
    /// # Errors
    /// `Invalid` from 4 GiB of distinct text on.
    pub fn new<'a>(values: impl Iterator<Item = &'a [u8]>) -> Result<Self, BlockError> {
        let mut texts = Self::default();
        let mut known = HashMap::new();
        for value in values {
            let code = match known.entry(value) {
                Entry::Occupied(code) => *code.get(),
                Entry::Vacant(place) => {
                    texts.bytes.extend_from_slice(value);
                    let end = u32::try_from(texts.bytes.len()).map_err(|_| BlockError::Invalid("too much text"))?;
                    texts.ends.push(end);
                    *place.insert(texts.ends.len() as u32 - 1)
                }
            };
            texts.rows.push(code);
        }
        Ok(texts)
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The value of a row.
    ///
    /// # Panics
    /// Beyond the rows.
    #[must_use]
    pub fn get(&self, row: usize) -> &[u8] {
        self.word(self.rows[row] as usize)
    }

    /// The bytes that it takes in memory.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.bytes.len() + 4 * (self.ends.len() + self.rows.len())
    }

    /// Whether every value is UTF-8.
    #[must_use]
    pub fn is_text(&self) -> bool {
        (0..self.ends.len()).all(|code| std::str::from_utf8(self.word(code)).is_ok())
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        varint::put(out, self.ends.len() as u64);
        let mut start = 0;
        for end in &self.ends {
            varint::put(out, u64::from(end - start));
            start = *end;
        }
        out.extend_from_slice(&self.bytes);
        let rows: Vec<i64> = self.rows.iter().map(|code| i64::from(*code)).collect();
        integers::encode(out, &rows);
    }

    pub(crate) fn decode(data: &mut &[u8], rows: usize) -> Result<Self, BlockError> {
        let words = varint::take(data)?;
        if words > rows as u64 {
            return Err(BlockError::Damaged("more distinct texts than rows"));
        }
        let mut ends = Vec::with_capacity(words as usize);
        let mut end = 0u64;
        for _ in 0..words {
            end = end.saturating_add(varint::take(data)?);
            if end > data.len() as u64 {
                return Err(BlockError::Damaged("it ends within text"));
            }
            ends.push(u32::try_from(end).map_err(|_| BlockError::Damaged("too much text"))?);
        }
        let (bytes, rest) = data.split_at_checked(end as usize).ok_or(BlockError::Damaged("it ends within text"))?;
        *data = rest;
        let mut found = Self { bytes: bytes.to_vec(), ends, rows: Vec::with_capacity(rows) };
        for code in integers::decode(data, rows)? {
            let code = u32::try_from(code).ok().filter(|code| u64::from(*code) < words);
            found.rows.push(code.ok_or(BlockError::Damaged("a row of an unknown text"))?);
        }
        Ok(found)
    }

    fn word(&self, code: usize) -> &[u8] {
        let start = if code == 0 { 0 } else { self.ends[code - 1] };
        &self.bytes[start as usize..self.ends[code] as usize]
    }
}

impl Zeroize for Texts {
    fn zeroize(&mut self) {
        self.bytes.zeroize();
        self.ends.zeroize();
        self.rows.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bits;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_texts_come_back(values in prop::collection::vec("[a-c]{0,2}|.*", 0..100)) {
            let texts = Texts::new(values.iter().map(String::as_bytes)).unwrap();
            let mut bytes = Vec::new();
            texts.encode(&mut bytes);
            bytes.extend([7; bits::PADDING]);
            let mut rest = bytes.as_slice();
            let found = Texts::decode(&mut rest, values.len()).unwrap();
            prop_assert_eq!(rest, &[7; bits::PADDING]);
            prop_assert!(found.is_text());
            for (row, value) in values.iter().enumerate() {
                prop_assert_eq!(found.get(row), value.as_bytes());
            }
        }

        #[test]
        fn arbitrary_bytes_are_an_answer_or_an_error(data: Vec<u8>, rows in 0usize..1000) {
            if let Ok(texts) = Texts::decode(&mut data.as_slice(), rows) {
                (0..texts.len()).for_each(|row| drop(texts.get(row).to_vec()));
            }
        }
    }
}
