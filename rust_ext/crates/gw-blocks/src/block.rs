//! A block: columns of one length, packed into bytes and read back from any.
//!
//! The open form is a length (4 bytes, little-endian) and a zstd frame of that many bytes: a version (1), the number of
//! columns (1), of rows (4), for each column its kind (1), and one column after the other.

use crate::bits::PADDING;
use crate::error::BlockError;
use crate::texts::Texts;
use crate::{integers, reals};
use std::cell::RefCell;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};
use zstd::bulk::{Compressor, Decompressor};

/// What the integers, numbers and row codes of a block may take in memory.
pub const MOST_PLAIN_BYTES: usize = 1 << 20;
/// What a block may have before compression; the texts of one may be long.
pub const MOST_BODY_BYTES: usize = 16 << 20;

/// What this release writes. Version 1 has no groups that are mostly one value; it is read in the same way.
const VERSION: u8 = 2;
const OLDEST: u8 = 1;
const INTEGERS: u8 = 1;
const REALS: u8 = 2;
const TEXTS: u8 = 3;
const BYTES: u8 = 4;

thread_local! {
    static UNPACKER: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

/// The values of one column.
#[derive(Debug, Clone, PartialEq)]
pub enum Column {
    Integers(Vec<i64>),
    Reals(Vec<f64>),
    Texts(Texts),
    Bytes(Texts),
}

impl Column {
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Integers(values) => values.len(),
            Self::Reals(values) => values.len(),
            Self::Texts(values) | Self::Bytes(values) => values.len(),
        }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn kind(&self) -> u8 {
        match self {
            Self::Integers(_) => INTEGERS,
            Self::Reals(_) => REALS,
            Self::Texts(_) => TEXTS,
            Self::Bytes(_) => BYTES,
        }
    }

    fn weight(&self) -> usize {
        match self {
            Self::Integers(values) => 8 * values.len(),
            Self::Reals(values) => 8 * values.len(),
            Self::Texts(values) | Self::Bytes(values) => values.weight(),
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Integers(values) => integers::encode(out, values),
            Self::Reals(values) => reals::encode(out, values),
            Self::Texts(values) | Self::Bytes(values) => values.encode(out),
        }
    }

    fn decode(kind: u8, data: &mut &[u8], rows: usize) -> Result<Self, BlockError> {
        Ok(match kind {
            INTEGERS => Self::Integers(integers::decode(data, rows)?),
            REALS => Self::Reals(reals::decode(data, rows)?),
            BYTES => Self::Bytes(Texts::decode(data, rows)?),
            TEXTS => {
                let texts = Texts::decode(data, rows)?;
                if !texts.is_text() {
                    return Err(BlockError::Damaged("text that is not UTF-8"));
                }
                Self::Texts(texts)
            }
            _ => return Err(BlockError::Damaged("a column of an unknown kind")),
        })
    }
}

impl Zeroize for Column {
    fn zeroize(&mut self) {
        match self {
            Self::Integers(values) => values.zeroize(),
            Self::Reals(values) => values.zeroize(),
            Self::Texts(values) | Self::Bytes(values) => values.zeroize(),
        }
    }
}

/// Columns of one length. Zeroised when dropped.
#[derive(Debug, Clone, PartialEq, ZeroizeOnDrop)]
pub struct Block {
    columns: Vec<Column>,
    #[zeroize(skip)]
    rows: usize,
}

impl Block {
    /// # Errors
    /// `Invalid` for columns of different lengths, none, more than 255, or more rows than a block may hold.
    pub fn new(columns: Vec<Column>) -> Result<Self, BlockError> {
        let Some(rows) = columns.first().map(Column::len) else {
            return Err(BlockError::Invalid("a block has at least one column"));
        };
        let block = Self { columns, rows };
        if block.columns.iter().any(|column| column.len() != rows) {
            return Err(BlockError::Invalid("the columns of a block have one length"));
        }
        if block.columns.len() > usize::from(u8::MAX) {
            return Err(BlockError::Invalid("a block has at most 255 columns"));
        }
        if rows.saturating_mul(8 * block.columns.len()) > MOST_PLAIN_BYTES {
            return Err(BlockError::Invalid("a block holds at most 1 MiB: use several"));
        }
        if block.columns.iter().any(|column| matches!(column, Column::Texts(texts) if !texts.is_text())) {
            return Err(BlockError::Invalid("text is UTF-8"));
        }
        Ok(block)
    }

    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    #[must_use]
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The bytes that it takes in memory.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.columns.iter().map(Column::weight).sum::<usize>() + 64 * self.columns.len()
    }

    /// The open form, compressed at a zstd level.
    ///
    /// # Errors
    /// `Invalid` where its texts are more than a block may hold.
    pub fn pack(&self, level: i32) -> Result<Zeroizing<Vec<u8>>, BlockError> {
        let mut body = Zeroizing::new(Vec::with_capacity(2 * self.weight())); // growing would leave copies behind
        body.extend([VERSION, self.columns.len() as u8]);
        body.extend((self.rows as u32).to_le_bytes());
        body.extend(self.columns.iter().map(Column::kind));
        for column in &self.columns {
            column.encode(&mut body);
        }
        if body.len() > MOST_BODY_BYTES {
            return Err(BlockError::Invalid("the texts of a block are at most 16 MiB: use several blocks"));
        }
        let mut packer = Compressor::new(level).map_err(|_| BlockError::Invalid("no such level of compression"))?;
        let frame = packer.compress(&body).map_err(|_| BlockError::Invalid("zstd refuses to compress"))?;
        let frame = Zeroizing::new(frame);
        let mut packed = Zeroizing::new(Vec::with_capacity(4 + frame.len()));
        packed.extend((body.len() as u32).to_le_bytes());
        packed.extend_from_slice(&frame);
        Ok(packed)
    }

    /// The reverse of `pack`, for any bytes.
    ///
    /// # Errors
    /// `Damaged`.
    pub fn unpack(packed: &[u8]) -> Result<Self, BlockError> {
        let (length, frame) = packed.split_first_chunk().ok_or(BlockError::Damaged("it has no length"))?;
        let length = u32::from_le_bytes(*length) as usize;
        if length > MOST_BODY_BYTES {
            return Err(BlockError::Damaged("it says to be longer than a block may be"));
        }
        let mut body = Zeroizing::new(Vec::with_capacity(length + PADDING));
        let read = UNPACKER.with_borrow_mut(|unpacker| {
            let unpacker = match unpacker {
                Some(unpacker) => unpacker,
                None => unpacker.insert(Decompressor::new().map_err(|_| BlockError::Damaged("zstd does not start"))?),
            };
            body.resize(length, 0);
            let read = unpacker.decompress_to_buffer(frame, body.as_mut_slice());
            read.map_err(|_| BlockError::Damaged("zstd cannot read it"))
        })?;
        if read != length {
            return Err(BlockError::Damaged("its length is not what it says"));
        }
        body.extend([0; PADDING]);
        Self::read(&body)
    }

    /// Reads what was before compression, followed by `PADDING` bytes.
    fn read(mut body: &[u8]) -> Result<Self, BlockError> {
        let (head, rest) = body.split_first_chunk::<6>().ok_or(BlockError::Damaged("it has no head"))?;
        let [version, columns, rows @ ..] = *head;
        let rows = u32::from_le_bytes(rows) as usize;
        if !(OLDEST..=VERSION).contains(&version) {
            return Err(BlockError::Damaged("its version is unknown: it was made by a newer release"));
        }
        if columns == 0 || rows.saturating_mul(8 * usize::from(columns)) > MOST_PLAIN_BYTES {
            return Err(BlockError::Damaged("it says to hold more than a block may"));
        }
        let kinds = rest.get(..usize::from(columns)).ok_or(BlockError::Damaged("it has no kinds"))?;
        body = &rest[kinds.len()..];
        let mut block = Self { columns: Vec::with_capacity(kinds.len()), rows };
        for kind in kinds {
            block.columns.push(Column::decode(*kind, &mut body, rows)?);
        }
        if body.len() != PADDING {
            return Err(BlockError::Damaged(if body.len() > PADDING {
                "something follows its columns"
            } else {
                "it ends within its columns"
            }));
        }
        Ok(block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn column(rows: usize) -> impl Strategy<Value = Column> {
        use prop::collection::vec;
        prop_oneof![
            vec(any::<i64>(), rows).prop_map(Column::Integers),
            vec(-9i64..9, rows).prop_map(Column::Integers),
            vec(prop::num::f64::NORMAL, rows).prop_map(Column::Reals),
            vec(".{0,3}", rows)
                .prop_map(|words| Column::Texts(Texts::new(words.iter().map(String::as_bytes)).unwrap())),
            vec(vec(any::<u8>(), 0..4), rows)
                .prop_map(|words| Column::Bytes(Texts::new(words.iter().map(Vec::as_slice)).unwrap())),
        ]
    }

    fn block() -> impl Strategy<Value = Block> {
        (0usize..300)
            .prop_flat_map(|rows| prop::collection::vec(column(rows), 1..6))
            .prop_map(|columns| Block::new(columns).unwrap())
    }

    /// The open form around a body.
    fn framed(body: &[u8]) -> Vec<u8> {
        let mut bytes = (body.len() as u32).to_le_bytes().to_vec();
        bytes.extend(zstd::bulk::compress(body, 1).unwrap());
        bytes
    }

    proptest! {
        #[test]
        fn what_is_packed_is_unpacked(block in block()) {
            prop_assert_eq!(&Block::unpack(&block.pack(3).unwrap()).unwrap(), &block);
        }

        #[test]
        fn arbitrary_bytes_are_an_answer_or_an_error(data: Vec<u8>) {
            let _ = Block::unpack(&data);
            let _ = Block::unpack(&framed(&data));
        }

        #[test]
        fn a_changed_body_is_an_answer_or_an_error(block in block(), at: prop::sample::Index, flip in 1u8..) {
            let packed = block.pack(1).unwrap();
            let length = u32::from_le_bytes(packed[..4].try_into().unwrap()) as usize;
            let mut body = zstd::bulk::decompress(&packed[4..], length).unwrap();
            let at = at.index(body.len());
            body[at] ^= flip;
            if let Ok(block) = Block::unpack(&framed(&body)) {
                prop_assert!(block.weight() <= 2 * MOST_BODY_BYTES);
            }
        }
    }

    #[test]
    fn what_is_dropped_is_zeroised() {
        fn is_zeroised_when_dropped<T: ZeroizeOnDrop>() {}
        is_zeroised_when_dropped::<Block>();
        let words = || Texts::new([b"secret".as_slice()].into_iter()).unwrap();
        let columns =
            [Column::Integers(vec![7]), Column::Reals(vec![7.0]), Column::Texts(words()), Column::Bytes(words())];
        for mut column in columns {
            column.zeroize();
            assert_eq!(column.len(), 0);
            assert_eq!(column.weight(), 0);
        }
    }

    #[test]
    fn what_is_no_block_is_refused() {
        assert!(Block::new(vec![]).is_err());
        assert!(Block::new(vec![Column::Integers(vec![1]), Column::Reals(vec![])]).is_err());
        assert!(Block::new(vec![Column::Integers(vec![0; MOST_PLAIN_BYTES / 8 + 1])]).is_err());
        let binary = Texts::new([[0xffu8].as_slice()].into_iter()).unwrap();
        assert!(Block::new(vec![Column::Texts(binary)]).is_err());
        assert!(Block::new(vec![Column::Integers(vec![1])]).unwrap().pack(99).is_ok());
    }

    #[test]
    fn a_small_block_that_claims_much_is_refused() {
        let mut body = vec![VERSION, 1];
        body.extend(u32::MAX.to_le_bytes());
        body.push(INTEGERS);
        assert_eq!(Block::unpack(&framed(&body)), Err(BlockError::Damaged("it says to hold more than a block may")));
        let mut bytes = framed(&body);
        bytes[..4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(Block::unpack(&bytes).is_err());
    }
}
