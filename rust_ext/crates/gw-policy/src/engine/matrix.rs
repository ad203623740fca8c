//! Decision cells: for each pair of classes which protocols and ports are allowed, as words that readers outside
//! look up without asking the engine.
//!
//! A cell is 0, the number of a port set, or [`LIST`] with the place of a list (its length, then port sets) in the
//! pool of its chunk. Who may reach whom is the union of the cells between both nodes' classes, and of the own cell
//! of the source's class where both nodes have one owner.
use super::Engine;
use super::links::{ClassId, Reach};
use super::portsets::{PortSetId, PortSets, SEEN, WIDE};
use rustc_hash::{FxHashMap, FxHashSet};

/// Marks a cell that points to a list.
pub const LIST: u32 = 1 << 31;
/// Rows of one chunk.
const CHUNK: usize = 256;
const END: u32 = u32::MAX;
/// Words per slot in [`Matrix::slots`].
pub const SLOT_WORDS: usize = 4;

/// Some rows and the lists that their cells point to.
#[derive(Debug, Default)]
pub struct RowChunk {
    pub rows: Vec<ClassId>,
    pub cells: Vec<u32>,
    pub pool: Vec<u32>,
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
    pub port_ranges: Vec<u32>,
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

    pub fn move_slot(&mut self, id: u32) {
        if self.is_built() {
            self.moved.insert(id);
        }
    }

    /// Whether a reader has everything.
    pub fn is_current(&self) -> bool {
        self.is_built() && self.dirty.is_empty() && self.moved.is_empty()
    }
}

/// A row in the making.
struct Row<'a> {
    cells: &'a mut [u32],
    sets: &'a PortSets,
    /// Lists as chains of (port set, next).
    chain: &'a mut Vec<(PortSetId, u32)>,
    lists: &'a mut Vec<ClassId>,
}

impl Row<'_> {
    fn add(&mut self, class: ClassId, set: PortSetId) {
        let cell = &mut self.cells[class as usize];
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
            self.lists.push(class);
        }
    }

    /// Turn chains into lists of the pool, each set once.
    fn finish(&mut self, pool: &mut Vec<u32>) {
        let mut sets: Vec<PortSetId> = Vec::new();
        for class in self.lists.drain(..) {
            sets.clear();
            let mut next = self.cells[class as usize] & !LIST;
            while next != END {
                let (set, after) = self.chain[next as usize];
                sets.push(set);
                next = after;
            }
            sets.sort_unstable();
            sets.dedup();
            let wide = sets.binary_search(&WIDE).is_ok();
            sets.retain(|set| *set != SEEN && (*set == WIDE || !wide || !self.sets.is_minor(*set)));
            self.cells[class as usize] = match sets[..] {
                [one] => one,
                _ => {
                    let place = pool.len() as u32;
                    pool.push(sets.len() as u32);
                    pool.extend(&sets);
                    LIST | place
                }
            };
        }
        self.chain.clear();
    }
}

impl Engine {
    /// What changed in the cells since this was last asked; all of them if `anew`.
    pub fn sync(&mut self, anew: bool) -> Matrix {
        let columns = self.classes.list.len();
        let full = anew || columns > self.matrix.stride;
        if full {
            self.matrix.stride = columns + columns / 8 + 64;
        }
        let mut rows: Vec<ClassId> =
            if full { (0..columns as ClassId).collect() } else { self.matrix.dirty.iter().copied().collect() };
        rows.sort_unstable();
        self.matrix.dirty.clear();
        let chunks = self.row_chunks(&rows);
        let own = if full || !rows.is_empty() { self.own_cells() } else { RowChunk::default() };
        let fresh = full || self.sets.count() > self.matrix.sets;
        self.matrix.sets = self.sets.count();
        let (port_heads, port_ranges) = if fresh { self.sets.export() } else { (Vec::new(), Vec::new()) };
        let slots = self.slot_words(full);
        Matrix { full, stride: self.matrix.stride, chunks, own, port_heads, port_ranges, slots }
    }

    pub fn is_current(&self) -> bool {
        self.matrix.is_current()
    }

    fn row_chunks(&self, rows: &[ClassId]) -> Vec<RowChunk> {
        let any = self.any_row();
        let parts: Vec<&[ClassId]> = rows.chunks(CHUNK).collect();
        let workers = std::thread::available_parallelism().map_or(1, usize::from).min(parts.len());
        if workers < 2 {
            return parts.into_iter().map(|part| self.chunk(part, &any)).collect();
        }
        let share = parts.len().div_ceil(workers);
        let any = &any;
        std::thread::scope(|scope| {
            let work = |part: &[&[ClassId]]| part.iter().map(|rows| self.chunk(rows, any)).collect::<Vec<_>>();
            let threads: Vec<_> = parts.chunks(share).map(|part| scope.spawn(move || work(part))).collect();
            threads.into_iter().flat_map(|thread| thread.join().expect("building rows does not panic")).collect()
        })
    }

    /// What any source may reach, class by class, each port set once.
    fn any_row(&self) -> Vec<(ClassId, Vec<PortSetId>)> {
        let mut found: FxHashMap<ClassId, Vec<PortSetId>> = FxHashMap::default();
        for id in &self.links.from_any {
            let link = self.links.get(*id);
            for class in &link.targets.classes {
                found.entry(*class).or_default().push(link.ports);
            }
        }
        for sets in found.values_mut() {
            sets.sort_unstable();
            sets.dedup();
        }
        found.into_iter().collect()
    }

    fn chunk(&self, rows: &[ClassId], any: &[(ClassId, Vec<PortSetId>)]) -> RowChunk {
        let mut chunk =
            RowChunk { rows: rows.to_vec(), cells: vec![0; rows.len() * self.matrix.stride], pool: Vec::new() };
        let (mut chain, mut lists) = (Vec::new(), Vec::new());
        for (class, cells) in rows.iter().zip(chunk.cells.chunks_mut(self.matrix.stride)) {
            let mut row = Row { cells, sets: &self.sets, chain: &mut chain, lists: &mut lists };
            self.fill(*class, &mut row, any);
            row.finish(&mut chunk.pool);
        }
        chunk
    }

    fn fill(&self, class: ClassId, row: &mut Row<'_>, any: &[(ClassId, Vec<PortSetId>)]) {
        let known = self.classes.get(class);
        let mut base: Vec<PortSetId> = Vec::new();
        for (_, link) in self.links.from(&known.atoms).filter(|(_, link)| link.reach == Reach::Nodes) {
            if link.targets.any {
                base.push(link.ports);
            } else {
                link.targets.classes.iter().for_each(|target| row.add(*target, link.ports));
            }
        }
        if !known.of_addresses {
            base.extend(self.links.any_to_any.iter().map(|id| self.links.get(*id).ports));
            for (target, sets) in any {
                sets.iter().for_each(|set| row.add(*target, *set));
            }
        }
        base.sort_unstable();
        base.dedup();
        for set in base {
            for (target, _) in self.classes.list.iter().enumerate().filter(|(_, target)| !target.of_addresses) {
                row.add(target as ClassId, set);
            }
        }
    }

    fn own_cells(&self) -> RowChunk {
        let mut chunk = RowChunk { rows: Vec::new(), cells: vec![0; self.matrix.stride], pool: Vec::new() };
        let (mut chain, mut lists) = (Vec::new(), Vec::new());
        let mut row = Row { cells: &mut chunk.cells, sets: &self.sets, chain: &mut chain, lists: &mut lists };
        for (class, known) in self.classes.list.iter().enumerate().filter(|(_, known)| !known.of_addresses) {
            let named = self.links.from(&known.atoms).filter(|(_, link)| link.reach == Reach::Own);
            named.for_each(|(_, link)| row.add(class as ClassId, link.ports));
            self.links.own_any.iter().for_each(|id| row.add(class as ClassId, self.links.get(*id).ports));
        }
        row.finish(&mut chunk.pool);
        chunk
    }

    fn slot_words(&mut self, full: bool) -> Vec<u32> {
        let moved = std::mem::take(&mut self.matrix.moved);
        let ids: Vec<u32> = if full { (0..self.slots.len() as u32).collect() } else { moved.into_iter().collect() };
        let mut words = Vec::with_capacity(ids.len() * SLOT_WORDS);
        for id in ids {
            let Some(slot) = self.slots.get(id as usize).copied().flatten() else {
                words.extend([id, u32::MAX, u32::MAX, 0]);
                continue;
            };
            let owner = self.nodes.get(&id).and_then(|node| node.untagged_owner()).map_or(0, |owner| {
                let next = self.matrix.owners.len() as u32 + 1;
                *self.matrix.owners.entry(owner).or_insert(next)
            });
            words.extend([id, slot.identity, slot.place, owner]);
        }
        words
    }
}
