//! Device postures: conditions over what is known of a node, such as `node:os == 'linux'`.
use std::cmp::Ordering;

/// A fact of a node, by its attribute name without the `node:` in front.
pub trait Facts {
    fn fact(&self, name: &str) -> Option<&str>;
}

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
        Ok(Self { attribute: attribute.to_owned(), compare: *compare, values })
    }

    /// Whether the condition holds; what is not known fails everything but `NOT SET`.
    pub fn holds(&self, facts: &dyn Facts) -> bool {
        let name = self.attribute.strip_prefix("node:").unwrap_or(&self.attribute);
        let Some(actual) = facts.fact(name) else {
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
