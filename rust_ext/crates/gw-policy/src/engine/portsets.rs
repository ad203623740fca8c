//! Distinct combinations of protocols and ports, each with a number.
use crate::ports::{ALL_PORTS, DEFAULT_PROTOCOLS, Ports, has_ports};
use rustc_hash::FxHashMap;

/// Index of a set; 0 is nothing at all.
pub type PortSetId = u32;

/// Traffic may flow (a route, an application), but no packet to the node itself is decided by it.
pub const SEEN: PortSetId = 1;
/// Every port of the default protocols.
pub const WIDE: PortSetId = 2;

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
        let has = |set: &Self, protocol: u8| set.protocols[usize::from(protocol >> 6)] >> (protocol & 63) & 1 == 1;
        (0..=u8::MAX).filter(|protocol| has(self, *protocol)).all(|protocol| {
            let mut those = others.iter().filter(|other| has(other, protocol));
            if !has_ports(protocol) {
                return those.next().is_some();
            }
            let ranges: Vec<Ports> = those.flat_map(|other| other.ranges.iter().copied()).collect();
            let known = Self::new(&[protocol], &ranges);
            self.ranges.iter().all(|own| known.ranges.iter().any(|r| r.first <= own.first && own.last <= r.last))
        })
    }

    pub fn allows(&self, protocol: u8, port: u16) -> bool {
        self.protocols[usize::from(protocol >> 6)] >> (protocol & 63) & 1 == 1
            && (!has_ports(protocol) || self.ranges.iter().any(|range| range.first <= port && port <= range.last))
    }
}

impl Default for PortSets {
    fn default() -> Self {
        let mut new = Self { sets: Vec::new(), ids: FxHashMap::default(), minor: Vec::new() };
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

    /// All sets, for readers outside: 12 words each (protocols as 8, number of ranges, place of the
    /// ranges, the first range as two), and all ranges as pairs of words.
    pub fn export(&self) -> (Vec<u32>, Vec<u32>) {
        let (mut heads, mut ranges) = (Vec::with_capacity(self.sets.len() * 12), Vec::new());
        for set in &self.sets {
            heads.extend(set.protocols.iter().flat_map(|word| [*word as u32, (word >> 32) as u32]));
            heads.extend([set.ranges.len() as u32, ranges.len() as u32]);
            let first = set.ranges.first().copied().unwrap_or(Ports { first: 1, last: 0 });
            heads.extend([u32::from(first.first), u32::from(first.last)]);
            ranges.extend(set.ranges.iter().flat_map(|range| [u32::from(range.first), u32::from(range.last)]));
        }
        (heads, ranges)
    }
}
