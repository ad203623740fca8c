//! Short reads and whole operations on SQLite connections that another library has opened.
//!
//! Nothing is linked: SQLite is the copy in that library, which hands over its functions as to any loadable extension
//! (<https://sqlite.org/loadext.html>). What is long or unusual is given up, for the other library to do.
//! There is no SQLite to test it with here: `tests/unit/zqlite/test_shortreads.py` and
//! `test_detached.py` do so with the one in apsw.
mod body;
mod connection;
mod operation;
mod statement;

pub use connection::Connection;
pub use libsqlite3_sys::sqlite3_api_routines as Functions;
pub use operation::{Change, Failure, Head, Log, Operation, Operations, Step, Table};
pub use statement::{RolledBack, Row, STEPS, Statement, Value};

use std::sync::atomic::{AtomicBool, Ordering};

static HANDED_OVER: AtomicBool = AtomicBool::new(false);

/// Takes SQLite's functions over. False where it is too old to have them all.
///
/// # Safety
/// `functions` is what SQLite has called the entry point of an extension with.
pub unsafe fn take_over(functions: *mut Functions) -> bool {
    // SAFETY: as above.
    let taken = unsafe { libsqlite3_sys::rusqlite_extension_init2(functions) }.is_ok();
    HANDED_OVER.fetch_or(taken, Ordering::Release);
    taken
}

fn handed_over() -> bool {
    HANDED_OVER.load(Ordering::Acquire)
}
