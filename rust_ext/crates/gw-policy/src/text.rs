//! HuJSON: JSON with comments and trailing commas, read into values that know their place.
//!
//! The lexer is `jsonc-parser`'s; depth, number of values and repeated keys are bounded here.
use crate::error::{Fault, PolicyError};
use jsonc_parser::tokens::Token;
use jsonc_parser::{Scanner, ScannerOptions};
use std::collections::HashSet;

/// The longest text that is read, in bytes.
pub const MAX_TEXT: usize = 64 << 20;
const MAX_DEPTH: usize = 64;
const MAX_VALUES: usize = 6_000_000;
/// Among so many keys one that occurs twice is found by looking at each of them, among more by their hashes.
const FEW_KEYS: usize = 16;

#[derive(Debug, Clone, PartialEq)]
pub enum Json {
    Null,
    Bool(bool),
    Number(Box<str>),
    String(Box<str>),
    Array(Vec<Item>),
    Object(Vec<(Key, Item)>),
}

/// A value and the byte at which it starts.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    pub at: u32,
    pub json: Json,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Key {
    pub at: u32,
    pub name: Box<str>,
}

/// Read one document.
pub fn parse(text: &str) -> Result<Item, PolicyError> {
    if text.len() > MAX_TEXT {
        let message = format!("the policy has {} bytes", text.len());
        return Err(PolicyError { message, line: 1, column: 1, hint: format!("at most {MAX_TEXT} are read") });
    }
    let mut reader = Reader::new(text);
    reader.document().map_err(|fault| locate(text, fault))
}

/// Give a fault its line and column.
pub fn locate(text: &str, fault: Fault) -> PolicyError {
    let (line, column) = position(text, fault.at);
    PolicyError { message: fault.message, line, column, hint: fault.hint }
}

/// Line and column of a byte, both from 1.
pub fn position(text: &str, at: u32) -> (u32, u32) {
    let mut end = (at as usize).min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let before = &text[..end];
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (line as u32, before[start..].chars().count() as u32 + 1)
}

struct Reader<'a> {
    scanner: Scanner<'a>,
    values: usize,
}

impl<'a> Reader<'a> {
    fn new(text: &'a str) -> Self {
        let options = ScannerOptions {
            allow_single_quoted_strings: false,
            allow_hexadecimal_numbers: false,
            allow_unary_plus_numbers: false,
            allow_bare_decimal_point_numbers: false,
            allow_non_finite_numbers: false,
            allow_extended_string_escapes: false,
        };
        Self { scanner: Scanner::new(text, &options), values: 0 }
    }

    fn document(&mut self) -> Result<Item, Fault> {
        let Some(first) = self.next()? else {
            return Err(self.fault("the policy is empty").hint("expected an object"));
        };
        let item = self.value(first, 0)?;
        match self.next()? {
            None => Ok(item),
            Some(_) => Err(self.fault("text after the end of the policy").hint("expected nothing but comments")),
        }
    }

    fn next(&mut self) -> Result<Option<Token<'a>>, Fault> {
        loop {
            match self.scanner.scan() {
                Ok(Some(Token::CommentLine(_) | Token::CommentBlock(_))) => {}
                Ok(token) => return Ok(token),
                Err(error) => {
                    return Err(Fault::new(error.range().start as u32, format!("invalid HuJSON: {}", error.kind())));
                }
            }
        }
    }

    fn need(&mut self, expected: &str) -> Result<Token<'a>, Fault> {
        match self.next()? {
            Some(token) => Ok(token),
            None => Err(self.fault("the text ends too early").hint(format!("expected {expected}"))),
        }
    }

    fn at(&self) -> u32 {
        self.scanner.token_start() as u32
    }

    fn fault(&self, message: impl Into<String>) -> Fault {
        Fault::new(self.at(), message)
    }

    fn value(&mut self, token: Token<'a>, depth: usize) -> Result<Item, Fault> {
        let at = self.at();
        self.values += 1;
        if self.values > MAX_VALUES {
            return Err(self.fault("too many values").hint(format!("at most {MAX_VALUES} are read")));
        }
        if depth > MAX_DEPTH {
            return Err(self.fault("nested too deeply").hint(format!("at most {MAX_DEPTH} levels are read")));
        }
        let json = match token {
            Token::OpenBrace => Json::Object(self.object(depth)?),
            Token::OpenBracket => Json::Array(self.array(depth)?),
            Token::String(text) => Json::String(text.into()),
            Token::Number(text) => Json::Number(text.into()),
            Token::Boolean(value) => Json::Bool(value),
            Token::Null => Json::Null,
            other => {
                return Err(self.fault(format!("unexpected {:?}", other.as_str())).hint("expected a value"));
            }
        };
        Ok(Item { at, json })
    }

    fn array(&mut self, depth: usize) -> Result<Vec<Item>, Fault> {
        let mut items = Vec::new();
        loop {
            match self.need("a value or \"]\"")? {
                Token::CloseBracket => return Ok(items),
                token => items.push(self.value(token, depth + 1)?),
            }
            match self.need("\",\" or \"]\"")? {
                Token::Comma => {}
                Token::CloseBracket => return Ok(items),
                other => {
                    return Err(self.fault(format!("unexpected {:?}", other.as_str())).hint("expected \",\" or \"]\""));
                }
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Vec<(Key, Item)>, Fault> {
        let mut members: Vec<(Key, Item)> = Vec::new();
        let mut seen: HashSet<Box<str>> = HashSet::new();
        loop {
            let name: Box<str> = match self.need("a key or \"}\"")? {
                Token::CloseBrace => return Ok(members),
                Token::String(name) => name.into(),
                other => {
                    let fault = self.fault(format!("unexpected {:?}", other.as_str()));
                    return Err(fault.hint("expected a key in double quotes or \"}\""));
                }
            };
            let key = Key { at: self.at(), name };
            let occurs_twice = if members.len() < FEW_KEYS {
                members.iter().any(|(known, _)| known.name == key.name)
            } else {
                if seen.is_empty() {
                    seen.extend(members.iter().map(|(known, _)| known.name.clone()));
                }
                !seen.insert(key.name.clone())
            };
            if occurs_twice {
                return Err(self.fault(format!("key {:?} occurs twice", key.name)).hint("expected each key once"));
            }
            if self.need("\":\"")? != Token::Colon {
                return Err(self.fault("no colon after the key").hint("expected \":\""));
            }
            let token = self.need("a value")?;
            let item = self.value(token, depth + 1)?;
            members.push((key, item));
            match self.need("\",\" or \"}\"")? {
                Token::Comma => {}
                Token::CloseBrace => return Ok(members),
                other => {
                    return Err(self.fault(format!("unexpected {:?}", other.as_str())).hint("expected \",\" or \"}\""));
                }
            }
        }
    }
}

impl Item {
    /// The value without its places, for what is handed through (application capabilities).
    pub fn plain(&self) -> serde_json::Value {
        use serde_json::Value;
        match &self.json {
            Json::Null => Value::Null,
            Json::Bool(value) => Value::Bool(*value),
            Json::Number(text) => serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_string())),
            Json::String(text) => Value::String(text.to_string()),
            Json::Array(items) => Value::Array(items.iter().map(Item::plain).collect()),
            Json::Object(members) => {
                Value::Object(members.iter().map(|(key, item)| (key.name.to_string(), item.plain())).collect())
            }
        }
    }
}
