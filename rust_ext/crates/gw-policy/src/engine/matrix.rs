//! Decision cells: for each pair of classes which protocols and ports are allowed, as words that readers outside
//! look up without asking the engine.
//!
//! A cell is 0, the number of a port set, or [`LIST`] with the place of a list (its length, then port sets) in the
//! pool of its chunk. Who may reach whom is the union of the cells between both nodes' classes, and of the own cell
//! of the source's class where both nodes have one owner.
use super::Engine;
use super::atoms::Atom;
use super::links::{ClassId, Effect};
use super::pages::Pages;
use super::portsets::{PortSetId, PortSets, SEEN, WIDE};
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::BTreeMap;

/// Marks a cell that points to a list.
pub const LIST: u32 = 1 << 31;
/// Most rows of one chunk.
const CHUNK: usize = 1024;
/// Fewer rows than this are not worth a thread.
const FEW_ROWS: usize = 32;
const END: u32 = u32::MAX;
/// Stands for the class of nodes whose addresses no rule names.
pub const NO_PLACE: u32 = u32::MAX - 1;
/// Words per slot in [`Matrix::slots`].
pub const SLOT_WORDS: usize = 4;

/// Some rows and the lists that their cells point to.
#[derive(Debug, Default)]
pub struct RowChunk {
    pub rows: Vec<ClassId>,
    pub cells: Pages,
    pub pool: Pages,
}

/// What has changed since the last time.
#[derive(Debug, Default)]
pub struct Matrix {
    /// Everything is here: forget what was known.
    pub full: bool,
    /// Cells of one row.
    pub stride: usize,
    pub chunks: Vec<RowChunk>,
    /// One cell per class, and their lists; empty when they are as before.
    pub own: RowChunk,
    /// Empty when they are as before.
    pub port_heads: Vec<u32>,
    pub port_details: Vec<u32>,
    /// Node id, class of identity, class of addresses, owner (0 for none); classes of a node that is gone are all ones.
    pub slots: Vec<u32>,
}

#[derive(Debug, Clone, Default)]
pub struct State {
    stride: usize,
    dirty: FxHashSet<ClassId>,
    moved: FxHashSet<u32>,
    owners: FxHashMap<i64, u32>,
    /// Port sets that a reader has.
    sets: usize,
    own_touched: bool,
}

impl State {
    pub fn is_built(&self) -> bool {
        self.stride > 0
    }

    pub fn touch(&mut self, classes: impl Iterator<Item = ClassId>) {
        if self.is_built() {
            self.dirty.extend(classes);
        }
    }

    /// Own cells are others: a class or a link of theirs is new or gone.
    pub fn touch_own(&mut self) {
        self.own_touched = true;
    }

    pub fn move_slot(&mut self, id: u32) {
        if self.is_built() {
            self.moved.insert(id);
        }
    }
}

/// Cells in the making, by number of target atom or by class.
struct Row<'a> {
    cells: &'a mut [u32],
    sets: &'a PortSets,
    /// Lists as chains of (port set, next).
    chain: &'a mut Vec<(PortSetId, u32)>,
    lists: &'a mut Vec<u32>,
}

impl Row<'_> {
    fn add(&mut self, place: u32, set: PortSetId) {
        let cell = &mut self.cells[place as usize];
        if *cell == 0 || (*cell == SEEN && set != SEEN) {
            *cell = set;
        } else if *cell & LIST != 0 {
            self.chain.push((set, *cell & !LIST));
            *cell = LIST | (self.chain.len() - 1) as u32;
        } else if *cell == set || set == SEEN || (*cell == WIDE && self.sets.is_minor(set)) {
        } else if set == WIDE && self.sets.is_minor(*cell) {
            *cell = WIDE;
        } else {
            self.chain.push((*cell, END));
            self.chain.push((set, (self.chain.len() - 1) as u32));
            *cell = LIST | (self.chain.len() - 1) as u32;
            self.lists.push(place);
        }
    }

    /// Turn chains into lists of the pool, each set once.
    fn finish(&mut self, pool: &mut Vec<u32>) {
        let mut sets: Vec<PortSetId> = Vec::new();
        for place in self.lists.drain(..) {
            sets.clear();
            let mut next = self.cells[place as usize] & !LIST;
            while next != END {
                let (set, after) = self.chain[next as usize];
                sets.push(set);
                next = after;
            }
            self.cells[place as usize] = listed(&mut sets, self.sets, pool);
        }
        self.chain.clear();
    }
}

/// The cell of several port sets.
fn listed(sets: &mut Vec<PortSetId>, known: &PortSets, pool: &mut Vec<u32>) -> u32 {
    sets.sort_unstable();
    sets.dedup();
    let wide = sets.binary_search(&WIDE).is_ok();
    sets.retain(|set| *set != SEEN && (*set == WIDE || !wide || !known.is_minor(*set)));
    match sets[..] {
        [] => SEEN,
        [one] => one,
        _ => {
            let place = pool.len() as u32;
            pool.push(sets.len() as u32);
            pool.extend(sets.iter());
            LIST | place
        }
    }
}

/// Joins cells of one row.
struct Joiner<'a> {
    known: &'a PortSets,
    pool: &'a mut Vec<u32>,
    sets: Vec<PortSetId>,
}

impl Joiner<'_> {
    /// The cell of several cells that are not empty.
    fn join(&mut self, cells: &[u32]) -> u32 {
        let Self { known, pool, sets } = self;
        sets.clear();
        let mut wide = false;
        for cell in cells {
            let place = (cell & !LIST) as usize;
            let parts = if cell & LIST == 0 {
                std::slice::from_ref(cell)
            } else {
                &pool[place + 1..=place + pool[place] as usize]
            };
            for set in parts {
                wide |= *set == WIDE;
                if *set != SEEN && !sets.contains(set) {
                    sets.push(*set);
                }
            }
        }
        if wide {
            sets.retain(|set| *set == WIDE || !known.is_minor(*set));
        }
        match sets[..] {
            [] => SEEN,
            [one] => one,
            _ => {
                let place = pool.len() as u32;
                pool.push(sets.len() as u32);
                pool.extend_from_slice(sets);
                LIST | place
            }
        }
    }
}

/// What building one row leaves for the next: memory.
#[derive(Default)]
struct Scratch {
    /// What a row's class may do at each target atom.
    reached: Vec<u32>,
    chain: Vec<(PortSetId, u32)>,
    lists: Vec<u32>,
    pool: Vec<u32>,
}

/// Classes with equally many target atoms, which therefore take the same steps.
struct Alike {
    of_addresses: bool,
    classes: Vec<ClassId>,
    /// So many atoms of each class, one class after another.
    count: usize,
    atoms: Vec<u32>,
}

/// The targets of all rows: which atoms of each class links name, by dense numbers.
struct Targets {
    numbers: FxHashMap<Atom, u32>,
    /// Classes without such atoms are reached only where all are.
    alike: Vec<Alike>,
    bare: Vec<ClassId>,
    /// What any source may reach, each port set once.
    any: Vec<(u32, PortSetId)>,
}

impl Engine {
    /// What changed in the cells of one effect since this was last asked; all of them if `anew`.
    pub fn sync(&mut self, effect: Effect, anew: bool) -> Matrix {
        let columns = self.classes.list.len();
        let state = self.cells.get_mut(effect);
        let full = anew || columns > state.stride;
        if full {
            state.stride = columns + columns / 8 + 64;
        }
        let mut rows: Vec<ClassId> =
            if full { (0..columns as ClassId).collect() } else { state.dirty.iter().copied().collect() };
        rows.sort_unstable();
        state.dirty.clear();
        let new_own = full || std::mem::take(&mut state.own_touched);
        state.own_touched = false;
        let fresh = full || self.sets.count() > state.sets;
        state.sets = self.sets.count();
        let stride = state.stride;
        let chunks = self.row_chunks(effect, &rows);
        let own = if new_own { self.own_cells(effect) } else { RowChunk::default() };
        let (port_heads, port_details) = if fresh { self.sets.export() } else { (Vec::new(), Vec::new()) };
        let slots = self.slot_words(effect, full);
        Matrix { full, stride, chunks, own, port_heads, port_details, slots }
    }

    /// Whether denials are in force, or a reader has cells of some that were.
    pub fn has_denials(&self) -> bool {
        !self.links.deny.is_empty() || self.cells.deny.is_built()
    }

    fn row_chunks(&self, effect: Effect, rows: &[ClassId]) -> Vec<RowChunk> {
        let targets = self.targets(effect);
        let workers = std::thread::available_parallelism().map_or(1, usize::from).min(rows.len() / FEW_ROWS);
        if workers < 2 {
            return self.chunks(effect, rows, &targets);
        }
        let targets = &targets;
        std::thread::scope(|scope| {
            let shares = rows.chunks(rows.len().div_ceil(workers));
            let threads: Vec<_> =
                shares.map(|share| scope.spawn(move || self.chunks(effect, share, targets))).collect();
            threads.into_iter().flat_map(|thread| thread.join().expect("building rows does not panic")).collect()
        })
    }

    fn chunks(&self, effect: Effect, rows: &[ClassId], targets: &Targets) -> Vec<RowChunk> {
        let mut scratch = Scratch { reached: vec![0; targets.numbers.len()], ..Scratch::default() };
        rows.chunks(CHUNK).map(|part| self.chunk(effect, part, targets, &mut scratch)).collect()
    }

    fn targets(&self, effect: Effect) -> Targets {
        let links = self.links.get(effect);
        let numbers: FxHashMap<Atom, u32> = links.target_atoms().zip(0..).collect();
        let mut alike: BTreeMap<(bool, usize), Alike> = BTreeMap::new();
        let mut bare = Vec::new();
        for (id, class) in self.classes.list.iter().enumerate() {
            let own = class.atoms.iter().filter_map(|atom| numbers.get(atom).copied());
            let (count, of_addresses) = (own.clone().count(), class.of_addresses);
            if count == 0 {
                bare.extend((!of_addresses).then_some(id as ClassId));
                continue;
            }
            let new = || Alike { of_addresses, classes: Vec::new(), count, atoms: Vec::new() };
            let group = alike.entry((of_addresses, count)).or_insert_with(new);
            group.classes.push(id as ClassId);
            group.atoms.extend(own);
        }
        let any = links.from_any.iter().map(|id| links.get(*id));
        let mut any: Vec<(u32, PortSetId)> =
            any.flat_map(|link| link.targets.atoms.iter().map(|atom| (numbers[atom], link.ports))).collect();
        any.sort_unstable();
        any.dedup();
        Targets { numbers, alike: alike.into_values().collect(), bare, any }
    }

    fn chunk(&self, effect: Effect, rows: &[ClassId], targets: &Targets, scratch: &mut Scratch) -> RowChunk {
        let stride = self.cells.get(effect).stride;
        let mut all = Pages::zeroed(rows.len() * stride);
        let Scratch { reached, chain, lists, pool } = scratch;
        pool.clear();
        for (class, cells) in rows.iter().zip(all.chunks_mut(stride)) {
            reached.fill(0);
            let mut row = Row { cells: reached, sets: &self.sets, chain, lists };
            let base = self.reach(effect, *class, &mut row, targets);
            row.finish(pool);
            self.spread(reached, base, targets, cells, pool);
        }
        RowChunk { rows: rows.to_vec(), cells: all, pool: Pages::from(&pool[..]) }
    }

    /// What a class may do at each target atom; what it may do at every class comes back.
    fn reach(&self, effect: Effect, class: ClassId, row: &mut Row<'_>, targets: &Targets) -> Vec<PortSetId> {
        let (known, links) = (self.classes.get(class), self.links.get(effect));
        let mut base: Vec<PortSetId> = Vec::new();
        links.out(&known.atoms).for_each(|(atom, set)| row.add(targets.numbers[atom], *set));
        for link in links.special_from(&known.atoms) {
            if link.targets.any {
                base.push(link.ports);
            }
            link.targets.atoms.iter().for_each(|atom| row.add(targets.numbers[atom], link.ports));
        }
        if !known.of_addresses {
            base.extend(links.any_to_any.iter().map(|id| links.get(*id).ports));
            targets.any.iter().for_each(|(number, set)| row.add(*number, *set));
        }
        base
    }

    /// From target atoms to classes: a class may be reached by any of its atoms.
    fn spread(
        &self,
        reached: &[u32],
        mut base: Vec<PortSetId>,
        targets: &Targets,
        cells: &mut [u32],
        pool: &mut Vec<u32>,
    ) {
        let base = if base.is_empty() { 0 } else { listed(&mut base, &self.sets, pool) };
        let mut joiner = Joiner { known: &self.sets, pool, sets: Vec::new() };
        if base != 0 {
            targets.bare.iter().for_each(|class| cells[*class as usize] = base);
        }
        let mut several: Vec<u32> = Vec::new();
        for group in &targets.alike {
            let everywhere = if group.of_addresses { 0 } else { base };
            for (class, atoms) in group.classes.iter().zip(group.atoms.chunks_exact(group.count)) {
                // Without a branch: what one class may do at another is as good as random.
                let (mut found, mut differ) = (everywhere, false);
                for atom in atoms {
                    let more = reached[*atom as usize];
                    found = if found == 0 { more } else { found };
                    differ |= (more != 0) & (more != found);
                }
                if differ {
                    several.clear();
                    several.extend((everywhere != 0).then_some(everywhere));
                    several.extend(atoms.iter().map(|atom| reached[*atom as usize]).filter(|cell| *cell != 0));
                    found = joiner.join(&several);
                }
                cells[*class as usize] = found;
            }
        }
    }

    fn own_cells(&self, effect: Effect) -> RowChunk {
        let (links, stride) = (self.links.get(effect), self.cells.get(effect).stride);
        let (mut cells, mut pool) = (Pages::zeroed(stride), Vec::new());
        let (mut chain, mut lists) = (Vec::new(), Vec::new());
        let mut row = Row { cells: &mut cells, sets: &self.sets, chain: &mut chain, lists: &mut lists };
        for id in &links.own {
            let link = links.get(*id);
            let mut sources = vec![0u64; self.classes.list.len().div_ceil(64)];
            if link.sources.any {
                self.mark_all(&mut sources)
            } else {
                self.mark_sources(link, &mut sources)
            }
            super::bits(&sources).for_each(|class| row.add(class, link.ports));
        }
        row.finish(&mut pool);
        RowChunk { rows: Vec::new(), cells, pool: Pages::from(&pool[..]) }
    }

    fn slot_words(&mut self, effect: Effect, full: bool) -> Vec<u32> {
        let state = self.cells.get_mut(effect);
        let moved = std::mem::take(&mut state.moved);
        let ids: Vec<u32> = if full { (0..self.slots.len() as u32).collect() } else { moved.into_iter().collect() };
        let mut words = Vec::with_capacity(ids.len() * SLOT_WORDS);
        for id in ids {
            let Some(slot) = self.slots.get(id as usize).copied().flatten() else {
                words.extend([id, u32::MAX, u32::MAX, 0]);
                continue;
            };
            let owner = self.nodes.get(&id).and_then(|node| node.untagged_owner()).map_or(0, |owner| {
                let next = state.owners.len() as u32 + 1;
                *state.owners.entry(owner).or_insert(next)
            });
            let place = if self.classes.get(slot.place).atoms.is_empty() { NO_PLACE } else { slot.place };
            words.extend([id, slot.identity, place, owner]);
        }
        words
    }
}
