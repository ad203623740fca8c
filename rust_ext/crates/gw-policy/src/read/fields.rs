//! The members of an object, checked against the names that are known.
use crate::error::{Fault, nearest};
use crate::text::{Item, Json, Key};

pub(super) struct Fields<'a> {
    pub at: u32,
    members: Vec<(&'static str, &'a Item)>,
}

impl<'a> Fields<'a> {
    /// Names are compared as the service does, without regard to case.
    pub fn read(item: &'a Item, known: &[&'static str]) -> Result<Self, Fault> {
        let mut members: Vec<(&'static str, &Item)> = Vec::new();
        for (key, value) in object(item)? {
            let Some(name) = known.iter().find(|name| name.eq_ignore_ascii_case(&key.name)) else {
                let fault = Fault::new(key.at, format!("unknown field {:?}", key.name));
                return Err(match nearest(&key.name, known.iter().copied()) {
                    Some(near) => fault.hint(format!("did you mean {near:?}?")),
                    None => fault.hint(format!("expected one of {}", known.join(", "))),
                });
            };
            if members.iter().any(|(seen, _)| seen == name) {
                return Err(Fault::new(key.at, format!("field {name:?} occurs twice")).hint("expected each field once"));
            }
            members.push((name, value));
        }
        Ok(Self { at: item.at, members })
    }

    pub fn get(&self, name: &str) -> Option<&'a Item> {
        self.members.iter().find(|(known, _)| *known == name).map(|(_, item)| *item)
    }

    /// The first of several names for one thing.
    pub fn any(&self, names: &[&str]) -> Option<&'a Item> {
        names.iter().find_map(|name| self.get(name))
    }

    pub fn flag(&self, name: &str) -> Result<bool, Fault> {
        match self.get(name).map(|item| (&item.json, item.at)) {
            None | Some((Json::Null, _)) => Ok(false),
            Some((Json::Bool(value), _)) => Ok(*value),
            Some((_, at)) => Err(Fault::new(at, format!("{name} is not a boolean")).hint("expected true or false")),
        }
    }

    /// A whole number up to `most`.
    pub fn number(&self, name: &str, most: u32) -> Result<Option<u32>, Fault> {
        let Some(item) = self.get(name) else { return Ok(None) };
        let number = match &item.json {
            Json::Number(text) => text.parse().ok().filter(|number| *number <= most),
            _ => None,
        };
        let fault = || Fault::new(item.at, format!("{name} is not a number")).hint(format!("expected 0 to {most}"));
        number.map(Some).ok_or_else(fault)
    }

    /// Strings of an array with their places; an absent field is an empty one.
    pub fn strings(&self, names: &[&str]) -> Result<Vec<(u32, &'a str)>, Fault> {
        self.any(names).map_or(Ok(Vec::new()), super::strings)
    }

    /// A string; absent and null are empty.
    pub fn text(&self, name: &str) -> Result<(u32, &'a str), Fault> {
        match self.get(name) {
            None => Ok((self.at, "")),
            Some(Item { at, json: Json::Null }) => Ok((*at, "")),
            Some(item) => Ok((item.at, super::string(item)?)),
        }
    }
}

/// The members of an object; null is an empty one.
pub(super) fn object(item: &Item) -> Result<&[(Key, Item)], Fault> {
    match &item.json {
        Json::Object(members) => Ok(members),
        Json::Null => Ok(&[]),
        _ => Err(Fault::new(item.at, "not an object").hint("expected an object { ... }")),
    }
}
