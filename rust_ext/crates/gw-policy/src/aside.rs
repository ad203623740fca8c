//! Work that nobody waits for.

/// Take something large apart on a thread of its own; here and now where none is to be had.
pub fn drop_aside(what: impl Send + 'static) {
    // A thread that does not come about lets go of what it was to take.
    _ = std::thread::Builder::new().spawn(move || drop(what));
}
