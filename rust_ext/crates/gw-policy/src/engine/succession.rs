//! Whose maps are others when one engine takes the place of another, over the same nodes.
use super::links::ClassId;
use super::{Engine, NativeRule, Standpoint};
use crate::directory::{Directory, Node, Tailnet};
use crate::scope::Bindings;
use crate::window::Instant;
use roaring::RoaringBitmap;
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;
use std::sync::Arc;

/// By which number each node's class is known, by node: a class may have several, a number is of one class.
pub type Numbers = FxHashMap<u32, u32>;

/// A filter as a map tells it, and until when whom is seen, classes and nodes.
#[derive(PartialEq)]
struct Told {
    rules: Vec<NativeRule>,
    ends: BTreeMap<Instant, (Vec<u32>, Vec<u32>)>,
}

/// An engine whose classes are named by numbers.
struct Named<'a> {
    engine: &'a mut Engine,
    classes: FxHashMap<ClassId, Vec<u32>>,
    /// The sources of rules by their numbers, each list of classes by its place in `lists`.
    sources: FxHashMap<u32, Vec<NativeRule>>,
    lists: FxHashMap<Vec<ClassId>, u32>,
    /// What the lists are called: the same for the same numbers, whichever engine they are of; none without numbers.
    names: Vec<Option<u32>>,
}

/// Lists of numbers, each by its own name.
type Names = FxHashMap<Vec<u32>, u32>;

impl<'a> Named<'a> {
    fn new(engine: &'a mut Engine, numbers: &Numbers) -> Self {
        let mut classes: FxHashMap<ClassId, Vec<u32>> = FxHashMap::default();
        for (id, number) in numbers {
            if let Some(class) = engine.class_of(*id) {
                classes.entry(class).or_default().push(*number);
            }
        }
        for known in classes.values_mut() {
            known.sort_unstable();
            known.dedup();
        }
        let (sources, lists) = (FxHashMap::default(), FxHashMap::default());
        Self { engine, classes, sources, lists, names: Vec::new() }
    }

    /// What may come in to a node, with one name instead of the numbers of each rule's classes: a filter names the
    /// sources of hundreds of rules, which depend on no node.
    fn rules(&mut self, id: u32, known: &mut Names) -> Vec<NativeRule> {
        let Self { engine, classes, sources, lists, names } = self;
        let engine = &**engine;
        let mut found = engine.filter_from(id, &mut |made| {
            let named = sources.entry(made.number).or_insert_with(|| {
                let mut named = engine.named_sources(&made.rule);
                for part in named.iter_mut().filter(|part| !part.classes.is_empty()) {
                    let place = *lists.entry(std::mem::take(&mut part.classes)).or_insert_with_key(|list| {
                        let numbers = numbers_of(classes, list);
                        let name = known.len() as u32;
                        let is_named = !numbers.is_empty();
                        names.push(is_named.then(|| *known.entry(numbers).or_insert(name)));
                        names.len() as u32 - 1
                    });
                    part.classes.push(place);
                }
                named
            });
            named.clone()
        });
        for rule in &mut found {
            rule.classes = rule.classes.iter().filter_map(|place| names[*place as usize]).collect();
            rule.prefixes.sort_unstable();
            rule.prefixes.dedup();
        }
        found.retain(NativeRule::has_sources);
        found
    }

    fn told(&mut self, id: u32, known: &mut Names) -> Told {
        let rules = self.rules(id, known);
        let mut ends: BTreeMap<Instant, (Vec<u32>, Vec<u32>)> = BTreeMap::new();
        let found = self.engine.sight_ends(id);
        for (class, until) in found.classes {
            ends.entry(until).or_default().0.extend(numbers_of(&self.classes, &[class]));
        }
        found.nodes.into_iter().for_each(|(node, until)| ends.entry(until).or_default().1.push(node));
        for (numbers, nodes) in ends.values_mut() {
            numbers.sort_unstable();
            nodes.sort_unstable();
        }
        ends.retain(|_, (numbers, nodes)| !numbers.is_empty() || !nodes.is_empty());
        Told { rules, ends }
    }

    /// Whether a node is told what its classes are told, as long as no rule looks at nodes one by one.
    fn is_told_by_class(&self, node: &Node) -> bool {
        let slot = self.engine.slots.get(node.id as usize).copied().flatten();
        let is_nowhere = slot.is_some_and(|slot| self.engine.classes.get(slot.place).atoms.is_empty());
        is_nowhere && node.routes.is_empty() && node.exits.is_empty() && self.engine.ends.is_empty()
    }
}

/// The numbers of classes; one that nobody is in has none.
fn numbers_of(known: &FxHashMap<ClassId, Vec<u32>>, classes: &[ClassId]) -> Vec<u32> {
    let mut found: Vec<u32> = classes.iter().filter_map(|class| known.get(class)).flatten().copied().collect();
    found.sort_unstable();
    found
}

/// What filters depend on beside classes: whether the node is someone's, and the families of its addresses.
type Kind = (bool, bool, bool);

/// What a node's filters have in common with those of others that stand where it does; none where it is told its own.
fn alike_to(was: &Named<'_>, now: &Named<'_>, id: u32) -> Option<Kind> {
    let node = now.engine.node(id).filter(|node| was.is_told_by_class(node) && now.is_told_by_class(node))?;
    let has = |v6: bool| node.addresses.iter().any(|address| address.v6 == v6);
    Some((node.untagged_owner().is_some(), has(false), has(true)))
}

/// So many nodes and rules, or more, are taken apart aside.
const LARGE: usize = 4_096;

impl Default for Engine {
    /// Nobody, and nothing allowed.
    fn default() -> Self {
        let nobody = Directory::new(Vec::new(), Vec::new(), Tailnet::default());
        Self::build(Arc::default(), nobody, Bindings::default(), 0)
    }
}

impl Engine {
    /// Whether taking it apart takes long.
    pub fn is_large(&self) -> bool {
        self.nodes.len() + self.rules.len() >= LARGE
    }

    /// The nodes whose own class, peers, peers' classes or filter are others when this engine takes the place of
    /// another, where classes were `known` by some numbers and are to have others.
    pub fn exchanged(&mut self, before: &mut Self, known: &Numbers, numbers: &Numbers) -> RoaringBitmap {
        let ids: Vec<u32> = self.everyone.iter().collect();
        let renumbered: RoaringBitmap = ids.iter().copied().filter(|id| known.get(id) != numbers.get(id)).collect();
        let by_class = !self.tells_nodes_apart() && !before.tells_nodes_apart();
        let (mut was, mut now) = (Named::new(before, known), Named::new(self, numbers));
        let mut sights: FxHashMap<(Standpoint, Standpoint), RoaringBitmap> = FxHashMap::default();
        let mut alike: FxHashMap<((Standpoint, Standpoint), Kind), bool> = FxHashMap::default();
        let mut names = Names::default();
        let mut affected = renumbered.clone();
        for id in ids {
            let Some(points) = was.engine.standpoint(id).zip(now.engine.standpoint(id)) else {
                affected.insert(id);
                continue;
            };
            let others = sights.entry(points).or_insert_with(|| {
                let seen = now.engine.seen_from(id);
                (was.engine.seen_from(id) ^ &seen) | (seen & &renumbered)
            });
            let sees_others = others.len() > u64::from(others.contains(id));
            let kind = alike_to(&was, &now, id).filter(|_| by_class);
            let mut differs = || was.told(id, &mut names) != now.told(id, &mut names);
            let is_affected = sees_others
                || match kind {
                    Some(kind) => *alike.entry((points, kind)).or_insert_with(differs),
                    None => differs(),
                };
            if is_affected {
                affected.insert(id);
            }
        }
        affected
    }
}
