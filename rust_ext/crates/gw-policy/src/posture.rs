//! Device postures: conditions over what is known of a node, such as `node:os == 'linux'`.
use crate::directory::Node;
use crate::error::nearest;
use std::cmp::Ordering;

/// What Ghostwire's own conditions ask about. The first four are reported by the node itself.
const OWN: [&str; 6] = ["os", "version", "country", "region", "tag", "attribute"];

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compare {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    NotIn,
    Set,
    NotSet,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Condition {
    pub attribute: String,
    pub compare: Compare,
    pub values: Vec<String>,
}

const OPERATORS: [(&str, Compare); 10] = [
    ("==", Compare::Equal),
    ("!=", Compare::Unequal),
    ("<=", Compare::LessOrEqual),
    (">=", Compare::GreaterOrEqual),
    ("<", Compare::Less),
    (">", Compare::Greater),
    ("NOT IN", Compare::NotIn),
    ("IN", Compare::In),
    ("IS SET", Compare::Set),
    ("NOT SET", Compare::NotSet),
];

impl Condition {
    /// `attribute operator value`. The error is the message, without place.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let end = text.find(|c: char| c.is_whitespace() || "=!<>".contains(c)).unwrap_or(text.len());
        let (attribute, rest) = text.split_at(end);
        if !attribute.contains(':') {
            return Err(format!("posture condition {text:?}: expected an attribute such as node:os"));
        }
        Self::compare(text, attribute, rest)
    }

    /// The same over the facts that Ghostwire's own conditions know, without a `node:` in front.
    pub fn parse_own(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let end = text.find(|c: char| c.is_whitespace() || "=!<>".contains(c)).unwrap_or(text.len());
        let (attribute, rest) = text.split_at(end);
        if !OWN.contains(&attribute) {
            let known = OWN.join(", ");
            return Err(match nearest(attribute, OWN) {
                Some(near) => format!("condition {text:?}: unknown fact {attribute:?}: did you mean {near:?}?"),
                None => format!("condition {text:?}: unknown fact {attribute:?}: expected one of {known}"),
            });
        }
        Self::compare(text, attribute, rest)
    }

    fn compare(text: &str, attribute: &str, rest: &str) -> Result<Self, String> {
        let rest = rest.trim();
        let upper = rest.to_ascii_uppercase();
        let Some((symbol, compare)) = OPERATORS.iter().find(|(symbol, _)| upper.starts_with(symbol)) else {
            return Err(format!(
                "posture condition {text:?}: expected ==, !=, <, <=, >, >=, IN, NOT IN, IS SET or NOT SET"
            ));
        };
        let operand = rest[symbol.len()..].trim();
        let values = match compare {
            Compare::Set | Compare::NotSet if operand.is_empty() => Vec::new(),
            Compare::Set | Compare::NotSet => return Err(format!("posture condition {text:?}: text after the end")),
            Compare::In | Compare::NotIn => {
                list(operand).ok_or_else(|| format!("posture condition {text:?}: expected a list ['a', 'b']"))?
            }
            _ => vec![literal(operand).ok_or_else(|| {
                format!("posture condition {text:?}: expected a value in single quotes, a number, true or false")
            })?],
        };
        let new = Self { attribute: attribute.to_owned(), compare: *compare, values };
        if !new.is_reported() && matches!(symbol, &("<" | "<=" | ">" | ">=")) {
            return Err(format!("condition {text:?}: a {attribute} has no order: expected ==, !=, IN or NOT IN"));
        }
        Ok(new)
    }

    /// Whether it asks for attributes that `nodeAttrs` gives.
    pub fn is_of_attributes(&self) -> bool {
        self.attribute == "attribute"
    }

    /// Whether it asks for an attribute: by its name, or for any.
    pub fn asks_for(&self, attribute: &str) -> bool {
        self.is_of_attributes() && (self.values.is_empty() || self.values.iter().any(|value| value == attribute))
    }

    /// The fact that it asks about.
    pub fn name(&self) -> &str {
        self.attribute.strip_prefix("node:").unwrap_or(&self.attribute)
    }

    /// Whether it rests on what a node reports of itself: all but its tags and attributes.
    pub fn is_reported(&self) -> bool {
        self.attribute != "tag" && !self.is_of_attributes()
    }

    /// Whether the condition holds for a node with these attributes; what is not known fails everything but
    /// `NOT SET`. Which tags and attributes a node has is always known.
    pub fn holds(&self, node: &Node, attributes: &[&str]) -> bool {
        if self.is_of_attributes() {
            return self.holds_among(attributes);
        }
        if self.attribute == "tag" {
            return self.holds_among(&node.tags.iter().map(|tag| &**tag).collect::<Vec<_>>());
        }
        let Some(actual) = node.fact(self.name()) else {
            return self.compare == Compare::NotSet;
        };
        let order = |value: &String| versions(actual, value);
        match self.compare {
            Compare::Equal => self.values.iter().any(|value| value == actual),
            Compare::Unequal => self.values.iter().all(|value| value != actual),
            Compare::Less => self.values.iter().all(|value| order(value).is_lt()),
            Compare::LessOrEqual => self.values.iter().all(|value| order(value).is_le()),
            Compare::Greater => self.values.iter().all(|value| order(value).is_gt()),
            Compare::GreaterOrEqual => self.values.iter().all(|value| order(value).is_ge()),
            Compare::In => self.values.iter().any(|value| value == actual),
            Compare::NotIn => self.values.iter().all(|value| value != actual),
            Compare::Set => true,
            Compare::NotSet => false,
        }
    }

    /// The same where a node has any number of them. They have no order.
    fn holds_among(&self, known: &[&str]) -> bool {
        let named = self.values.iter().any(|value| known.contains(&value.as_str()));
        match self.compare {
            Compare::Equal | Compare::In => named,
            Compare::Unequal | Compare::NotIn => !named,
            Compare::Set => !known.is_empty(),
            Compare::NotSet => known.is_empty(),
            Compare::Less | Compare::LessOrEqual | Compare::Greater | Compare::GreaterOrEqual => false,
        }
    }
}

fn literal(text: &str) -> Option<String> {
    for quote in ['\'', '"'] {
        if let Some(inner) = text.strip_prefix(quote) {
            return inner.strip_suffix(quote).filter(|inner| !inner.contains(quote)).map(str::to_owned);
        }
    }
    let plain = text == "true" || text == "false" || text.parse::<f64>().is_ok();
    plain.then(|| text.to_owned())
}

fn list(text: &str) -> Option<Vec<String>> {
    let inner = text.strip_prefix(['[', '('])?.strip_suffix([']', ')'])?;
    inner.split(',').map(|part| literal(part.trim())).collect()
}

/// Compare dotted numbers part by part; a part that is no number is compared as text.
fn versions(left: &str, right: &str) -> Ordering {
    let split = |text: &str| -> Vec<String> { text.split(['.', '-', '+']).map(str::to_owned).collect() };
    let (left, right) = (split(left), split(right));
    for index in 0..left.len().max(right.len()) {
        let (l, r) = (left.get(index).map_or("0", String::as_str), right.get(index).map_or("0", String::as_str));
        let order = match (l.parse::<u64>(), r.parse::<u64>()) {
            (Ok(l), Ok(r)) => l.cmp(&r),
            _ => l.cmp(r),
        };
        if order.is_ne() {
            return order;
        }
    }
    Ordering::Equal
}
