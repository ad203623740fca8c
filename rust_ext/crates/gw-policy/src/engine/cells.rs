//! Cells in the making: the port sets of several links or cells, joined.
use super::portsets::{PortSetId, PortSets, SEEN, WIDE};

/// Marks a cell that points to a list.
pub const LIST: u32 = 1 << 31;
const END: u32 = u32::MAX;

/// Cells in the making, by number of target atom or by class.
pub(super) struct Row<'a> {
    pub cells: &'a mut [u32],
    pub sets: &'a PortSets,
    /// Lists as chains of (port set, next).
    pub chain: &'a mut Vec<(PortSetId, u32)>,
    pub lists: &'a mut Vec<u32>,
}

impl Row<'_> {
    pub fn add(&mut self, place: u32, set: PortSetId) {
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
    pub fn finish(&mut self, pool: &mut Vec<u32>) {
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
pub(super) fn listed(sets: &mut Vec<PortSetId>, known: &PortSets, pool: &mut Vec<u32>) -> u32 {
    sets.sort_unstable();
    sets.dedup();
    let wide = sets.binary_search(&WIDE).is_ok();
    sets.retain(|set| *set != SEEN && (*set == WIDE || !wide || !known.is_minor(*set)));
    cell(sets, pool)
}

/// The cell of these port sets: the one itself, or where the pool lists them.
fn cell(sets: &[PortSetId], pool: &mut Vec<u32>) -> u32 {
    match *sets {
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

/// Joins cells of one row.
pub(super) struct Joiner<'a> {
    pub known: &'a PortSets,
    pub pool: &'a mut Vec<u32>,
    pub sets: Vec<PortSetId>,
}

impl Joiner<'_> {
    /// The cell of several cells that are not empty.
    pub fn join(&mut self, cells: &[u32]) -> u32 {
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
        cell(sets, pool)
    }
}
