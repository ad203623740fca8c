//! One compiled statement, run for as long as it is short.
use crate::connection::{Connection, Entered};
use libsqlite3_sys as sqlite;
use std::ffi::{CStr, c_int, c_uint, c_void};
use std::marker::PhantomData;
use std::ops::ControlFlow;
use std::ptr::{self, NonNull};
use std::slice;

/// Of SQLite's machine, in one run: some tens of microseconds where the pages are in the cache.
pub const STEPS: c_int = 4000;

/// The subtype of a NULL that is a pointer.
const POINTER: c_uint = b'p' as c_uint;

/// A value as SQLite stores it; text is UTF-8 wherever it was checked, as in a store.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    Null,
    Integer(i64),
    Real(f64),
    Text(&'a [u8]),
    Blob(&'a [u8]),
}

/// Why SQLite has ended the transaction by itself: the disk or memory failed. Whoever runs the statement once more sees
/// another moment than that transaction did.
#[derive(Debug)]
pub struct RolledBack(pub String);

/// A statement that SQLite compiles anew by itself when the schema has changed.
pub struct Statement {
    raw: NonNull<sqlite::sqlite3_stmt>,
    on: Connection,
}

// SAFETY: as for the connection.
unsafe impl Send for Statement {}

impl Statement {
    pub(crate) fn compile(on: Connection, text: &str) -> Option<Self> {
        let length = c_int::try_from(text.len()).ok()?;
        let _entered = on.enter()?;
        let (mut raw, mut rest) = (ptr::null_mut(), ptr::null());
        let flags = sqlite::SQLITE_PREPARE_PERSISTENT as c_uint;
        let start = text.as_ptr().cast();
        // SAFETY: the text has that length, and the connection is open.
        let code = unsafe { sqlite::sqlite3_prepare_v3(on.raw(), start, length, flags, &mut raw, &mut rest) };
        let statement = Self { raw: NonNull::new(raw)?, on };
        // SAFETY: `rest` points into the text, or to its end.
        let compiled = unsafe { rest.offset_from(start) } as usize;
        let alone = text.as_bytes().get(compiled..)?.iter().all(u8::is_ascii_whitespace);
        (code == sqlite::SQLITE_OK && alone).then_some(statement)
    }

    pub(crate) fn only_reads(&self) -> bool {
        // SAFETY: the statement is compiled.
        unsafe { sqlite::sqlite3_stmt_readonly(self.raw.as_ptr()) != 0 && self.columns() > 0 }
    }

    /// How many values it takes.
    pub fn parameters(&self) -> usize {
        // SAFETY: the statement is compiled.
        unsafe { sqlite::sqlite3_bind_parameter_count(self.raw.as_ptr()) as usize }
    }

    /// How often SQLite has compiled it anew: the names of its columns are others then.
    pub fn generation(&self) -> i32 {
        self.status(sqlite::SQLITE_STMTSTATUS_REPREPARE, false)
    }

    /// The names of its columns.
    pub fn names(&self) -> Option<Vec<&str>> {
        let name = |at: c_int| {
            // SAFETY: the statement is compiled and has that column.
            let name = unsafe { sqlite::sqlite3_column_name(self.raw.as_ptr(), at) };
            // SAFETY: a name ends with a zero, and stands until the statement is compiled anew, which needs it whole.
            if name.is_null() { None } else { unsafe { CStr::from_ptr(name) }.to_str().ok() }
        };
        (0..self.columns()).map(name).collect()
    }

    /// Runs it with `values`, as many as it takes, and gives each row to `take` until that breaks off.
    ///
    /// False where it came to no end: a value was None, it took more than [`STEPS`], it failed, or another thread is
    /// using the connection. Whoever opened the connection may then run it, and be told why. An error where SQLite has
    /// ended the transaction that it ran in.
    pub fn run<'v>(
        &mut self,
        values: impl ExactSizeIterator<Item = Option<Value<'v>>>,
        mut take: impl FnMut(Row<'_>) -> ControlFlow<()>,
    ) -> Result<bool, RolledBack> {
        let Some(running) = Running::of(self, values) else { return Ok(false) };
        loop {
            // SAFETY: the statement is compiled, and no other thread is in the connection.
            match unsafe { sqlite::sqlite3_step(running.statement.raw.as_ptr()) } {
                sqlite::SQLITE_ROW if take(Row(running.statement)).is_continue() => {}
                sqlite::SQLITE_ROW | sqlite::SQLITE_DONE => return Ok(true),
                _ => return running.unfinished(),
            }
        }
    }

    /// Runs it to its end, whatever rows it gives, however long that takes: an extended result code. For whoever keeps
    /// other threads out.
    pub(crate) fn perform(&mut self, values: &[Value<'_>]) -> c_int {
        let begun = Begun::of(self, values);
        loop {
            match begun.step() {
                sqlite::SQLITE_ROW => {}
                code => return code,
            }
        }
    }

    /// What `take` makes of its first row. None where there is none. For whoever keeps other threads out.
    pub(crate) fn first<T>(&mut self, values: &[Value<'_>], take: impl FnOnce(Row<'_>) -> Option<T>) -> Option<T> {
        let begun = Begun::of(self, values);
        if begun.step() == sqlite::SQLITE_ROW { take(Row(begun.statement)) } else { None }
    }

    pub(crate) fn columns(&self) -> c_int {
        // SAFETY: the statement is compiled.
        unsafe { sqlite::sqlite3_column_count(self.raw.as_ptr()) }
    }

    fn status(&self, what: c_int, reset: bool) -> c_int {
        // SAFETY: the statement is compiled.
        unsafe { sqlite::sqlite3_stmt_status(self.raw.as_ptr(), what, reset.into()) }
    }

    fn bind(&self, at: c_int, value: Value<'_>) -> c_int {
        let (raw, keep) = (self.raw.as_ptr(), sqlite::SQLITE_STATIC());
        // SAFETY: the statement is compiled; SQLite does not copy what it is told to keep, and `Running` sees to it that
        // it forgets that before it goes.
        unsafe {
            match value {
                Value::Null => sqlite::sqlite3_bind_null(raw, at),
                Value::Integer(value) => sqlite::sqlite3_bind_int64(raw, at, value),
                Value::Real(value) => sqlite::sqlite3_bind_double(raw, at, value),
                Value::Text(text) => {
                    let (start, utf8) = (text.as_ptr().cast(), sqlite::SQLITE_UTF8 as _);
                    sqlite::sqlite3_bind_text64(raw, at, start, text.len() as u64, keep, utf8)
                }
                Value::Blob(bytes) => {
                    sqlite::sqlite3_bind_blob64(raw, at, bytes.as_ptr().cast(), bytes.len() as u64, keep)
                }
            }
        }
    }
}

impl Drop for Statement {
    fn drop(&mut self) {
        // SAFETY: it is compiled, and nobody uses it any more.
        unsafe { sqlite::sqlite3_finalize(self.raw.as_ptr()) };
    }
}

/// A statement that has its values, until it is done with.
struct Begun<'s, 'v> {
    statement: &'s Statement,
    bound: c_int,
    _values: PhantomData<&'v ()>,
}

impl<'s, 'v> Begun<'s, 'v> {
    fn of(statement: &'s mut Statement, values: &[Value<'v>]) -> Self {
        let mut bound = sqlite::SQLITE_OK;
        if values.len() != statement.parameters() {
            bound = sqlite::SQLITE_RANGE;
        }
        for (at, value) in (1..).zip(values) {
            if bound == sqlite::SQLITE_OK {
                bound = statement.bind(at, *value);
            }
        }
        Self { statement, bound, _values: PhantomData }
    }

    fn step(&self) -> c_int {
        if self.bound != sqlite::SQLITE_OK {
            return self.bound;
        }
        // SAFETY: the statement is compiled, and no other thread is in the connection.
        match unsafe { sqlite::sqlite3_step(self.statement.raw.as_ptr()) } {
            code @ (sqlite::SQLITE_ROW | sqlite::SQLITE_DONE) => code,
            // SAFETY: the connection is open.
            _ => unsafe { sqlite::sqlite3_extended_errcode(self.statement.on.raw()) },
        }
    }
}

impl Drop for Begun<'_, '_> {
    fn drop(&mut self) {
        // SAFETY: the statement is compiled, and no other thread is in the connection.
        unsafe {
            sqlite::sqlite3_reset(self.statement.raw.as_ptr());
            sqlite::sqlite3_clear_bindings(self.statement.raw.as_ptr());
        }
    }
}

/// A short statement between its first value and its end, whichever way that comes.
struct Running<'s, 'v> {
    statement: &'s Statement,
    within: bool, // a transaction
    _entered: Entered,
    _values: PhantomData<&'v ()>,
}

impl<'s, 'v> Running<'s, 'v> {
    fn of(statement: &'s mut Statement, values: impl ExactSizeIterator<Item = Option<Value<'v>>>) -> Option<Self> {
        if values.len() != statement.parameters() {
            return None;
        }
        let entered = statement.on.enter()?;
        let within = statement.on.in_transaction();
        let running = Self { statement, within, _entered: entered, _values: PhantomData };
        for (at, value) in (1..).zip(values) {
            if statement.bind(at, value?) != sqlite::SQLITE_OK {
                return None;
            }
        }
        statement.status(sqlite::SQLITE_STMTSTATUS_VM_STEP, true); // SQLite goes by this count
        // SAFETY: the connection is open; the handler needs nothing.
        unsafe { sqlite::sqlite3_progress_handler(statement.on.raw(), STEPS, Some(give_up), ptr::null_mut()) };
        Some(running)
    }

    fn unfinished(&self) -> Result<bool, RolledBack> {
        let on = self.statement.on;
        if self.within && !on.in_transaction() { Err(RolledBack(on.message())) } else { Ok(false) }
    }
}

impl Drop for Running<'_, '_> {
    fn drop(&mut self) {
        let statement = self.statement;
        // SAFETY: the connection is open, its statement compiled, and no other thread is in it.
        unsafe {
            sqlite::sqlite3_progress_handler(statement.on.raw(), 0, None, ptr::null_mut());
            sqlite::sqlite3_reset(statement.raw.as_ptr());
            sqlite::sqlite3_clear_bindings(statement.raw.as_ptr());
        }
    }
}

extern "C" fn give_up(_: *mut c_void) -> c_int {
    1
}

/// The row that a statement stands at.
pub struct Row<'s>(&'s Statement);

impl Row<'_> {
    pub fn len(&self) -> usize {
        self.0.columns() as usize
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value of a column. None where there is none, no memory for it, or where it is an object of its maker's: those
    /// are NULL to everybody else (<https://sqlite.org/bindptr.html>).
    pub fn value(&self, column: usize) -> Option<Value<'_>> {
        if column >= self.len() {
            return None;
        }
        let (raw, at) = (self.0.raw.as_ptr(), column as c_int);
        // SAFETY: the statement stands at a row that has this column; what its pointers show stays until the next step,
        // which ends the loan of the row.
        unsafe {
            let bytes = |start: *const u8| match sqlite::sqlite3_column_bytes(raw, at) as usize {
                0 => Some(&[][..]),
                _ if start.is_null() => None,
                length => Some(slice::from_raw_parts(start, length)),
            };
            match sqlite::sqlite3_column_type(raw, at) {
                sqlite::SQLITE_INTEGER => Some(Value::Integer(sqlite::sqlite3_column_int64(raw, at))),
                sqlite::SQLITE_FLOAT => Some(Value::Real(sqlite::sqlite3_column_double(raw, at))),
                sqlite::SQLITE_TEXT => bytes(sqlite::sqlite3_column_text(raw, at)).map(Value::Text),
                sqlite::SQLITE_BLOB => bytes(sqlite::sqlite3_column_blob(raw, at).cast()).map(Value::Blob),
                _ => {
                    let held = sqlite::sqlite3_value_subtype(sqlite::sqlite3_column_value(raw, at));
                    (held != POINTER).then_some(Value::Null)
                }
            }
        }
    }
}
