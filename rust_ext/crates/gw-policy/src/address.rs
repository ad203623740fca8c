//! Addresses, prefixes and ranges of both families as spans of integers, and sets of them.
use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// One address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    pub v6: bool,
    pub bits: u128,
}

/// All addresses from `first` to `last`, both included, of one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    pub v6: bool,
    pub first: u128,
    pub last: u128,
}

impl Address {
    pub fn parse(text: &str) -> Option<Self> {
        match text.parse::<IpAddr>().ok()? {
            IpAddr::V4(address) => Some(Self { v6: false, bits: u32::from(address).into() }),
            IpAddr::V6(address) => Some(Self { v6: true, bits: address.into() }),
        }
    }

    pub fn span(self) -> Span {
        Span { v6: self.v6, first: self.bits, last: self.bits }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.v6 { Ipv6Addr::from(self.bits).fmt(f) } else { Ipv4Addr::from(self.bits as u32).fmt(f) }
    }
}

impl Span {
    /// An address or a prefix; bits behind the prefix are cleared.
    pub fn parse(text: &str) -> Option<Self> {
        let Some((address, length)) = text.split_once('/') else {
            return Some(Address::parse(text)?.span());
        };
        let address = Address::parse(address)?;
        if length.is_empty() || length.len() > 3 || !length.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let length: u32 = length.parse().ok()?;
        let width = width(address.v6);
        let host = host_mask(width.checked_sub(length)?);
        Some(Self { v6: address.v6, first: address.bits & !host, last: address.bits | host })
    }

    /// An address, a prefix, or a range `a-b`.
    pub fn parse_wide(text: &str) -> Option<Self> {
        let Some((first, last)) = text.split_once('-') else {
            return Self::parse(text);
        };
        let (first, last) = (Address::parse(first)?, Address::parse(last)?);
        (first.v6 == last.v6 && first.bits <= last.bits).then_some(Self {
            v6: first.v6,
            first: first.bits,
            last: last.bits,
        })
    }

    pub fn contains(&self, address: Address) -> bool {
        self.v6 == address.v6 && self.first <= address.bits && address.bits <= self.last
    }

    pub fn overlaps(&self, other: &Self) -> bool {
        self.v6 == other.v6 && self.first <= other.last && other.first <= self.last
    }

    pub fn covers(&self, other: &Self) -> bool {
        self.v6 == other.v6 && self.first <= other.first && other.last <= self.last
    }

    pub fn is_single(&self) -> bool {
        self.first == self.last
    }

    /// Every address of the family: `0.0.0.0/0` or `::/0`.
    pub fn is_default_route(&self) -> bool {
        self.first == 0 && self.last == host_mask(width(self.v6))
    }

    /// The prefix length, if the span is a prefix.
    pub fn prefix_length(&self) -> Option<u32> {
        let host = (self.first ^ self.last).count_ones();
        let aligned = self.first & host_mask(host) == 0 && self.first | host_mask(host) == self.last;
        aligned.then(|| width(self.v6) - host)
    }

    /// As a prefix with its length always written.
    pub fn cidr(&self) -> String {
        match self.prefix_length() {
            Some(length) => format!("{}/{length}", self.low()),
            None => self.to_string(),
        }
    }

    pub fn low(&self) -> Address {
        Address { v6: self.v6, bits: self.first }
    }

    pub fn high(&self) -> Address {
        Address { v6: self.v6, bits: self.last }
    }
}

/// As the service writes it: an address, a prefix, or a range.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_single() {
            return self.low().fmt(f);
        }
        match self.prefix_length() {
            Some(length) => write!(f, "{}/{length}", self.low()),
            None => write!(f, "{}-{}", self.low(), self.high()),
        }
    }
}

fn width(v6: bool) -> u32 {
    if v6 { 128 } else { 32 }
}

fn host_mask(bits: u32) -> u128 {
    1u128.checked_shl(bits).map_or(u128::MAX, |end| end - 1)
}

/// A set of addresses: spans in order, apart from each other by at least one address.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Spans(Vec<Span>);

impl Spans {
    pub fn as_slice(&self) -> &[Span] {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn contains(&self, address: Address) -> bool {
        self.overlaps(&address.span())
    }

    pub fn overlaps(&self, span: &Span) -> bool {
        let next = self.0.partition_point(|own| (own.v6, own.last) < (span.v6, span.first));
        self.0.get(next).is_some_and(|own| own.overlaps(span))
    }

    pub fn covers(&self, span: &Span) -> bool {
        let next = self.0.partition_point(|own| (own.v6, own.last) < (span.v6, span.first));
        self.0.get(next).is_some_and(|own| own.covers(span))
    }

    /// The spans that overlap one.
    fn near<'a>(&'a self, span: &'a Span) -> impl Iterator<Item = &'a Span> {
        let first = self.0.partition_point(|own| (own.v6, own.last) < (span.v6, span.first));
        self.0[first..].iter().take_while(|own| own.overlaps(span))
    }

    pub fn common(&self, other: &Self) -> Self {
        let parts = self.0.iter().flat_map(|span| {
            other.near(span).map(|hole| Span {
                v6: span.v6,
                first: span.first.max(hole.first),
                last: span.last.min(hole.last),
            })
        });
        Self(parts.collect())
    }

    pub fn without(&self, other: &Self) -> Self {
        let mut left = Vec::new();
        for span in &self.0 {
            let mut rest = Some(*span);
            for hole in other.near(span) {
                let Some(now) = rest else { break };
                if hole.first > now.first {
                    left.push(Span { last: hole.first - 1, ..now });
                }
                rest = (hole.last < now.last).then(|| Span { first: hole.last + 1, ..now });
            }
            left.extend(rest);
        }
        Self(left)
    }
}

/// Adds or removes addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<'a> {
    Add(&'a Spans),
    Remove(&'a Spans),
}

impl Spans {
    /// What steps leave, one taken after another: of those that are about an address the last decides. They are swept
    /// from the lowest edge to the highest, so that each costs what it is long.
    pub fn after(steps: &[Step<'_>]) -> Self {
        let mut edges: Vec<(bool, u128, usize, bool)> = Vec::new();
        for (number, step) in steps.iter().enumerate() {
            let (Step::Add(spans) | Step::Remove(spans)) = step;
            for span in spans.as_slice() {
                edges.push((span.v6, span.first, number, true));
                edges.extend(span.last.checked_add(1).map(|end| (span.v6, end, number, false)));
            }
        }
        edges.sort_unstable();
        let mut found = Vec::new();
        for edges in edges.chunk_by(|left, right| left.0 == right.0) {
            let (mut open, mut since): (BTreeSet<usize>, Option<u128>) = (BTreeSet::new(), None);
            for edges in edges.chunk_by(|left, right| left.1 == right.1) {
                let (v6, at, ..) = edges[0];
                for (_, _, number, begins) in edges {
                    _ = if *begins { open.insert(*number) } else { open.remove(number) };
                }
                let is_in = open.last().is_some_and(|number| matches!(steps[*number], Step::Add(_)));
                match since {
                    None if is_in => since = Some(at),
                    Some(first) if !is_in => {
                        found.push(Span { v6, first, last: at - 1 });
                        since = None;
                    }
                    _ => {}
                }
            }
            found.extend(since.map(|first| Span { v6: edges[0].0, first, last: u128::MAX }));
        }
        Self(found)
    }
}

impl FromIterator<Span> for Spans {
    fn from_iter<I: IntoIterator<Item = Span>>(spans: I) -> Self {
        let mut sorted: Vec<Span> = spans.into_iter().collect();
        sorted.sort_unstable();
        let mut merged: Vec<Span> = Vec::with_capacity(sorted.len());
        for span in sorted {
            match merged.last_mut() {
                Some(end) if end.v6 == span.v6 && span.first <= end.last.saturating_add(1) => {
                    end.last = end.last.max(span.last);
                }
                _ => merged.push(span),
            }
        }
        Self(merged)
    }
}

/// What `autogroup:internet` reaches: the public internet, as the service sends it.
pub fn internet() -> Spans {
    let everything = ["0.0.0.0/0", "2000::/3"];
    let holes = ["10.0.0.0/8", "100.64.0.0/10", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"];
    parse_all(&everything).without(&parse_all(&holes))
}

/// The addresses a network hands out unless configured otherwise: what `*` means as a source.
pub fn default_pools() -> Spans {
    parse_all(&["100.64.0.0/10", "fd7a:115c:a1e0::/48"]).without(&parse_all(&["100.115.92.0/23"]))
}

fn parse_all(texts: &[&str]) -> Spans {
    texts.iter().filter_map(|text| Span::parse(text)).collect()
}
