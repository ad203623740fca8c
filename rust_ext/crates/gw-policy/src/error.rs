//! What is wrong with a policy text, and where.

/// One refusal. `line` and `column` count from 1, columns in characters; `hint` says what was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} (line {line}, column {column}{})", hint_suffix(.hint))]
pub struct PolicyError {
    pub message: String,
    pub line: u32,
    pub column: u32,
    pub hint: String,
}

fn hint_suffix(hint: &str) -> String {
    if hint.is_empty() { String::new() } else { format!("; {hint}") }
}

/// A refusal that still counts in bytes; the text turns it into lines and columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub at: u32,
    pub message: String,
    pub hint: String,
}

impl Fault {
    pub fn new(at: u32, message: impl Into<String>) -> Self {
        Self { at, message: message.into(), hint: String::new() }
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }
}

/// The known name nearest to `name`, if one is near enough to be what was meant.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name: String = name.chars().take(64).flat_map(char::to_lowercase).collect();
    let length = name.chars().count();
    let limit = 1 + length / 3;
    known
        .into_iter()
        .filter(|candidate| candidate.chars().nth(length + limit).is_none())
        .map(|candidate| (distance(&name, &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's edit distance over characters.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, l) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, r) in right.iter().enumerate() {
            let substituted = diagonal + usize::from(l != *r);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}
