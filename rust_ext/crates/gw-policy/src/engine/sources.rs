//! Whom rules name as sources, by classes: without looking at any node that they do not name.
use super::atoms::{Atom, IDENTITY, POSTURE, SERVED, V4, V6, atom};
use super::classes::meets;
use super::links::ClassId;
use super::{Engine, Made, Slot};
use crate::address::{Address, Span};
use crate::directory::Node;
use crate::model::{Rule, SelectorId};
use crate::selector::Selector;
use rustc_hash::FxHashMap;

/// The sources of a rule, as far as it takes to see whether those of another one are the same addresses.
#[derive(Debug, Clone, Default)]
pub(super) struct Sources {
    /// Every address there is.
    pub danger: bool,
    /// The pools and all routes.
    pub wild: bool,
    /// Classes of identity that have addresses, in order.
    pub classes: Vec<ClassId>,
    /// Only some nodes of these are meant.
    pub partly: bool,
    /// Spans of several addresses, those of the pools and routes apart where these are named anyway.
    pub spans: Vec<Span>,
    /// Single addresses, which may or may not be those of nodes.
    pub singles: Vec<Address>,
}

/// Whether two rules have the same addresses as sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Alike {
    No,
    Perhaps,
    Yes,
}

/// Whether names, under postures, stand for nodes that are not among certain sources, as far as it was looked at.
pub(super) type Others<'a> = FxHashMap<(SelectorId, &'a [u32]), bool>;

/// What rules ask of their sources: one of these atoms, or nothing.
pub(super) fn needs(rule: &Rule) -> Vec<Atom> {
    rule.postures.iter().map(|posture| atom(*posture, POSTURE)).collect()
}

impl Engine {
    /// The classes of identity that always bear a name and meet one of the needs.
    pub(super) fn bearing(&self, id: SelectorId, needs: &[Atom]) -> impl Iterator<Item = ClassId> {
        let classes = self.classes.with_atom(atom(id, IDENTITY)).iter().copied();
        classes.filter(move |class| meets(needs, &self.classes.get(*class).atoms))
    }

    /// The same of those who bear it now: in a group for a time, too.
    pub(super) fn bearing_now(&self, id: SelectorId, needs: &[Atom]) -> Vec<ClassId> {
        let timed = self.timed(id).flat_map(|(known, _)| self.bearing(known, needs));
        self.bearing(id, needs).chain(timed).collect()
    }

    /// The classes of identity that meet one of the needs.
    pub(super) fn meeting(&self, needs: &[Atom]) -> impl Iterator<Item = ClassId> {
        let classes = needs.iter().flat_map(|need| self.classes.with_atom(*need)).copied();
        classes.filter(|class| !self.classes.get(*class).of_addresses)
    }

    /// The nodes with an address in what a name stands for that meet one of the needs, in no order.
    pub(super) fn inside(&self, id: SelectorId, needs: &[Atom]) -> impl Iterator<Item = &Node> {
        let found = [V4, V6].into_iter().flat_map(|how| self.classes.with_atom(atom(id, how)));
        let mut classes: Vec<ClassId> =
            found.copied().filter(|class| meets(needs, &self.classes.get(*class).atoms)).collect();
        classes.sort_unstable();
        classes.dedup();
        classes.into_iter().flat_map(|class| self.nodes_in(class))
    }

    pub(super) fn nodes_in(&self, class: ClassId) -> impl Iterator<Item = &Node> {
        self.classes.get(class).members.iter().filter_map(|id| self.nodes.get(id))
    }

    pub(super) fn sources(&self, made: &Made) -> Sources {
        let (rule, needs) = (&made.rule, needs(&made.rule));
        let mut found = Sources::default();
        for id in &rule.sources {
            match &self.selectors[*id as usize] {
                Selector::DangerAll => found.danger = true,
                Selector::Any if needs.is_empty() => found.wild = true,
                Selector::Any => found.classes.extend(self.meeting(&needs)),
                selector if selector.is_identity() => found.classes.extend(self.bearing_now(*id, &needs)),
                selector => {
                    let spans = self.policy.spans(selector).unwrap_or_else(|| [].into());
                    if needs.is_empty() {
                        found.spans.extend(spans.iter());
                        continue;
                    }
                    let addresses = self.inside(*id, &needs).flat_map(|node| &node.addresses);
                    let inside = addresses.filter(|address| spans.iter().any(|span| span.contains(**address)));
                    found.singles.extend(inside);
                }
            }
        }
        if found.wild {
            found.spans.retain(|span| !self.pools.contains(span) && !self.routes.contains_key(span));
            found.singles.extend(self.routes.keys().filter(|route| route.is_single()).map(Span::low));
        }
        found.singles.extend(found.spans.extract_if(.., |span| span.is_single()).map(|span| span.low()));
        found.classes.retain(|class| self.has_address(*class));
        found.classes.sort_unstable();
        found.classes.dedup();
        found.spans.sort_unstable();
        found.spans.dedup();
        found
    }

    /// Those of its owner's devices that are sources for a node.
    pub(super) fn own_devices(&self, node: &Node) -> Sources {
        let devices = node.untagged_owner().and_then(|owner| self.by_owner.get(&owner)).into_iter().flatten();
        let slots = devices.filter_map(|id| self.slots.get(*id as usize).copied().flatten());
        let mut classes: Vec<ClassId> = slots.map(|Slot { identity, .. }| identity).collect();
        classes.sort_unstable();
        classes.dedup();
        Sources { classes, partly: true, ..Sources::default() }
    }

    /// By which atoms rules may name one of the addresses that certain sources have.
    pub(super) fn atoms_of_one(&self, sources: &Sources) -> Vec<Atom> {
        let member = sources.classes.iter().find_map(|class| self.address_in(*class));
        let address = member.or_else(|| sources.singles.first().copied());
        let pool = self.pools.first().filter(|_| sources.wild);
        let address = address.or_else(|| Some(sources.spans.first().or(pool)?.low()));
        let holder = address.and_then(|address| self.class_of(*self.by_address.get(&address)?));
        let mut atoms = holder.map_or(Vec::new(), |class| self.classes.get(class).atoms.to_vec());
        let mut add = |id: SelectorId| atoms.extend([V4, V6, SERVED].map(|how| atom(id, how)));
        address.into_iter().for_each(|address| self.catalog.selectors_at(address, &mut add));
        atoms
    }

    fn has_address(&self, class: ClassId) -> bool {
        self.classes.get(class).members.iter().any(|id| !self.unaddressed.contains(*id))
    }

    /// One of the addresses that nodes of a class have.
    fn address_in(&self, class: ClassId) -> Option<Address> {
        self.nodes_in(class).find_map(|node| node.addresses.first().copied())
    }

    /// Whether a rule has certain sources; no two nodes have one address.
    pub(super) fn alike<'a>(&self, known: &Sources, made: &'a Made, others: &mut Others<'a>) -> Alike {
        if !known.danger && self.names_others(known, &made.rule, others) {
            return Alike::No;
        }
        let other = self.sources(made);
        if known.danger || other.danger {
            return if known.danger && other.danger { Alike::Yes } else { Alike::No };
        }
        if known.wild != other.wild {
            let written = if known.wild { &other } else { known };
            let is_named = |pool: &Span| pool.is_single() || written.spans.contains(pool);
            return if self.pools.iter().all(is_named) { Alike::Perhaps } else { Alike::No };
        }
        if known.spans != other.spans {
            return Alike::No;
        }
        match (!known.singles.is_empty() || !other.singles.is_empty() || known.partly, known.classes == other.classes) {
            (true, _) => Alike::Perhaps,
            (false, true) => Alike::Yes,
            (false, false) => Alike::No,
        }
    }

    /// Whether a rule names nodes that are not among known sources. Most that have one source in common have others,
    /// and it is seen at the first.
    fn names_others<'a>(&self, known: &Sources, rule: &'a Rule, others: &mut Others<'a>) -> bool {
        let is_single = |class| self.address_in(class).is_some_and(|address| known.singles.contains(&address));
        let is_other = |class: ClassId| {
            let is_new = known.classes.binary_search(&class).is_err() && self.has_address(class);
            is_new && (known.singles.is_empty() || !is_single(class))
        };
        let mut names = rule.sources.iter().filter(|id| self.selectors[**id as usize].is_identity());
        names.any(|id| {
            let find = || self.bearing(*id, &needs(rule)).any(is_other);
            *others.entry((*id, &rule.postures)).or_insert_with(find)
        })
    }
}
