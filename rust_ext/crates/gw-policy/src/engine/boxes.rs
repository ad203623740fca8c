//! Rules between prefixes as boxes over source, target, port and protocol, for an index that is searched outside.
use super::Engine;
use super::atoms::{Atom, V6};
use super::portsets::{PortSet, SEEN};
use crate::address::{Address, Span};
use crate::ports::{ALL_PORTS, Ports, has_ports};

/// More boxes than this take more memory than questions are worth.
const MOST: usize = 1 << 20;

/// All rules between prefixes that accept, each as boxes of eight words: first and last source, target, port, protocol.
#[derive(Debug, Default)]
pub struct Boxes {
    pub four: Vec<u32>,
    pub six: Vec<u32>,
    pub axis: Axis,
}

/// What addresses are numbered by: those of IPv4 stand for themselves, those of IPv6 for how many edges of spans lie
/// before them.
#[derive(Debug, Default)]
pub struct Axis(Vec<u128>);

impl Axis {
    /// Where an address is on an axis.
    pub fn place(&self, address: Address) -> u32 {
        match address.v6 {
            false => address.bits as u32,
            true => self.0.partition_point(|edge| *edge <= address.bits) as u32,
        }
    }
}

impl Engine {
    /// The rules between prefixes that accept now; None where they are too many.
    pub fn boxes(&self) -> Option<Boxes> {
        let made = || self.rules.iter().chain(self.access.iter().map(|(_, made)| made));
        let open = || made().filter(|made| !made.rule.denies() && made.standing.is_open());
        let links = || open().flat_map(|made| made.links.clone()).map(|id| self.links.accept.get(id));
        let links = || links().filter(|link| link.ports != SEEN && link.is_between_prefixes());
        // A name of both families has an atom for each.
        let of = |atom: Atom| self.spans_of(atom >> 3).into_iter().filter(move |span| span.v6 == (atom & 7 == V6));
        let spans = |atoms: &[Atom]| atoms.iter().flat_map(|atom| of(*atom)).collect::<Vec<Span>>();
        let (mut found, mut left) = (Boxes::default(), MOST);
        let six = links().flat_map(|link| [&link.sources.atoms, &link.targets.atoms]).flat_map(|atoms| spans(atoms));
        let six = six.filter(|span| span.v6);
        let edges = &mut found.axis.0;
        *edges = six.flat_map(|span| [Some(span.first), span.last.checked_add(1)]).flatten().collect();
        edges.sort_unstable();
        edges.dedup();
        for link in links() {
            let (sources, targets) = (spans(&link.sources.atoms), spans(&link.targets.atoms));
            let kinds = kinds(self.sets.get(link.ports));
            for source in &sources {
                for target in targets.iter().filter(|target| target.v6 == source.v6) {
                    let ends =
                        [source.low(), source.high(), target.low(), target.high()].map(|end| found.axis.place(end));
                    left = left.checked_sub(kinds.len())?;
                    let boxes = if source.v6 { &mut found.six } else { &mut found.four };
                    boxes.extend(kinds.iter().flat_map(|kind| ends.iter().chain(kind)));
                }
            }
        }
        Some(found)
    }
}

/// First and last port and protocol of boxes that together are a set.
fn kinds(set: &PortSet) -> Vec<[u32; 4]> {
    let all = [ALL_PORTS];
    let mut runs: Vec<(&[Ports], u8, u8)> = Vec::new();
    for protocol in (0..=u8::MAX).filter(|protocol| set.has(*protocol)) {
        let ranges: &[Ports] = if has_ports(protocol) { &set.ranges } else { &all };
        match runs.last_mut() {
            Some((known, _, last)) if *last + 1 == protocol && *known == ranges => *last = protocol,
            _ => runs.push((ranges, protocol, protocol)),
        }
    }
    let kinds = |(ranges, lowest, highest): (&[Ports], u8, u8)| -> Vec<[u32; 4]> {
        ranges
            .iter()
            .map(|Ports { first, last }| [*first, *last, lowest.into(), highest.into()].map(u32::from))
            .collect()
    };
    runs.into_iter().flat_map(kinds).collect()
}
