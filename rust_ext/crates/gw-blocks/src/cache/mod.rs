//! The cache of decoded blocks: one for all readers, bounded in bytes, in shards with a lock each.
//!
//! Each shard evicts by SIEVE (Zhang et al., NSDI 2024), so that a scan over everything does not push out what is read
//! again and again. A block that several ask for at once is loaded by one of them. Blocks that leave are zeroised as
//! soon as their last reader lets go of them.

mod flight;
mod sieve;

use crate::block::Block;
use flight::{Flight, Landing};
use sieve::Sieve;
use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A shard is worth having from this budget on.
const SHARD_BYTES: usize = 4 << 20;
const MOST_SHARDS: usize = 16;

/// Whose block, and which one of theirs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Slot {
    pub owner: u64,
    pub number: u64,
}

/// Totals since the start; `blocks` and `bytes` are of this moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    pub hits: u64,
    pub misses: u64,
    /// Misses that waited for another reader's load.
    pub joined: u64,
    pub evictions: u64,
    pub blocks: u64,
    pub bytes: u64,
}

#[derive(Default)]
struct Shard {
    blocks: Sieve<Slot, Arc<Block>>,
    flights: HashMap<Slot, Arc<Flight>>,
}

/// Decoded blocks by slot: whose they are and which.
pub struct Cache {
    shards: Box<[Mutex<Shard>]>,
    /// The bytes that each shard may hold.
    budget: usize,
    spread: RandomState,
    owners: AtomicU64,
    hits: AtomicU64,
    misses: AtomicU64,
    joined: AtomicU64,
    evictions: AtomicU64,
}

impl Cache {
    /// A cache that holds at most `bytes`.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        let shards = (bytes / SHARD_BYTES).clamp(1, MOST_SHARDS);
        Self {
            shards: (0..shards).map(|_| Mutex::default()).collect(),
            budget: bytes / shards,
            spread: RandomState::new(),
            owners: AtomicU64::new(0),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            joined: AtomicU64::new(0),
            evictions: AtomicU64::new(0),
        }
    }

    /// A number for a new owner of blocks.
    pub fn owner(&self) -> u64 {
        self.owners.fetch_add(1, Relaxed)
    }

    /// A block, if it is here.
    pub fn get(&self, slot: Slot) -> Option<Arc<Block>> {
        let found = self.shard(slot).blocks.get(&slot).cloned();
        if found.is_some() {
            self.hits.fetch_add(1, Relaxed);
        }
        found
    }

    /// A block, from here or from `load`; whoever else asks for it meanwhile waits for that.
    ///
    /// # Errors
    /// What `load` raises, to whoever called it. Those who waited then try for themselves.
    pub fn get_or_load<E>(&self, slot: Slot, load: impl FnOnce() -> Result<Arc<Block>, E>) -> Result<Arc<Block>, E> {
        let flight = loop {
            let mut shard = self.shard(slot);
            if let Some(block) = shard.blocks.get(&slot) {
                self.hits.fetch_add(1, Relaxed);
                return Ok(block.clone());
            }
            let Some(others) = shard.flights.get(&slot).cloned() else {
                let flight = Arc::new(Flight::default());
                shard.flights.insert(slot, flight.clone());
                break flight;
            };
            drop(shard);
            if let Some(block) = others.wait() {
                self.misses.fetch_add(1, Relaxed);
                self.joined.fetch_add(1, Relaxed);
                return Ok(block);
            }
        };
        self.misses.fetch_add(1, Relaxed);
        let landing = Landing::new(&flight, || drop(self.shard(slot).flights.remove(&slot)));
        let block = load()?;
        self.keep(slot, block.clone(), &flight);
        landing.with(block.clone());
        Ok(block)
    }

    /// Drops one block: it is gone from where it came.
    pub fn forget(&self, slot: Slot) {
        let mut shard = self.shard(slot);
        shard.flights.remove(&slot);
        shard.blocks.remove(&slot);
    }

    /// Drops all blocks of an owner.
    pub fn forget_owner(&self, owner: u64) {
        for shard in &self.shards {
            let mut shard = lock(shard);
            shard.flights.retain(|slot, _| slot.owner != owner);
            shard.blocks.retain(|slot| slot.owner != owner);
        }
    }

    pub fn counters(&self) -> Counters {
        let (mut blocks, mut bytes) = (0, 0);
        for shard in &self.shards {
            let shard = lock(shard);
            blocks += shard.blocks.len() as u64;
            bytes += shard.blocks.weight() as u64;
        }
        let read = |counter: &AtomicU64| counter.load(Relaxed);
        let (hits, misses) = (read(&self.hits), read(&self.misses));
        Counters { hits, misses, joined: read(&self.joined), evictions: read(&self.evictions), blocks, bytes }
    }

    /// Keeps a loaded block, unless it was forgotten while it was loaded or is more than a shard may hold.
    fn keep(&self, slot: Slot, block: Arc<Block>, flight: &Arc<Flight>) {
        let mut evicted = Vec::new();
        let mut shard = self.shard(slot);
        let wanted = shard.flights.get(&slot).is_some_and(|now| Arc::ptr_eq(now, flight));
        let weight = block.weight();
        if wanted && weight <= self.budget {
            while shard.blocks.weight() + weight > self.budget {
                evicted.extend(shard.blocks.evict());
            }
            shard.blocks.insert(slot, block, weight);
        }
        drop(shard); // zeroising what left takes time that nobody else should wait for
        self.evictions.fetch_add(evicted.len() as u64, Relaxed);
    }

    fn shard(&self, slot: Slot) -> MutexGuard<'_, Shard> {
        let at = self.spread.hash_one(slot) as usize % self.shards.len();
        lock(&self.shards[at])
    }
}

/// No code panics between the halves of a change to a shard, so a poisoned lock guards a whole one.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Column;
    use std::convert::Infallible;
    use std::sync::Barrier;
    use std::sync::atomic::AtomicUsize;

    fn block(rows: usize) -> Arc<Block> {
        Arc::new(Block::new(vec![Column::Integers(vec![7; rows])]).unwrap())
    }

    fn at(number: u64) -> Slot {
        Slot { owner: 0, number }
    }

    fn load(cache: &Cache, number: u64, rows: usize) -> Arc<Block> {
        cache.get_or_load(at(number), || Ok::<_, Infallible>(block(rows))).unwrap()
    }

    #[test]
    fn it_holds_no_more_than_its_budget() {
        let cache = Cache::new(10 * block(100).weight());
        for number in 0..100 {
            load(&cache, number, 100);
        }
        let counters = cache.counters();
        assert_eq!((counters.blocks, counters.misses, counters.evictions), (10, 100, 90));
        assert_eq!(counters.bytes as usize, 10 * block(100).weight());
        load(&cache, 100, 10_000);
        assert_eq!(cache.counters().blocks, 10, "a block beyond the budget is handed out and not kept");
    }

    #[test]
    fn a_scan_does_not_evict_what_is_read_again_and_again() {
        let cache = Cache::new(20 * block(100).weight());
        for _ in 0..3 {
            (0..10).for_each(|hot| drop(load(&cache, hot, 100)));
        }
        for cold in 1000..11_000 {
            load(&cache, cold, 100);
            if cold % 20 == 0 {
                (0..10).for_each(|hot| drop(load(&cache, hot, 100)));
            }
        }
        assert_eq!(cache.counters().misses, 10 + 10_000);
    }

    #[test]
    fn one_loads_and_the_others_wait() {
        let cache = Cache::new(1 << 20);
        let (loads, start) = (AtomicUsize::new(0), Barrier::new(8));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    start.wait();
                    let slow = || {
                        loads.fetch_add(1, Relaxed);
                        std::thread::sleep(std::time::Duration::from_millis(20));
                        Ok::<_, Infallible>(block(1))
                    };
                    assert_eq!(cache.get_or_load(at(1), slow).unwrap().rows(), 1);
                });
            }
        });
        assert_eq!(loads.into_inner(), 1);
        let counters = cache.counters();
        assert_eq!(counters.hits + counters.misses, 8);
    }

    #[test]
    fn a_failed_load_leaves_nothing_behind() {
        let cache = Cache::new(1 << 20);
        assert_eq!(cache.get_or_load(at(1), || Err("no")).unwrap_err(), "no");
        let panics = || -> Result<Arc<Block>, Infallible> { panic!("on purpose") };
        let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| cache.get_or_load(at(1), panics)));
        assert!(failed.is_err());
        assert_eq!(load(&cache, 1, 3).rows(), 3);
    }

    #[test]
    fn what_is_forgotten_while_it_loads_is_not_kept() {
        let cache = Cache::new(1 << 20);
        let loading = || {
            cache.forget(at(1));
            Ok::<_, Infallible>(block(1))
        };
        cache.get_or_load(at(1), loading).unwrap();
        assert!(cache.get(at(1)).is_none());
        load(&cache, 2, 1);
        cache.forget_owner(0);
        assert_eq!(cache.counters().blocks, 0);
    }
}
