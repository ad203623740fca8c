//! One load that several wait for.

use crate::block::Block;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

#[derive(Default)]
enum State {
    #[default]
    Loading,
    Loaded(Arc<Block>),
    Failed,
}

/// A load under way.
#[derive(Default)]
pub struct Flight {
    state: Mutex<State>,
    ended: Condvar,
}

impl Flight {
    /// The block, once it is there; None where loading it failed.
    pub fn wait(&self) -> Option<Arc<Block>> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let loading = |state: &mut State| matches!(state, State::Loading);
        match &*self.ended.wait_while(state, loading).unwrap_or_else(PoisonError::into_inner) {
            State::Loaded(block) => Some(block.clone()),
            _ => None,
        }
    }

    fn end(&self, state: State) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
        self.ended.notify_all();
    }
}

/// The end of a flight, which comes also when its load fails or panics.
pub struct Landing<'a, F: FnMut()> {
    flight: &'a Flight,
    leave: F,
    block: Option<Arc<Block>>,
}

impl<'a, F: FnMut()> Landing<'a, F> {
    /// `leave` takes the flight from where others find it.
    pub fn new(flight: &'a Flight, leave: F) -> Self {
        Self { flight, leave, block: None }
    }

    /// End it with the block.
    pub fn with(mut self, block: Arc<Block>) {
        self.block = Some(block);
    }
}

impl<F: FnMut()> Drop for Landing<'_, F> {
    fn drop(&mut self) {
        (self.leave)();
        self.flight.end(self.block.take().map_or(State::Failed, State::Loaded));
    }
}
