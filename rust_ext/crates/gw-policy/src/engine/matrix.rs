//! Decision cells: for each pair of classes which protocols and ports are allowed, as words that readers outside
//! look up without asking the engine.
//!
//! A cell is 0, the number of a port set, or [`super::cells::LIST`] with the place of a list (its length, then port
//! sets) in the pool of its chunk. Who may reach whom is the union of the cells between both nodes' classes, of what
//! any source may at the target's classes and the source's classes at any target, and of the own cell of the source's
//! class where both nodes have one owner. Rules about any node are thereby in one cell a class, not in all rows.
use super::atoms::Atom;
use super::cells::{Joiner, Row, listed};
use super::links::{ClassId, Effect};
use super::pages::Pages;
use super::portsets::PortSetId;
use super::{Engine, bits};
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::thread::{Builder, ScopedJoinHandle};

/// Most rows of one chunk.
const CHUNK: usize = 1024;
/// Of which part of a row's columns on the whole row is made anew.
const WHOLE: usize = 4;
/// More patches than this are not kept until somebody asks.
const MOST_PATCHES: usize = 64;
/// Fewer rows than this are not worth a thread.
const FEW_ROWS: usize = 64;
/// The system looks into files to tell.
static CORES: LazyLock<usize> = LazyLock::new(|| std::thread::available_parallelism().map_or(1, usize::from));
/// Stands for the class of nodes whose addresses no rule names.
pub const NO_PLACE: u32 = u32::MAX - 1;
/// Words per slot in [`Matrix::slots`].
pub const SLOT_WORDS: usize = 4;

/// Some rows and the lists that their cells point to.
#[derive(Debug, Default)]
pub struct RowChunk {
    pub rows: Vec<ClassId>,
    /// The columns that are given, in order, where the others stay as they are; empty for whole rows.
    pub columns: Vec<ClassId>,
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
    /// Three rows, empty when they are as before: what a class may at devices of the same owner, what any source may
    /// at it, what it may at any target.
    pub sides: RowChunk,
    /// Empty when they are as before.
    pub port_heads: Vec<u32>,
    pub port_details: Vec<u32>,
    /// Node id, class of identity, class of addresses, owner (0 for none); classes of a node that is gone are all ones.
    pub slots: Vec<u32>,
}

#[derive(Debug, Clone, Default)]
pub struct State {
    stride: usize,
    /// Rows to be made anew, and parts of rows.
    dirty: FxHashSet<ClassId>,
    patches: Vec<Patch>,
    moved: FxHashSet<u32>,
    owners: FxHashMap<i64, u32>,
    /// Port sets that a reader has.
    sets: usize,
    sides_touched: bool,
}

/// Some columns of some rows.
#[derive(Debug, Clone)]
struct Patch {
    rows: Vec<ClassId>,
    columns: Vec<ClassId>,
}

impl State {
    pub fn is_built(&self) -> bool {
        self.stride > 0
    }

    /// These rows are others in these columns.
    pub fn touch(&mut self, rows: &[u64], columns: &[u64]) {
        let patch = Patch { rows: bits(rows).collect(), columns: bits(columns).collect() };
        if !self.is_built() || patch.rows.is_empty() || patch.columns.is_empty() {
            return;
        }
        if patch.columns.len() * WHOLE > self.stride || self.patches.len() == MOST_PATCHES {
            self.dirty.extend(patch.rows);
        } else {
            self.patches.push(patch);
        }
    }

    /// These rows are new.
    pub fn touch_row(&mut self, class: ClassId) {
        if self.is_built() {
            self.dirty.insert(class);
        }
    }

    /// What holds beside the rows is something else: a class, or a link that is in no row, is new or gone.
    pub fn touch_sides(&mut self) {
        self.sides_touched = true;
    }

    pub fn move_slot(&mut self, id: u32) {
        if self.is_built() {
            self.moved.insert(id);
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
    columns: Vec<u32>,
    /// So many atoms of each class, one class after another.
    count: usize,
    atoms: Vec<u32>,
}

/// The targets of rows: which atoms of the class in each column links name, by dense numbers.
#[derive(Default)]
struct Targets {
    /// By atom; [`NO_NUMBER`] for those that are in no column.
    numbers: Vec<u32>,
    count: usize,
    alike: Vec<Alike>,
}

const NO_NUMBER: u32 = u32::MAX;

impl Targets {
    fn number(&self, atom: Atom) -> Option<u32> {
        self.numbers.get(atom as usize).copied().filter(|number| *number != NO_NUMBER)
    }
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
        let dirty = std::mem::take(&mut state.dirty);
        let mut patches = std::mem::take(&mut state.patches);
        if full {
            patches.clear();
        }
        let new_sides = std::mem::take(&mut state.sides_touched) || full;
        let fresh = full || self.sets.count() > state.sets;
        state.sets = self.sets.count();
        let stride = state.stride;
        let all = (0..self.classes.list.len() as ClassId).map(|class| (class, class));
        let targets = if rows.is_empty() && !new_sides { Targets::default() } else { self.targets(effect, all) };
        let mut chunks = self.row_chunks(effect, &rows, &targets, stride);
        for mut patch in patches {
            patch.rows.retain(|row| !dirty.contains(row));
            chunks.extend(self.patched(effect, &patch));
        }
        let sides = if new_sides { self.side_cells(effect, &targets) } else { RowChunk::default() };
        let (port_heads, port_details) = if fresh { self.sets.export() } else { (Vec::new(), Vec::new()) };
        let slots = self.slot_words(effect, full);
        Matrix { full, stride, chunks, sides, port_heads, port_details, slots }
    }

    /// Whether denials are in force, or a reader has cells of some that were.
    pub fn has_denials(&self) -> bool {
        !self.links.deny.is_empty() || self.cells.deny.is_built()
    }

    fn patched(&self, effect: Effect, patch: &Patch) -> Vec<RowChunk> {
        let targets = self.targets(effect, (0..).zip(patch.columns.iter().copied()));
        let mut chunks = self.row_chunks(effect, &patch.rows, &targets, patch.columns.len());
        chunks.iter_mut().for_each(|chunk| chunk.columns.clone_from(&patch.columns));
        chunks
    }

    /// Rows of so many cells.
    fn row_chunks(&self, effect: Effect, rows: &[ClassId], targets: &Targets, cells: usize) -> Vec<RowChunk> {
        let workers = (*CORES).min(rows.len() / FEW_ROWS);
        if workers < 2 {
            return self.chunks(effect, rows, targets, cells);
        }
        std::thread::scope(|scope| {
            let build = move |share| self.chunks(effect, share, targets, cells);
            let start = |share| (share, Builder::new().spawn_scoped(scope, move || build(share)));
            let threads: Vec<_> = rows.chunks(rows.len().div_ceil(workers)).map(start).collect();
            // Here and now where no thread is to be had.
            let join = |(share, thread): (_, Result<ScopedJoinHandle<'_, _>, _>)| {
                thread.map_or_else(|_| build(share), |thread| thread.join().expect("building rows does not panic"))
            };
            threads.into_iter().flat_map(join).collect()
        })
    }

    fn chunks(&self, effect: Effect, rows: &[ClassId], targets: &Targets, cells: usize) -> Vec<RowChunk> {
        let mut scratch = Scratch { reached: vec![0; targets.count], ..Scratch::default() };
        rows.chunks(CHUNK).map(|part| self.chunk(effect, part, targets, cells, &mut scratch)).collect()
    }

    /// What is to be known of the classes that stand in columns.
    fn targets(&self, effect: Effect, columns: impl Iterator<Item = (u32, ClassId)>) -> Targets {
        let links = self.links.get(effect);
        let mut numbers = vec![NO_NUMBER; links.highest_atom() as usize + 1];
        let mut count = 0;
        let mut alike: BTreeMap<usize, Alike> = BTreeMap::new();
        let mut own: Vec<u32> = Vec::new();
        for (column, class) in columns {
            own.clear();
            for atom in self.classes.get(class).atoms.iter().filter(|atom| links.is_target(**atom)) {
                let number = &mut numbers[*atom as usize];
                if *number == NO_NUMBER {
                    (*number, count) = (count, count + 1);
                }
                own.push(*number);
            }
            if !own.is_empty() {
                let new = || Alike { columns: Vec::new(), count: own.len(), atoms: Vec::new() };
                let group = alike.entry(own.len()).or_insert_with(new);
                group.columns.push(column);
                group.atoms.extend(&own);
            }
        }
        Targets { numbers, count: count as usize, alike: alike.into_values().collect() }
    }

    fn chunk(
        &self,
        effect: Effect,
        rows: &[ClassId],
        targets: &Targets,
        cells: usize,
        scratch: &mut Scratch,
    ) -> RowChunk {
        let mut all = Pages::zeroed(rows.len() * cells);
        let Scratch { reached, chain, lists, pool } = scratch;
        pool.clear();
        for (class, cells) in rows.iter().zip(all.chunks_mut(cells)) {
            reached.fill(0);
            let mut row = Row { cells: reached, sets: &self.sets, chain, lists };
            self.reach(effect, *class, &mut row, targets);
            row.finish(pool);
            self.spread(reached, targets, cells, pool);
        }
        RowChunk { rows: rows.to_vec(), columns: Vec::new(), cells: all, pool: Pages::from(&pool[..]) }
    }

    /// What a class may do at each target atom by links that name it.
    fn reach(&self, effect: Effect, class: ClassId, row: &mut Row<'_>, targets: &Targets) {
        let (known, links) = (self.classes.get(class), self.links.get(effect));
        let mut add = |atom, set| targets.number(atom).into_iter().for_each(|number| row.add(number, set));
        links.out(&known.atoms).for_each(|(atom, set)| add(*atom, *set));
        for link in links.special_from(&known.atoms) {
            link.targets.atoms.iter().for_each(|atom| add(*atom, link.ports));
        }
    }

    /// From target atoms to classes: a class may be reached by any of its atoms.
    fn spread(&self, reached: &[u32], targets: &Targets, cells: &mut [u32], pool: &mut Vec<u32>) {
        let mut joiner = Joiner { known: &self.sets, pool, sets: Vec::new() };
        let mut several: Vec<u32> = Vec::new();
        for group in &targets.alike {
            for (column, atoms) in group.columns.iter().zip(group.atoms.chunks_exact(group.count)) {
                // Without a branch: what one class may do at another is as good as random.
                let (mut found, mut differ) = (0, false);
                for atom in atoms {
                    let more = reached[*atom as usize];
                    found = if found == 0 { more } else { found };
                    differ |= (more != 0) & (more != found);
                }
                if differ {
                    several.clear();
                    several.extend(atoms.iter().map(|atom| reached[*atom as usize]).filter(|cell| *cell != 0));
                    found = joiner.join(&several);
                }
                cells[*column as usize] = found;
            }
        }
    }

    /// What holds beside the rows: see [`Matrix::sides`].
    fn side_cells(&self, effect: Effect, targets: &Targets) -> RowChunk {
        let stride = self.cells.get(effect).stride;
        let (mut cells, mut pool) = (Pages::zeroed(3 * stride), Vec::new());
        let (own, others) = cells.split_at_mut(stride);
        let (anyone, everywhere) = others.split_at_mut(stride);
        self.own_cells(effect, own, &mut pool);
        self.anyones_cells(effect, targets, anyone, &mut pool);
        self.cells_everywhere(effect, everywhere, &mut pool);
        RowChunk { cells, pool: Pages::from(&pool[..]), ..RowChunk::default() }
    }

    fn own_cells(&self, effect: Effect, cells: &mut [u32], pool: &mut Vec<u32>) {
        let links = self.links.get(effect);
        let (mut chain, mut lists) = (Vec::new(), Vec::new());
        let mut row = Row { cells, sets: &self.sets, chain: &mut chain, lists: &mut lists };
        for link in links.own.iter().map(|id| links.get(*id)) {
            let mut sources = vec![0u64; self.classes.list.len().div_ceil(64)];
            if link.sources.any {
                self.mark_all(&mut sources)
            } else {
                self.mark_sources(link, &mut sources)
            }
            bits(&sources).for_each(|class| row.add(class, link.ports));
        }
        row.finish(pool);
    }

    fn anyones_cells(&self, effect: Effect, targets: &Targets, cells: &mut [u32], pool: &mut Vec<u32>) {
        let links = self.links.get(effect);
        let named = links.from_any.iter().map(|id| links.get(*id));
        let named = named.flat_map(|link| {
            let numbers = link.targets.atoms.iter().filter_map(|atom| targets.number(*atom));
            numbers.map(|number| (number, link.ports))
        });
        let mut named: Vec<(u32, PortSetId)> = named.collect();
        named.sort_unstable();
        named.dedup();
        let (mut chain, mut lists, mut reached) = (Vec::new(), Vec::new(), vec![0; targets.count]);
        let mut row = Row { cells: &mut reached, sets: &self.sets, chain: &mut chain, lists: &mut lists };
        named.iter().for_each(|(number, set)| row.add(*number, *set));
        row.finish(pool);
        self.spread(&reached, targets, cells, pool);
        let mut wide: Vec<PortSetId> = links.any_to_any.iter().map(|id| links.get(*id).ports).collect();
        if wide.is_empty() {
            return;
        }
        let wide = listed(&mut wide, &self.sets, pool);
        let mut joiner = Joiner { known: &self.sets, pool, sets: Vec::new() };
        for (class, cell) in self.classes.list.iter().zip(cells) {
            if !class.of_addresses {
                *cell = if *cell == 0 { wide } else { joiner.join(&[wide, *cell]) };
            }
        }
    }

    fn cells_everywhere(&self, effect: Effect, cells: &mut [u32], pool: &mut Vec<u32>) {
        let links = self.links.get(effect);
        if links.to_any.is_empty() {
            return;
        }
        let mut sets: Vec<PortSetId> = Vec::new();
        for (class, cell) in self.classes.list.iter().zip(cells) {
            sets.clear();
            sets.extend(links.special_from(&class.atoms).filter(|link| link.targets.any).map(|link| link.ports));
            if !sets.is_empty() {
                *cell = listed(&mut sets, &self.sets, pool);
            }
        }
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
