//! Questions about one connection: may it be, and which rule says so.
use super::atoms::{Atom, Catalog, V4, V6, atom};
use super::classes::meets;
use super::links::{Effect, Link, Reach, Side};
use super::{Engine, Made};
use crate::address::Address;
use crate::directory::Node;
use crate::model::{Rule, Section};
use crate::posture::Condition;
use crate::scope::Scope;
use crate::selector::Selector;
use crate::window::{Instant, Window};
use rustc_hash::FxHashSet;
use std::borrow::Cow;

/// Source, target and ports match.
const ALL: u32 = 5;

/// A window that an answer rests on: the rule's own (`of` is empty), or of a membership in the group `of`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    pub of: String,
    pub schedule: String,
    /// 0 for never.
    pub expires: Instant,
    pub open: bool,
    /// When it next opens or closes, 0 for never.
    pub turns: Instant,
}

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
    /// Whether the rule's own window is open.
    pub open: bool,
    pub limits: Vec<Limit>,
    /// Postures and conditions of which one must hold, and whether each does.
    pub conditions: Vec<(String, bool)>,
    /// The facts among them that a node reports of itself.
    pub reported: Vec<String>,
}

/// The denials of a connection and the rules that allow it, or the nearest one that does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub allowed: bool,
    pub rules: Vec<Explanation>,
}

/// One end of a connection.
#[derive(Clone)]
struct End<'a> {
    node: Option<&'a Node>,
    atoms: Vec<Atom>,
    /// Counts as `*` as a source.
    any: bool,
}

impl Engine {
    fn end_at(&self, catalog: &Catalog, address: Address) -> End<'_> {
        let node = self.by_address.get(&address).and_then(|id| self.nodes.get(id));
        let how = if address.v6 { V6 } else { V4 };
        let mut atoms = node.map_or(Vec::new(), |node| catalog.identity(&self.policy, node));
        catalog.selectors_at(address, &mut |id| atoms.push(atom(id, how)));
        atoms.sort_unstable();
        let routed = || self.routes.keys().any(|route| route.contains(address));
        let any = node.is_some() || self.pools.iter().any(|pool| pool.contains(address)) || routed();
        End { node, atoms, any }
    }

    fn end_of(&self, catalog: &Catalog, node: &'_ Node) -> End<'_> {
        let mut atoms = catalog.identity(&self.policy, node);
        atoms.extend(catalog.place(&self.policy, node));
        atoms.sort_unstable();
        atoms.dedup();
        let node = self.nodes.get(&node.id);
        End { node, atoms, any: true }
    }

    /// Whether a packet from one address to another may be, whoever has them; `beside` what rules between prefixes
    /// accept, if so asked.
    pub fn decide_address(&self, source: Address, target: Address, protocol: u8, port: u16, beside: bool) -> bool {
        if source.v6 != target.v6 {
            return false;
        }
        let mut ends = [source, target].map(|address| self.end_at(&self.catalog, address));
        if !self.is_named(Effect::Accept, &ends, protocol, port, beside) {
            return false;
        }
        ends.iter_mut().for_each(|end| self.widen(end));
        !self.is_named(Effect::Deny, &ends, protocol, port, false)
    }

    /// Whether a link of this effect is about these ends; one `beside` those between prefixes, if so asked.
    fn is_named(&self, effect: Effect, [source, target]: &[End<'_>; 2], protocol: u8, port: u16, beside: bool) -> bool {
        let links = self.links.get(effect);
        let fits = |set| self.sets.get(set).allows(protocol, port);
        let opens = |(atom, set): &(Atom, _)| target.atoms.binary_search(atom).is_ok() && fits(*set);
        if links.out_beside(&source.atoms).any(opens) || (!beside && links.out_between(&source.atoms).any(opens)) {
            return true;
        }
        let wide = links.from_any.iter().chain(&links.any_to_any).chain(&links.routed).chain(&links.own);
        let mut others = links.special_from(&source.atoms).chain(wide.map(|id| links.get(*id)));
        others.any(|link| {
            let is_asked = !(beside && link.is_between_prefixes());
            is_asked && fits(link.ports) && self.target_fits(link, source, target) && self.source_fits(link, source)
        })
    }

    /// Denials that name one address of a node are about the node, by whichever address it is reached.
    fn widen(&self, end: &mut End<'_>) {
        let Some(node) = end.node.filter(|_| !self.links.deny.is_empty()) else { return };
        for address in &node.addresses {
            let how = if address.v6 { V6 } else { V4 };
            self.catalog.selectors_at(*address, &mut |id| end.atoms.push(atom(id, how)));
        }
        end.atoms.sort_unstable();
        end.atoms.dedup();
    }

    /// Why a connection between two nodes may be or not at a time. Of those that do not allow it, the rule that comes
    /// nearest.
    pub fn explain(&self, source: u32, target: u32, protocol: u8, port: u16, at: Instant) -> Option<Verdict> {
        let catalog = self.catalog_at(at);
        let ends = [self.nodes.get(&source)?, self.nodes.get(&target)?].map(|node| self.end_of(&catalog, node));
        Some(self.verdict(&catalog, [&ends, &ends], (protocol, port), at))
    }

    /// The same between two addresses, whether nodes have them or lie before them.
    pub fn explain_address(&self, source: Address, target: Address, protocol: u8, port: u16, at: Instant) -> Verdict {
        if source.v6 != target.v6 {
            return Verdict { allowed: false, rules: Vec::new() };
        }
        let catalog = self.catalog_at(at);
        let ends = [source, target].map(|address| self.end_at(&catalog, address));
        let mut wide = ends.clone();
        wide.iter_mut().for_each(|end| self.widen(end));
        self.verdict(&catalog, [&ends, &wide], (protocol, port), at)
    }

    /// Who bears which name at a time.
    fn catalog_at(&self, at: Instant) -> Cow<'_, Catalog> {
        let mut catalog = Cow::Borrowed(&self.catalog);
        if at != self.at {
            catalog.to_mut().bind(&self.policy, &self.selectors, &self.bindings, &self.users, at);
        }
        catalog
    }

    /// What rules say of two ends: as those that accept see them, and as those that deny do.
    fn verdict(
        &self,
        catalog: &Catalog,
        seen: [&[End<'_>; 2]; 2],
        (protocol, port): (u8, u16),
        at: Instant,
    ) -> Verdict {
        let (mut denying, mut allowing) = (Vec::new(), Vec::new());
        let mut nearest: Option<(u32, Explanation)> = None;
        for (made, written) in self.rules_as_written() {
            let ends = seen[usize::from(made.rule.denies())];
            let [source, target] = ends;
            let mut best: Option<(u32, [bool; 3])> = None;
            for id in made.links.clone() {
                let link = self.links.get(made.effect()).get(id);
                if (link.reach == Reach::Routed && target.node.is_some()) || link.ports == super::portsets::SEEN {
                    continue;
                }
                let fits = [
                    self.source_fits(link, source),
                    self.target_fits(link, source, target),
                    self.ports_fit(link, protocol, port),
                ];
                let score = u32::from(fits[0]) * 2 + u32::from(fits[1]) * 2 + u32::from(fits[2]);
                if best.is_none_or(|(known, _)| score > known) {
                    best = Some((score, fits));
                }
            }
            let Some((score, fits)) = best else { continue };
            let counts = score == ALL && made.rule.is_open(at);
            if counts {
                let list = if made.rule.denies() { &mut denying } else { &mut allowing };
                list.push(self.explanation(catalog, (made, written), fits, ends, at));
            } else if !made.rule.denies() && nearest.as_ref().is_none_or(|(known, _)| score > *known) {
                nearest = Some((score, self.explanation(catalog, (made, written), fits, ends, at)));
            }
        }
        let allowed = denying.is_empty() && !allowing.is_empty();
        let near = nearest.filter(|(score, _)| *score > 1).map(|(_, explanation)| explanation);
        denying.append(&mut allowing);
        let rules = if denying.is_empty() { near.into_iter().collect() } else { denying };
        Verdict { allowed, rules }
    }

    /// Every rule, and the same as it stands in the text: elsewhere than before, perhaps, once others were edited.
    fn rules_as_written(&self) -> impl Iterator<Item = (&Made, &Rule)> {
        let in_text = |place: usize| self.policy.rules.get(place).filter(|_| !self.policy.allows_everything);
        let rules = self.rules.iter().enumerate();
        let rules = rules.map(move |(place, made)| (made, &**in_text(place).unwrap_or(&made.rule)));
        rules.chain(self.access.iter().map(|(_, made)| (made, &*made.rule)))
    }

    fn explanation(
        &self,
        catalog: &Catalog,
        (made, written): (&Made, &Rule),
        fits: [bool; 3],
        ends: &[End<'_>; 2],
        at: Instant,
    ) -> Explanation {
        let rule = &made.rule;
        let (line, column) = if rule.section == Section::Access { (0, 0) } else { self.policy.position(written.at) };
        let [source_matches, target_matches, ports_match] = fits;
        let postures = rule.postures.iter().map(|index| &self.policy.postures[*index as usize]);
        let conditions = ends[0].node.map_or(Vec::new(), |node| {
            let attributes = catalog.attributes_of(node);
            let holds = |conditions: &[Condition]| conditions.iter().all(|one| one.holds(node, &attributes));
            postures.clone().map(|(name, conditions)| (name.to_string(), holds(conditions))).collect()
        });
        let facts = postures.flat_map(|(_, conditions)| conditions).filter(|condition| condition.is_reported());
        let mut reported: Vec<String> = facts.map(|condition| condition.name().to_owned()).collect();
        reported.sort_unstable();
        reported.dedup();
        Explanation {
            section: rule.section,
            index: written.index,
            line,
            column,
            source_matches,
            target_matches,
            ports_match,
            open: rule.is_open(at),
            limits: self.limits(rule, ends, at),
            conditions,
            reported,
        }
    }

    /// The windows that a rule rests on between two ends: its own, and those of memberships of the ends' owners.
    fn limits(&self, rule: &Rule, ends: &[End<'_>; 2], at: Instant) -> Vec<Limit> {
        let mut found: Vec<Limit> = rule.window.iter().map(|window| limit("", window, at)).collect();
        for (ids, end) in [&rule.sources, &rule.destinations].into_iter().zip(ends) {
            let Some(owner) = end.node.and_then(Node::untagged_owner) else { continue };
            let bears = |name: &str| self.bindings.0.get(name) == Some(&owner);
            let is_owner = |id: &u32| matches!(self.policy.selector(*id), Selector::User(name) if bears(name));
            for timed in ids.iter().flat_map(|id| self.catalog.timed.of(*id)) {
                let known = &self.policy.memberships[timed.number];
                if known.members.iter().any(is_owner) {
                    found.push(limit(&known.group, &known.window, at));
                }
            }
        }
        found
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
        let scope = Scope::new(&self.policy, &directory, &self.bindings, self.at);
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
        let scope = Scope::new(&self.policy, &directory, &self.bindings, self.at);
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

fn limit(of: &str, window: &Window, at: Instant) -> Limit {
    let now = window.at(at);
    Limit {
        of: of.to_owned(),
        schedule: window.schedule.as_ref().map_or(String::new(), |schedule| schedule.name.to_string()),
        expires: window.expires.unwrap_or(0),
        open: now.open,
        turns: now.turns,
    }
}

fn side_fits(side: &Side, end: &End<'_>) -> bool {
    (side.any && end.any) || has(&side.atoms, end)
}

fn has(atoms: &[Atom], end: &End<'_>) -> bool {
    atoms.iter().any(|atom| end.atoms.binary_search(atom).is_ok())
}
