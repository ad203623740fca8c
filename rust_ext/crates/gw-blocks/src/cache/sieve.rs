//! SIEVE: one queue in order of arrival, one bit an entry, and a hand that goes from the oldest to the newest. It clears
//! the bit of what was read since it last passed and evicts the first entry that was not.

use std::collections::HashMap;
use std::hash::Hash;

struct Entry<K, V> {
    key: K,
    value: V,
    weight: usize,
    visited: bool,
    newer: Option<usize>,
    older: Option<usize>,
}

/// Entries by key, each with a weight.
pub struct Sieve<K, V> {
    index: HashMap<K, usize>,
    entries: Vec<Option<Entry<K, V>>>,
    free: Vec<usize>,
    newest: Option<usize>,
    oldest: Option<usize>,
    hand: Option<usize>,
    weight: usize,
}

impl<K, V> Default for Sieve<K, V> {
    fn default() -> Self {
        Self {
            index: HashMap::new(),
            entries: Vec::new(),
            free: Vec::new(),
            newest: None,
            oldest: None,
            hand: None,
            weight: 0,
        }
    }
}

impl<K: Copy + Eq + Hash, V> Sieve<K, V> {
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// The sum of the entries' weights.
    pub fn weight(&self) -> usize {
        self.weight
    }

    /// A value, which counts as read.
    pub fn get(&mut self, key: &K) -> Option<&V> {
        let at = *self.index.get(key)?;
        let entry = self.entries[at].as_mut()?;
        entry.visited = true;
        Some(&entry.value)
    }

    /// Adds an entry as the newest, in place of one with its key.
    pub fn insert(&mut self, key: K, value: V, weight: usize) {
        self.remove(&key);
        let entry = Entry { key, value, weight, visited: false, newer: None, older: self.newest };
        let at = self.free.pop().unwrap_or_else(|| {
            self.entries.push(None);
            self.entries.len() - 1
        });
        self.entries[at] = Some(entry);
        match self.newest.replace(at).and_then(|old| self.entries[old].as_mut()) {
            Some(old) => old.newer = Some(at),
            None => self.oldest = Some(at),
        }
        self.index.insert(key, at);
        self.weight += weight;
    }

    pub fn remove(&mut self, key: &K) -> Option<V> {
        let at = self.index.get(key).copied()?;
        self.take(at)
    }

    /// Keeps the entries whose key passes.
    pub fn retain(&mut self, keeps: impl Fn(&K) -> bool) {
        let gone: Vec<K> = self.index.keys().filter(|key| !keeps(key)).copied().collect();
        gone.iter().for_each(|key| drop(self.remove(key)));
    }

    /// Takes out the entry that the hand finds.
    pub fn evict(&mut self) -> Option<V> {
        let mut at = self.hand.or(self.oldest)?;
        while let Some(entry) = self.entries[at].as_mut().filter(|entry| entry.visited) {
            entry.visited = false;
            at = entry.newer.or(self.oldest)?;
        }
        self.hand = Some(at);
        self.take(at)
    }

    /// Takes out an entry; the hand goes on from the next newer one.
    fn take(&mut self, at: usize) -> Option<V> {
        let entry = self.entries[at].take()?;
        match entry.newer.and_then(|newer| self.entries[newer].as_mut()) {
            Some(newer) => newer.older = entry.older,
            None => self.newest = entry.older,
        }
        match entry.older.and_then(|older| self.entries[older].as_mut()) {
            Some(older) => older.newer = entry.newer,
            None => self.oldest = entry.newer,
        }
        if self.hand == Some(at) {
            self.hand = entry.newer;
        }
        self.index.remove(&entry.key);
        self.free.push(at);
        self.weight -= entry.weight;
        Some(entry.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The same with a list, newest first.
    #[derive(Default)]
    struct Twin {
        queue: Vec<(u8, bool)>,
        hand: Option<u8>,
    }

    impl Twin {
        fn at(&self, key: u8) -> Option<usize> {
            self.queue.iter().position(|entry| entry.0 == key)
        }

        fn remove(&mut self, key: u8) {
            let Some(at) = self.at(key) else { return };
            if self.hand == Some(key) {
                self.hand = at.checked_sub(1).map(|newer| self.queue[newer].0);
            }
            self.queue.remove(at);
        }

        fn evict(&mut self) -> Option<u8> {
            let mut at = self.hand.and_then(|key| self.at(key)).or(self.queue.len().checked_sub(1))?;
            while self.queue[at].1 {
                self.queue[at].1 = false;
                at = at.checked_sub(1).unwrap_or(self.queue.len() - 1);
            }
            let key = self.queue[at].0;
            self.hand = Some(key);
            self.remove(key);
            Some(key)
        }
    }

    proptest! {
        #[test]
        fn it_does_what_a_list_does(steps in prop::collection::vec((0u8..10, 0u8..16), 0..400)) {
            let (mut sieve, mut twin) = (Sieve::default(), Twin::default());
            for (step, key) in steps {
                match step {
                    0..5 => {
                        prop_assert_eq!(sieve.get(&key).copied(), twin.at(key).map(|_| key));
                        if let Some(at) = twin.at(key) {
                            twin.queue[at].1 = true;
                        }
                    }
                    5..8 => {
                        sieve.insert(key, key, 1);
                        twin.remove(key);
                        twin.queue.insert(0, (key, false));
                    }
                    8 => prop_assert_eq!(sieve.evict(), twin.evict()),
                    _ => {
                        prop_assert_eq!(sieve.remove(&key).is_some(), twin.at(key).is_some());
                        twin.remove(key);
                    }
                }
                prop_assert_eq!(sieve.len(), twin.queue.len());
                prop_assert_eq!(sieve.weight(), twin.queue.len());
            }
        }
    }
}
