//! Distinct combinations of protocols and ports, each with a number.
use crate::ports::{ALL_PORTS, DEFAULT_PROTOCOLS, Ports, has_ports};
use rustc_hash::FxHashMap;

/// Index of a set; 0 is nothing at all.
pub type PortSetId = u32;

/// Traffic may flow (a route, an application), but no packet to the node itself is decided by it.
pub const SEEN: PortSetId = 1;
/// Every port of the default protocols.
pub const WIDE: PortSetId = 2;
/// Of which most sets are made: TCP, UDP, SCTP (which have ports), ICMP and ICMPv6.
pub const PLAIN_PROTOCOLS: [u8; 5] = [6, 17, 132, 1, 58];
/// Marks a set with other protocols or several ranges.
pub const DETAILED: u32 = 1 << 31;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PortSet {
    /// One bit per protocol number.
    pub protocols: [u64; 4],
    /// Apart from each other and in order; they bind protocols that have ports.
    pub ranges: Vec<Ports>,
}

#[derive(Debug, Clone)]
pub struct PortSets {
    sets: Vec<PortSet>,
    ids: FxHashMap<PortSet, PortSetId>,
    /// Whether a set lies within [`WIDE`].
    minor: Vec<bool>,
    /// As readers outside see them: see [`PortSets::export`].
    heads: Vec<u32>,
    details: Vec<u32>,
}

impl PortSet {
    /// No protocols mean the default ones.
    pub fn new(protocols: &[u8], ports: &[Ports]) -> Self {
        let mut mask = [0u64; 4];
        for number in if protocols.is_empty() { &DEFAULT_PROTOCOLS } else { protocols } {
            mask[usize::from(number >> 6)] |= 1 << (number & 63);
        }
        let mut sorted = ports.to_vec();
        sorted.sort_unstable();
        let mut ranges: Vec<Ports> = Vec::with_capacity(sorted.len());
        for range in sorted {
            match ranges.last_mut() {
                Some(end) if range.first <= end.last.saturating_add(1) => end.last = end.last.max(range.last),
                _ => ranges.push(range),
            }
        }
        Self { protocols: mask, ranges }
    }

    /// Whether all that `other` allows is allowed here too.
    pub fn covers(&self, other: &Self) -> bool {
        let inside = |span: &Ports| self.ranges.iter().any(|own| own.first <= span.first && span.last <= own.last);
        (0..4).all(|word| other.protocols[word] & !self.protocols[word] == 0) && other.ranges.iter().all(inside)
    }

    /// Every port of every protocol.
    pub fn everything() -> Self {
        Self { protocols: [u64::MAX; 4], ranges: vec![ALL_PORTS] }
    }

    pub fn is_everything(&self) -> bool {
        *self == Self::everything()
    }

    /// Whether others together allow all that is allowed here.
    pub fn is_within(&self, others: &[&Self]) -> bool {
        (0..=u8::MAX).filter(|protocol| self.has(*protocol)).all(|protocol| {
            let mut those = others.iter().filter(|other| other.has(protocol));
            if !has_ports(protocol) {
                return those.next().is_some();
            }
            let ranges: Vec<Ports> = those.flat_map(|other| other.ranges.iter().copied()).collect();
            let known = Self::new(&[protocol], &ranges);
            self.ranges.iter().all(|own| known.ranges.iter().any(|r| r.first <= own.first && own.last <= r.last))
        })
    }

    pub fn has(&self, protocol: u8) -> bool {
        self.protocols[usize::from(protocol >> 6)] >> (protocol & 63) & 1 == 1
    }

    pub fn allows(&self, protocol: u8, port: u16) -> bool {
        let in_range = || {
            let place = self.ranges.partition_point(|range| range.last < port);
            self.ranges.get(place).is_some_and(|range| range.first <= port)
        };
        self.has(protocol) && (!has_ports(protocol) || in_range())
    }
}

impl Default for PortSets {
    fn default() -> Self {
        let mut new = Self {
            sets: Vec::new(),
            ids: FxHashMap::default(),
            minor: Vec::new(),
            heads: Vec::new(),
            details: Vec::new(),
        };
        let nothing = PortSet { protocols: [0; 4], ranges: Vec::new() };
        new.push(nothing.clone());
        new.push(nothing);
        new.push(PortSet::new(&[], &[ALL_PORTS]));
        new
    }
}

impl PortSets {
    fn push(&mut self, set: PortSet) {
        let wide = self.sets.get(WIDE as usize).map_or(set.protocols, |wide| wide.protocols);
        self.minor.push((0..4).all(|word| set.protocols[word] & !wide[word] == 0));
        self.describe(&set);
        self.sets.push(set);
    }

    pub fn intern(&mut self, protocols: &[u8], ports: &[Ports]) -> PortSetId {
        let set = PortSet::new(protocols, ports);
        if set == self.sets[WIDE as usize] {
            return WIDE;
        }
        if let Some(id) = self.ids.get(&set) {
            return *id;
        }
        let id = self.sets.len() as PortSetId;
        self.ids.insert(set.clone(), id);
        self.push(set);
        id
    }

    pub fn get(&self, id: PortSetId) -> &PortSet {
        &self.sets[id as usize]
    }

    pub fn is_minor(&self, id: PortSetId) -> bool {
        self.minor[id as usize]
    }

    pub fn count(&self) -> usize {
        self.sets.len()
    }

    /// All sets, for readers outside: two words each, and those that are not plain in detail.
    ///
    /// The first word of a plain one is its only range (first port low, last one high), the second its protocols, one
    /// bit each in the order of [`PLAIN_PROTOCOLS`]. Others have [`DETAILED`] there, and the place of their details
    /// first: protocols as eight words, the number of ranges, the ranges.
    pub fn export(&self) -> (Vec<u32>, Vec<u32>) {
        (self.heads.clone(), self.details.clone())
    }

    fn describe(&mut self, set: &PortSet) {
        let range = |ports: &Ports| u32::from(ports.first) | u32::from(ports.last) << 16;
        if let Some(kinds) = plain_kinds(set) {
            self.heads.extend([set.ranges.first().map_or(0, range), kinds]);
            return;
        }
        self.heads.extend([self.details.len() as u32, DETAILED]);
        self.details.extend(set.protocols.iter().flat_map(|word| [*word as u32, (word >> 32) as u32]));
        self.details.push(set.ranges.len() as u32);
        self.details.extend(set.ranges.iter().map(range));
    }
}

/// The protocols of a set of one range at most and of none but the plain ones.
fn plain_kinds(set: &PortSet) -> Option<u32> {
    let bit = |number: u8| (usize::from(number >> 6), 1u64 << (number & 63));
    let (mut rest, mut kinds) = (set.protocols, 0);
    for (place, number) in PLAIN_PROTOCOLS.into_iter().enumerate() {
        let (word, bit) = bit(number);
        kinds |= u32::from(rest[word] & bit != 0) << place;
        rest[word] &= !bit;
    }
    let is_plain = rest == [0; 4] && (set.ranges.len() == 1 || kinds == 0);
    is_plain.then_some(kinds)
}
