//! Links come into force and go out of it, and who is affected by it.
use super::links::{Both, ClassId, Effect, Link, Reach};
use super::standing::Standing;
use super::views::Seen;
use super::{Engine, Made, bits};
use crate::window::Instant;
use roaring::RoaringBitmap;
use rustc_hash::FxHashSet;
use std::collections::BTreeMap;

/// Links that change: those that come into force or go out of it, and those whose rules end at another time.
#[derive(Default)]
pub(super) struct Relinked {
    detached: Vec<(Effect, u32)>,
    attached: Vec<(Effect, u32)>,
    restated: Vec<(Effect, u32)>,
}

impl Relinked {
    /// Note what becomes of a rule that stood otherwise before.
    pub fn note(&mut self, made: &Made, before: Standing) {
        let list = match (before.is_open(), made.standing.is_open()) {
            (false, true) => &mut self.attached,
            (true, false) => &mut self.detached,
            (true, true) => &mut self.restated,
            (false, false) => return,
        };
        list.extend(made.links.clone().map(|id| (made.effect(), id)));
    }
}

/// One bit per class, for what links touch.
pub(super) struct Marks {
    pub sources: Vec<u64>,
    pub targets: Vec<u64>,
    pub owning: Vec<u64>,
}

/// Whom a class sees, and of these whom for a time only.
type Sight = (Seen, BTreeMap<ClassId, Instant>);

/// What is seen before links change.
#[derive(Default)]
struct Before {
    sources: Vec<(ClassId, Sight)>,
    /// Targets, for the sources that are judged by whether these see them.
    targets: Vec<(ClassId, Seen)>,
    through: Vec<u64>,
}

impl Engine {
    pub(super) fn marks(&self) -> Marks {
        let none = || vec![0u64; self.classes.list.len().div_ceil(64)];
        Marks { sources: none(), targets: none(), owning: none() }
    }

    /// Put links in force and out of it. The nodes whose peers or filter change.
    pub(super) fn relink(&mut self, change: &Relinked) -> RoaringBitmap {
        if change.detached.is_empty() && change.attached.is_empty() && change.restated.is_empty() {
            self.restate();
            return RoaringBitmap::new();
        }
        let (mut accept, mut deny) = (self.marks(), self.marks());
        for (effect, id) in change.detached.iter().chain(&change.attached) {
            let marks = if *effect == Effect::Accept { &mut accept } else { &mut deny };
            self.mark_sides(self.links.get(*effect).get(*id), marks);
        }
        self.touch_cells(change.detached.iter().chain(&change.attached));
        let mut targets = accept.targets.clone();
        or(&mut targets, &deny.targets);
        let mut restated = self.marks();
        for (effect, id) in &change.restated {
            let link = self.links.get(*effect).get(*id);
            if *effect == Effect::Accept {
                self.mark_sides(link, &mut restated);
            }
            self.mark_filters(link, &mut targets);
        }
        or(&mut accept.sources, &restated.sources);
        or(&mut accept.owning, &restated.owning);
        or(&mut accept.owning, &deny.owning);
        // The filters of targets are others in any case; of the sources only some see others than before.
        let known: Vec<ClassId> = bits(&accept.sources).chain(bits(&accept.targets)).collect();
        accept.sources.iter_mut().zip(&targets).for_each(|(from, to)| *from &= !to);
        let before = self.before(&accept.sources, &accept.targets);
        known.into_iter().for_each(|class| self.views.forget(Effect::Accept, class));
        bits(&deny.sources).chain(bits(&deny.targets)).for_each(|class| self.views.forget(Effect::Deny, class));
        let hidden = self.sights(&deny.sources, &deny.targets, &targets);
        change.detached.iter().for_each(|(effect, id)| self.links.get_mut(*effect).detach(*id));
        change.attached.iter().for_each(|(effect, id)| self.links.get_mut(*effect).attach(*id));
        self.hidden.forget();
        self.restate();
        let mut affected = self.members(&targets);
        affected |= self.beside(&accept.owning);
        affected |= self.seeing_others(before);
        affected | self.changed_sights(hidden)
    }

    /// Note which cells links are in.
    fn touch_cells<'a>(&mut self, changed: impl Iterator<Item = &'a (Effect, u32)>) {
        let mut marks = Both { accept: self.marks(), deny: self.marks() };
        for (effect, id) in changed {
            let link = self.links.get(*effect).get(*id);
            let Marks { sources, targets, .. } = marks.get_mut(*effect);
            if link.is_in_rows() {
                self.mark_sources(link, sources);
                self.mark(link.targets.atoms.iter(), targets);
            } else {
                self.cells.get_mut(*effect).touch_sides();
            }
        }
        for effect in [Effect::Accept, Effect::Deny] {
            let Marks { sources, targets, .. } = marks.get(effect);
            self.cells.get_mut(effect).touch(sources, targets);
        }
    }

    /// Mark the classes in whose rows of cells a link is.
    pub(super) fn mark_rows(&self, link: &Link, marks: &mut [u64]) {
        if link.is_in_rows() {
            self.mark_sources(link, marks);
        }
    }

    /// What classes see that links may change, which are sources of them: looked at from the side with fewer classes.
    fn before(&mut self, sources: &[u64], targets: &[u64]) -> Before {
        let mut before = Before { through: self.marks().sources, ..Before::default() };
        let is_wide = self.ends.is_empty() && bits(targets).count() < bits(sources).count();
        for class in bits(sources) {
            // A link with any source or target is one of identities: there sight is mutual between nodes, not classes.
            if is_wide && !self.classes.get(class).of_addresses {
                before.through[class as usize / 64] |= 1 << (class % 64);
            } else {
                before.sources.push((class, self.sees(class)));
            }
        }
        if is_wide {
            before.targets = bits(targets).map(|class| (class, self.seen_by(Effect::Accept, class))).collect();
        }
        before
    }

    /// The nodes of sources that see others than before.
    fn seeing_others(&mut self, before: Before) -> RoaringBitmap {
        let mut moved = self.marks().sources;
        for (class, (seen, ends)) in before.sources {
            let now = self.sees(class);
            if now.1 != ends || (now.0 != seen && self.nodes_of(&now.0) != self.nodes_of(&seen)) {
                moved[class as usize / 64] |= 1 << (class % 64);
            }
        }
        if !self.ends.is_empty() {
            or(&mut moved, &before.through);
        }
        for (class, seen) in before.targets {
            let now = self.seen_by(Effect::Accept, class);
            let differing = seen.differing(&now).zip(&before.through).map(|(differs, through)| differs & through);
            moved.iter_mut().zip(differing).for_each(|(moved, differs)| *moved |= differs);
        }
        self.members(&moved)
    }

    /// All devices of those who own one in these classes: the others may be in no class that a rule names.
    pub(super) fn beside(&mut self, classes: &[u64]) -> RoaringBitmap {
        let named = self.members(classes);
        let owners: FxHashSet<i64> = named.iter().filter_map(|id| self.nodes.get(&id)?.untagged_owner()).collect();
        owners.iter().filter_map(|owner| self.by_owner.get(owner)).flatten().copied().collect()
    }

    /// Mark the classes that are sources of a link, and those in whose filter it is.
    pub(super) fn mark_sides(&self, link: &Link, marks: &mut Marks) {
        if link.reach == Reach::Routed {
            return;
        }
        if link.sources.any {
            self.mark_all(&mut marks.sources)
        } else {
            self.mark_sources(link, &mut marks.sources)
        }
        self.mark_filters(link, &mut marks.targets);
        if link.reach == Reach::Own && !link.sources.any {
            self.mark_sources(link, &mut marks.owning);
        }
    }

    /// Mark the classes in whose filter a link is.
    pub(super) fn mark_filters(&self, link: &Link, targets: &mut [u64]) {
        match (link.reach, link.targets.any) {
            (Reach::Routed, _) => {}
            (Reach::Own, _) if link.sources.any => self.mark_all(targets),
            (Reach::Own, _) => self.mark_sources(link, targets),
            (_, true) => self.mark_all(targets),
            (_, false) => self.mark(link.targets.atoms.iter(), targets),
        }
    }

    pub(super) fn mark_all(&self, marks: &mut [u64]) {
        (0..self.classes.list.len()).for_each(|class| marks[class / 64] |= 1 << (class % 64));
    }

    /// Whom a class sees, and of these whom for a time only.
    fn sees(&mut self, class: ClassId) -> Sight {
        (self.seen_by(Effect::Accept, class), self.class_ends(class))
    }
}

pub(super) fn or(left: &mut [u64], right: &[u64]) {
    left.iter_mut().zip(right).for_each(|(left, right)| *left |= right);
}
