//! The body of a change row, in MessagePack: `[1, 0, since, [[table, act, row id, values], ...]]`.
use crate::statement::{Row, Value};
use std::str;

const VERSION: u8 = 1;
const FORM_ROWS: u8 = 0;

/// What happened to a row, by the log's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Insert = 1,
    Update = 2,
    Delete = 3,
}

struct Entry {
    table: i64,
    act: Act,
    key: i64,
    image: Vec<u8>, // its values, encoded already
}

/// The row images of one operation.
#[derive(Default)]
pub(crate) struct Images(Vec<Entry>);

impl Images {
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// None where a value has no place in a log: text that is not UTF-8, an object of its maker's.
    pub(crate) fn put(&mut self, table: i64, act: Act, key: i64, row: &Row<'_>) -> Option<()> {
        let mut image = Vec::with_capacity(256);
        array(&mut image, row.len());
        for column in 0..row.len() {
            value(&mut image, row.value(column)?)?;
        }
        match self.0.last_mut() {
            // Made a moment ago: one image tells of both.
            Some(last) if act == Act::Update && last.act == Act::Insert && (last.table, last.key) == (table, key) => {
                last.image = image;
            }
            _ => self.0.push(Entry { table, act, key, image }),
        }
        Some(())
    }

    pub(crate) fn delete(&mut self, table: i64, key: i64) {
        self.0.push(Entry { table, act: Act::Delete, key, image: vec![0xc0] });
    }

    pub(crate) fn body(&self, since: i64) -> Vec<u8> {
        let mut out = Vec::with_capacity(32 + self.0.iter().map(|entry| entry.image.len() + 16).sum::<usize>());
        out.extend([0x94, VERSION, FORM_ROWS]);
        integer(&mut out, since);
        array(&mut out, self.0.len());
        for entry in &self.0 {
            out.push(0x94);
            integer(&mut out, entry.table);
            out.push(entry.act as u8);
            integer(&mut out, entry.key);
            out.extend(&entry.image);
        }
        out
    }
}

fn array(out: &mut Vec<u8>, length: usize) {
    match length {
        0..16 => out.push(0x90 | length as u8),
        16..0x1_0000 => {
            out.push(0xdc);
            out.extend((length as u16).to_be_bytes());
        }
        _ => {
            out.push(0xdd);
            out.extend((length as u32).to_be_bytes());
        }
    }
}

fn integer(out: &mut Vec<u8>, value: i64) {
    match value {
        -32..128 => out.push(value as u8),
        128..0x100 => out.extend([0xcc, value as u8]),
        0x100..0x1_0000 => {
            out.push(0xcd);
            out.extend((value as u16).to_be_bytes());
        }
        0x1_0000..0x1_0000_0000 => {
            out.push(0xce);
            out.extend((value as u32).to_be_bytes());
        }
        0x1_0000_0000.. => {
            out.push(0xcf);
            out.extend(value.to_be_bytes());
        }
        -0x80..-32 => out.extend([0xd0, value as u8]),
        -0x8000..-0x80 => {
            out.push(0xd1);
            out.extend((value as i16).to_be_bytes());
        }
        -0x8000_0000..-0x8000 => {
            out.push(0xd2);
            out.extend((value as i32).to_be_bytes());
        }
        _ => {
            out.push(0xd3);
            out.extend(value.to_be_bytes());
        }
    }
}

/// The head of text or bytes: `short` counts up to 31 in itself, the others have 1, 2 or 4 bytes for the length.
fn bytes(out: &mut Vec<u8>, short: Option<u8>, heads: [u8; 3], bytes: &[u8]) {
    match (bytes.len(), short) {
        (length @ 0..32, Some(short)) => out.push(short | length as u8),
        (length @ 0..0x100, _) => out.extend([heads[0], length as u8]),
        (length @ 0x100..0x1_0000, _) => {
            out.push(heads[1]);
            out.extend((length as u16).to_be_bytes());
        }
        (length, _) => {
            out.push(heads[2]);
            out.extend((length as u32).to_be_bytes());
        }
    }
    out.extend(bytes);
}

fn value(out: &mut Vec<u8>, value: Value<'_>) -> Option<()> {
    match value {
        Value::Null => out.push(0xc0),
        Value::Integer(value) => integer(out, value),
        Value::Real(value) => {
            out.push(0xcb);
            out.extend(value.to_be_bytes());
        }
        Value::Text(text) => bytes(out, Some(0xa0), [0xd9, 0xda, 0xdb], str::from_utf8(text).ok()?.as_bytes()),
        Value::Blob(blob) => bytes(out, None, [0xc4, 0xc5, 0xc6], blob),
    }
    Some(())
}
