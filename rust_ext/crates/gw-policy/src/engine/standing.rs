//! How windows stand at one time.
use crate::window::{Instant, Now, Schedule, Window};
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// Whether a window is open, and when it ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Closed,
    /// Until then; 0 for good.
    Open(Instant),
}

impl Standing {
    pub fn is_open(self) -> bool {
        self != Self::Closed
    }
}

/// How windows stand at one time. Many share a schedule, and each is judged once.
pub struct Clock {
    at: Instant,
    known: FxHashMap<*const Schedule, Now>,
}

impl Clock {
    pub fn new(at: Instant) -> Self {
        Self { at, known: FxHashMap::default() }
    }

    pub fn now(&mut self, window: &Window) -> Now {
        let Self { at, known } = self;
        window.within(*at, |schedule| *known.entry(Arc::as_ptr(schedule)).or_insert_with(|| schedule.at(*at)))
    }

    pub fn standing(&mut self, window: Option<&Arc<Window>>) -> Standing {
        match window.map(|window| self.now(window)) {
            None => Standing::Open(0),
            Some(Now { open: true, turns }) => Standing::Open(turns),
            Some(Now { open: false, .. }) => Standing::Closed,
        }
    }
}
