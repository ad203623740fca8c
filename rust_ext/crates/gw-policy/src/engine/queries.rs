//! Questions about one connection: may it be, and which rule says so.
use super::Engine;
use super::atoms::{Atom, V4, V6, atom};
use super::classes::meets;
use super::links::{Link, Reach, Side};
use crate::address::Address;
use crate::directory::Node;
use crate::model::Section;
use rustc_hash::FxHashSet;

/// Where an answer comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    pub section: Section,
    /// Position in its section, from 0.
    pub index: u32,
    pub line: u32,
    pub column: u32,
    pub source_matches: bool,
    pub target_matches: bool,
    pub ports_match: bool,
}

/// The rules that allow a connection, or the nearest one that does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub allowed: bool,
    pub rules: Vec<Explanation>,
}

/// One end of a connection.
struct End<'a> {
    node: Option<&'a Node>,
    atoms: Vec<Atom>,
    /// Counts as `*` as a source.
    any: bool,
}

impl Engine {
    fn end_at(&self, address: Address) -> End<'_> {
        let node = self.by_address.get(&address).and_then(|id| self.nodes.get(id));
        let how = if address.v6 { V6 } else { V4 };
        let mut atoms = node.map_or(Vec::new(), |node| self.catalog.identity(&self.policy, node));
        self.catalog.selectors_at(address, &mut |id| atoms.push(atom(id, how)));
        atoms.sort_unstable();
        let routed = || self.nodes.values().any(|node| node.routes.iter().any(|route| route.contains(address)));
        let any = node.is_some() || self.pools.iter().any(|pool| pool.contains(address)) || routed();
        End { node, atoms, any }
    }

    fn end_of(&self, node: &'_ Node) -> End<'_> {
        let mut atoms = self.catalog.identity(&self.policy, node);
        atoms.extend(self.catalog.place(&self.policy, node));
        atoms.sort_unstable();
        atoms.dedup();
        let node = self.nodes.get(&node.id);
        End { node, atoms, any: true }
    }

    /// Whether a packet from one address to another may be, whoever has them.
    pub fn decide_address(&self, source: Address, target: Address, protocol: u8, port: u16) -> bool {
        if source.v6 != target.v6 {
            return false;
        }
        let (source, target) = (self.end_at(source), self.end_at(target));
        let mut candidates: FxHashSet<u32> = self.links.from(&source.atoms).map(|(id, _)| id).collect();
        candidates.extend(
            self.links
                .from_any
                .iter()
                .chain(&self.links.any_to_any)
                .chain(&self.links.routed)
                .chain(&self.links.own_any),
        );
        candidates.iter().any(|id| {
            let link = self.links.get(*id);
            self.source_fits(link, &source)
                && self.target_fits(link, &source, &target)
                && self.ports_fit(link, protocol, port)
        })
    }

    /// Why a connection between two nodes may be or not. Of those that deny, the rule that comes nearest.
    pub fn explain(&self, source: u32, target: u32, protocol: u8, port: u16) -> Option<Verdict> {
        let (source, target) = (self.end_of(self.nodes.get(&source)?), self.end_of(self.nodes.get(&target)?));
        let mut allowing = Vec::new();
        let mut nearest: Option<(u32, Explanation)> = None;
        for made in &self.rules {
            let mut best: Option<(u32, [bool; 3])> = None;
            for id in made.links.clone() {
                let link = self.links.get(id);
                if link.reach == Reach::Routed || link.ports == super::portsets::SEEN {
                    continue;
                }
                let fits = [
                    self.source_fits(link, &source),
                    self.target_fits(link, &source, &target),
                    self.ports_fit(link, protocol, port),
                ];
                let score = u32::from(fits[0]) * 2 + u32::from(fits[1]) * 2 + u32::from(fits[2]);
                if best.is_none_or(|(known, _)| score > known) {
                    best = Some((score, fits));
                }
            }
            let Some((score, fits)) = best else { continue };
            let explanation = self.explanation(made, fits);
            if score == 5 {
                allowing.push(explanation);
            } else if nearest.as_ref().is_none_or(|(known, _)| score > *known) {
                nearest = Some((score, explanation));
            }
        }
        let allowed = !allowing.is_empty();
        let near = nearest.filter(|(score, _)| *score > 1).map(|(_, explanation)| explanation);
        let rules = if allowed { allowing } else { near.into_iter().collect() };
        Some(Verdict { allowed, rules })
    }

    fn explanation(&self, made: &super::Made, fits: [bool; 3]) -> Explanation {
        let (line, column) = self.policy.position(made.rule.at);
        let [source_matches, target_matches, ports_match] = fits;
        let (section, index) = (made.rule.section, made.rule.index);
        Explanation { section, index, line, column, source_matches, target_matches, ports_match }
    }

    fn source_fits(&self, link: &Link, source: &End<'_>) -> bool {
        side_fits(&link.sources, source) && meets(&link.needs, &source.atoms)
    }

    fn target_fits(&self, link: &Link, source: &End<'_>, target: &End<'_>) -> bool {
        if link.reach == Reach::Own {
            let owner = |end: &End<'_>| end.node.and_then(Node::untagged_owner);
            return owner(source).is_some() && owner(source) == owner(target);
        }
        link.targets.any || has(&link.targets.atoms, target)
    }

    fn ports_fit(&self, link: &Link, protocol: u8, port: u16) -> bool {
        self.sets.get(link.ports).allows(protocol, port)
    }

    /// Whether `tagOwners` lets a user give a tag to a node; owners of an owning tag count.
    pub fn owns_tag(&self, user: i64, tag: &str) -> bool {
        let Some(user) = self.users.iter().find(|known| known.id == user) else { return false };
        let directory = self.empty_directory();
        let scope = crate::scope::Scope::new(&self.policy, &directory, &self.bindings);
        let mut open: Vec<&str> = vec![tag];
        let mut seen: FxHashSet<&str> = FxHashSet::default();
        while let Some(tag) = open.pop() {
            if !seen.insert(tag) {
                continue;
            }
            let owners =
                self.policy.tag_owners.iter().filter(|(name, _)| &**name == tag).flat_map(|(_, owners)| owners);
            for owner in owners {
                match self.policy.selector(*owner) {
                    crate::selector::Selector::Tag(other) => open.push(other),
                    selector if scope.is_user(selector, user) => return true,
                    _ => {}
                }
            }
        }
        false
    }

    fn empty_directory(&self) -> crate::directory::Directory {
        crate::directory::Directory::new(Vec::new(), Vec::new(), self.tailnet.clone())
    }

    /// Whether a route that a node advertises is approved by the policy itself.
    pub fn approves(&self, node: &Node, route: &crate::address::Span) -> bool {
        let directory = self.directory_of_users();
        let scope = crate::scope::Scope::new(&self.policy, &directory, &self.bindings);
        let approvers = &self.policy.auto_approvers;
        let covering = approvers
            .routes
            .iter()
            .filter(|(span, _)| span.covers(route) && (!route.is_default_route() || span == route));
        let exit = route.is_default_route().then_some(&approvers.exit_node);
        let mut named = covering.map(|(_, ids)| ids).chain(exit).flatten();
        named.any(|id| scope.is_identity(self.policy.selector(*id), node))
    }

    fn directory_of_users(&self) -> crate::directory::Directory {
        crate::directory::Directory::new(self.users.clone(), Vec::new(), self.tailnet.clone())
    }
}

fn side_fits(side: &Side, end: &End<'_>) -> bool {
    (side.any && end.any) || has(&side.atoms, end)
}

fn has(atoms: &[Atom], end: &End<'_>) -> bool {
    atoms.iter().any(|atom| end.atoms.binary_search(atom).is_ok())
}
