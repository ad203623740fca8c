//! Answers about one node in the service's shape, made of those parts of policy and directory alone that have a say in
//! them.
use super::sources::{Alike, Others, Sources, needs};
use super::{Engine, Made, Slot};
use crate::access::Approved;
use crate::attributes;
use crate::directory::{Directory, Node, User};
use crate::filter::{FilterRule, Filters, has_companions};
use crate::logins::{self, Login};
use crate::model::{Access, Rule, SelectorId};
use crate::ports::Protocols;
use crate::scope::{Bearers, Scope};
use crate::selector::Selector;
use roaring::RoaringBitmap;
use rustc_hash::{FxHashMap, FxHashSet};
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The rules that may have certain sources, by place.
type Namesakes = Vec<(usize, Alike)>;

impl Engine {
    /// What may come in to a node, in the service's shape and without what is denied. None for an unknown node.
    pub fn packet_filter(&self, id: u32) -> Option<Vec<FilterRule>> {
        let (node, slot) = self.nodes.get(&id).zip(self.slots.get(id as usize).copied().flatten())?;
        if self.by_address.len() < self.addresses {
            // Where nodes share addresses, rules may have the same sources that name others.
            let directory = self.directory();
            return Some(Filters::new(&self.scope(&directory)).of(directory.node(id)?));
        }
        let places = self.having_a_say(node, slot);
        let made: Vec<(usize, &Made)> = places.iter().filter_map(|at| Some((*at, self.at_place(*at)?))).collect();
        let names_all = made.iter().any(|(_, made)| made.rule.denies() && names_everyone(&self.selectors, &made.rule));
        let directory = if names_all { self.directory() } else { Arc::new(self.part(node, &made)) };
        let rules = made.iter().filter_map(|(place, _)| self.policy.rules.get(*place)).map(AsRef::as_ref);
        let approved = self.access.iter().zip(self.rules.len()..).filter(|(_, place)| places.contains(place));
        let approved: Vec<Approved> = approved.map(|((approved, _), _)| approved.clone()).collect();
        let scope = Scope::of(&self.policy, rules, &directory, &self.bindings, self.at)
            .with_access(&approved)
            .with_bearers(self.bearers(&directory, &made));
        Some(Filters::new(&scope).of(directory.node(id)?))
    }

    /// Who may log in to a node, in the service's shape. None for an unknown node.
    pub fn logins(&self, id: u32) -> Option<Vec<Login>> {
        let node = self.nodes.get(&id)?;
        let part = self.part(node, &[]);
        let scope = Scope::of(&self.policy, std::iter::empty(), &part, &self.bindings, self.at);
        if !self.policy.ssh.iter().any(|rule| logins::concerns(&scope, rule, node)) {
            return Some(Vec::new());
        }
        let directory = self.directory();
        let scope = Scope::of(&self.policy, std::iter::empty(), &directory, &self.bindings, self.at);
        Some(logins::of(&scope, directory.node(id)?))
    }

    /// A node's own capabilities, in the service's shape. None for an unknown node.
    pub fn capabilities(&self, id: u32) -> Option<Map<String, Value>> {
        let part = self.part(self.nodes.get(&id)?, &[]);
        let scope = Scope::of(&self.policy, std::iter::empty(), &part, &self.bindings, self.at);
        Some(attributes::of(&scope, part.node(id)?))
    }

    /// The rules that a node's filter is made of, by place: those that may have a destination there, and those that
    /// decide where these stand in it.
    fn having_a_say(&self, node: &Node, slot: Slot) -> BTreeSet<usize> {
        let naming = self.naming(node, slot).into_iter().filter_map(|number| self.place_of(number));
        let in_force = |place: &usize| self.at_place(*place).is_some_and(|made| made.standing.is_open());
        let mut places: BTreeSet<usize> = naming.chain(self.unlinked().iter().copied()).filter(in_force).collect();
        let own = self.namesakes(&self.own_devices(node));
        let mut known: FxHashMap<(&[SelectorId], &[u32]), Namesakes> = FxHashMap::default();
        let mut first: Vec<usize> = Vec::new();
        for place in &places {
            let Some(made) = self.at_place(*place).filter(|made| !made.rule.denies()) else { continue };
            let names = (&made.rule.sources[..], &made.rule.postures[..]);
            let others = known.entry(names).or_insert_with(|| self.namesakes(&self.sources(made)));
            for namesakes in [&own, others] {
                first.extend(self.first_of(namesakes, *place));
            }
        }
        places.extend(first);
        places
    }

    /// Of the namesakes before a rule those that share protocols with it: for each the first one that is one
    /// certainly, and those before it.
    fn first_of(&self, namesakes: &Namesakes, place: usize) -> Vec<usize> {
        let mut found = Vec::new();
        let Some(made) = self.at_place(place) else { return found };
        for Access { protocols, .. } in &made.rule.access {
            for (before, alike) in namesakes.iter().take_while(|(before, _)| *before < place) {
                if !self.at_place(*before).is_some_and(|made| self.opens(&made.rule, protocols)) {
                    continue;
                }
                found.push(*before);
                if *alike == Alike::Yes {
                    break;
                }
            }
        }
        found
    }

    /// Whether a rule opens these protocols to others than devices of one owner.
    fn opens(&self, rule: &Rule, protocols: &Protocols) -> bool {
        let others = |(id, _): &(SelectorId, _)| self.selectors[*id as usize] != Selector::Own;
        rule.access.iter().any(|access| access.protocols == *protocols && access.targets.iter().any(others))
    }

    /// The rules that have certain sources, or may, in order.
    fn namesakes(&self, sources: &Sources) -> Namesakes {
        let (links, atoms) = (&self.links.accept, self.atoms_of_one(sources));
        let are_wide = sources.wild || sources.danger || !sources.spans.is_empty();
        let wide = links.from_any.iter().chain(&links.any_to_any).filter(|_| are_wide).map(|id| links.get(*id));
        let numbers = links.sourced(&atoms).chain(wide).map(|link| link.rule);
        let mut places: Vec<usize> = numbers.filter_map(|number| self.place_of(number)).collect();
        places.sort_unstable();
        places.dedup();
        let mut others = Others::default();
        let mut alike = |place: usize| match self.at_place(place) {
            Some(made) if made.rule.via.is_empty() => self.alike(sources, made, &mut others),
            _ => Alike::No,
        };
        places.into_iter().map(|place| (place, alike(place))).filter(|(_, alike)| *alike != Alike::No).collect()
    }

    /// The rules to which no link leads from a node in whose filter they may be: those that give capabilities to
    /// sources, and those that name nothing on one side.
    fn unlinked(&self) -> &[usize] {
        self.unlinked.get_or_init(|| {
            let rules = self.rules.iter().zip(0..);
            rules
                .filter(|(made, _)| made.links.is_empty() || has_companions(&made.rule))
                .map(|(_, place)| place)
                .collect()
        })
    }

    /// The nodes that rules name as sources, one node itself, and their owners.
    fn part(&self, node: &Node, made: &[(usize, &Made)]) -> Directory {
        let mut ids = RoaringBitmap::from_iter([node.id]);
        for (_, Made { rule, .. }) in made {
            self.name(rule, &rule.sources, &mut ids);
            if has_companions(rule) {
                self.name(rule, &rule.destinations, &mut ids);
            }
        }
        if self.policy.allows_everything {
            ids |= &self.routers;
        }
        ids.extend(node.untagged_owner().and_then(|owner| self.by_owner.get(&owner)).into_iter().flatten());
        let nodes: Vec<Node> = ids.iter().filter_map(|id| self.nodes.get(&id)).cloned().collect();
        let owners: FxHashSet<i64> = nodes.iter().filter_map(Node::untagged_owner).collect();
        let users: Vec<User> = self.users.iter().filter(|user| owners.contains(&user.id)).cloned().collect();
        let mut part = Directory::new(users, nodes, self.tailnet.clone());
        part.pools = self.pools.iter().copied().collect();
        part
    }

    /// Add the nodes whose addresses or routes a rule's names stand for as sources.
    fn name(&self, rule: &Rule, names: &[SelectorId], found: &mut RoaringBitmap) {
        let needs = needs(rule);
        for id in names {
            match &self.selectors[*id as usize] {
                Selector::Any | Selector::DangerAll if needs.is_empty() => *found |= &self.routers,
                Selector::Any | Selector::DangerAll => {
                    found.extend(self.meeting(&needs).flat_map(|class| &self.classes.get(class).members));
                }
                selector if selector.is_identity() => {
                    let classes = self.bearing_now(*id, &needs).into_iter();
                    found.extend(classes.flat_map(|class| &self.classes.get(class).members));
                }
                _ if needs.is_empty() && !rule.denies() => {}
                _ => found.extend(self.inside(*id, &needs).map(|node| node.id)),
            }
        }
    }

    /// Who bears the names of rules of the policy that are looked up as sources.
    fn bearers(&self, directory: &Directory, made: &[(usize, &Made)]) -> Bearers {
        let mut found = Bearers::default();
        for (place, made) in made {
            let Some(written) = self.policy.rules.get(*place) else { continue };
            for (name, id) in written.sources.iter().zip(&made.rule.sources) {
                if !self.selectors[*id as usize].is_identity() || found.contains_key(name) {
                    continue;
                }
                let classes = self.bearing_now(*id, &[]).into_iter();
                let members = classes.flat_map(|class| &self.classes.get(class).members);
                let mut nodes: Vec<u32> = members.filter_map(|id| directory.index(*id)).collect();
                nodes.sort_unstable();
                nodes.dedup();
                found.insert(*name, nodes.into());
            }
        }
        found
    }
}

fn names_everyone(selectors: &[Selector], rule: &Rule) -> bool {
    let is_everyone = |id: &SelectorId| matches!(selectors[*id as usize], Selector::Any | Selector::DangerAll);
    rule.postures.is_empty() && rule.sources.iter().any(is_everyone)
}
