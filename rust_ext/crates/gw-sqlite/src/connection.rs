//! A connection as its opener lends it.
use crate::statement::Statement;
use libsqlite3_sys as sqlite;
use std::ffi::CStr;
use std::ptr::NonNull;

/// SQLite refuses to close a connection that has statements: it stands for as long as one of ours does.
#[derive(Clone, Copy)]
pub struct Connection(NonNull<sqlite::sqlite3>);

// SAFETY: SQLite guards what belongs to a connection with the connection's mutex (`SQLITE_THREADSAFE=1`).
unsafe impl Send for Connection {}

impl Connection {
    /// None before SQLite's functions are there. A progress handler that the connection has is lost.
    ///
    /// # Safety
    /// `address` is that of a connection of the SQLite whose functions were taken over, in serialized mode, and it is
    /// open whenever this value is used.
    pub unsafe fn at(address: usize) -> Option<Self> {
        if !crate::handed_over() {
            return None;
        }
        NonNull::new(address as *mut sqlite::sqlite3).map(Self)
    }

    /// A statement that only reads, and begins as one that gives rows does. None for any other text.
    pub fn prepare(self, text: &str) -> Option<Statement> {
        let first = text.trim_ascii_start().split(|c: char| !c.is_ascii_alphabetic()).next()?;
        let reads = ["SELECT", "WITH", "VALUES"].iter().any(|word| first.eq_ignore_ascii_case(word));
        if reads { Statement::compile(self, text).filter(Statement::only_reads) } else { None }
    }

    /// A statement of the caller's own.
    pub fn own(self, text: &str) -> Option<Statement> {
        Statement::compile(self, text)
    }

    pub(crate) fn raw(self) -> *mut sqlite::sqlite3 {
        self.0.as_ptr()
    }

    pub(crate) fn in_transaction(self) -> bool {
        // SAFETY: the connection is open.
        unsafe { sqlite::sqlite3_get_autocommit(self.raw()) == 0 }
    }

    /// Rows that the last statement has changed by itself.
    pub(crate) fn changes(self) -> i64 {
        // SAFETY: the connection is open.
        unsafe { sqlite::sqlite3_changes64(self.raw()) }
    }

    /// Rows that were changed since it was opened, also by triggers and references.
    pub(crate) fn total_changes(self) -> i64 {
        // SAFETY: the connection is open.
        unsafe { sqlite::sqlite3_total_changes64(self.raw()) }
    }

    /// What failed last. For whoever keeps other threads out.
    pub(crate) fn message(self) -> String {
        // SAFETY: the connection is open, and its message ends with a zero and stands until its next call.
        unsafe { CStr::from_ptr(sqlite::sqlite3_errmsg(self.raw())) }.to_string_lossy().into_owned()
    }

    /// Keeps other threads out until it is dropped. None where one is in: it may wait for something that we hold.
    pub(crate) fn enter(self) -> Option<Entered> {
        // SAFETY: the connection is open, so that its mutex is one.
        let mutex = unsafe { sqlite::sqlite3_db_mutex(self.raw()) };
        // SAFETY: as above.
        (unsafe { sqlite::sqlite3_mutex_try(mutex) } == sqlite::SQLITE_OK).then_some(Entered(mutex))
    }
}

pub(crate) struct Entered(*mut sqlite::sqlite3_mutex);

impl Drop for Entered {
    fn drop(&mut self) {
        // SAFETY: it was entered by this thread, and the connection is open still.
        unsafe { sqlite::sqlite3_mutex_leave(self.0) }
    }
}
