//! Whole operations: their statements, the images of the rows that these change, and their rows in the change log.
//!
//! SQLite offers the hook that sees rows change, and their values, to the library alone that it is built into. The one
//! that it offers to all says which rows changed; their values are read back. So this serves tables that have a row id
//! and statements that keep it; where SQLite's count of changes is not what the hook has told, or anything else is
//! unusual, an operation is taken back and left to whoever opened the connection.
use crate::body::{Act, Images};
use crate::connection::Connection;
use crate::statement::{Statement, Value};
use libsqlite3_sys as sqlite;
use std::collections::HashMap;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::time::{Duration, Instant};

/// Rows that a statement may change here. Whoever changes more has time for the usual way.
const MOST_ROWS: usize = 64;

/// A table with a row id, by its name in the schema; `images` reads the stored values of the row `?`.
pub struct Table<'a> {
    pub id: i64,
    pub name: &'a str,
    pub images: &'a str,
}

/// A statement by its number, its values, and how many rows it must change, if that is said.
pub struct Step<'a> {
    pub statement: usize,
    pub values: Vec<Value<'a>>,
    pub rows: Option<i64>,
}

/// Steps that happen together or not at all. `ts` is UTC nanoseconds.
pub struct Operation<'a> {
    pub kind: &'a str,
    pub actor: &'a str,
    pub steps: Vec<Step<'a>>,
    pub ts: i64,
}

/// The newest row of the log.
#[derive(Clone, Copy)]
pub struct Head {
    pub seq: i64,
    pub ts: i64,
    pub hash: [u8; 32],
}

/// What an operation became: its row in the log, and how long that took.
pub struct Change {
    pub head: Head,
    pub prev: [u8; 32],
    pub body: Vec<u8>,
    pub took: Duration,
}

/// Where changes enter the log: `since` names the layout of the tables.
#[derive(Clone, Copy)]
pub struct Log {
    pub epoch: i64,
    pub since: i64,
    pub head: Head,
}

/// The disk or memory failed, or SQLite has ended the transaction by itself. An extended result code.
#[derive(Debug)]
pub struct Failure {
    pub code: i32,
    pub message: String,
}

/// Why an operation was not applied.
enum Refused {
    Unusual,
    Failed(Failure),
}

struct Kept {
    id: i64,
    images: Statement,
}

/// What the operations of one connection need.
pub struct Operations {
    on: Connection,
    begin: Statement,
    savepoint: Statement,
    release: Statement,
    back: Statement,
    append: Statement,
    group: Statement,
    tables: Vec<Kept>,
    touched: Box<Touched>,
    statements: Vec<Statement>,
    numbers: HashMap<String, usize>,
    images: Images,
}

// SAFETY: the names that the hook goes by point into this very value; all else is as for the connection.
unsafe impl Send for Operations {}

impl Operations {
    /// None where one of the store's own statements does not compile.
    pub fn new(on: Connection, tables: &[Table<'_>]) -> Option<Self> {
        let names = tables.iter().map(|table| CString::new(table.name).ok()).collect::<Option<_>>()?;
        let kept = |table: &Table<'_>| Some(Kept { id: table.id, images: on.own(table.images)? });
        Some(Self {
            on,
            begin: on.own("BEGIN IMMEDIATE")?,
            savepoint: on.own("SAVEPOINT op")?,
            release: on.own("RELEASE op")?,
            back: on.own("ROLLBACK TO op")?,
            append: on.own("INSERT INTO main.change VALUES (?, ?, ?, ?, ?, ?, ?, ?)")?,
            group: on.own("INSERT INTO main.zq_group VALUES (?, ?)")?,
            tables: tables.iter().map(kept).collect::<Option<_>>()?,
            touched: Box::new(Touched { names, rows: Vec::new(), unknown: false }),
            statements: Vec::new(),
            numbers: HashMap::new(),
            images: Images::default(),
        })
    }

    /// Keep a statement that gives no rows. False where it does, or does not compile.
    pub fn learn(&mut self, text: &str) -> bool {
        let Some(statement) = self.on.own(text).filter(|statement| statement.columns() == 0) else { return false };
        self.numbers.insert(text.to_owned(), self.statements.len());
        self.statements.push(statement);
        true
    }

    /// The number of a statement that is known.
    pub fn number(&self, text: &str) -> Option<usize> {
        self.numbers.get(text).copied()
    }

    /// Leave a statement to the usual way.
    pub fn forget(&mut self, text: &str) {
        self.numbers.remove(text);
    }

    /// Apply operations from the first on, until one is unusual or `within` is over, in a transaction that it begins
    /// where none is open. True where one was unusual; nothing is left of it.
    pub fn apply(
        &mut self,
        mut log: Log,
        operations: &[Operation<'_>],
        within: Duration,
        applied: &mut Vec<Change>,
    ) -> Result<bool, Failure> {
        let Some(_entered) = self.on.enter() else { return Ok(false) };
        if !self.on.in_transaction() && self.begin.perform(&[]) != sqlite::SQLITE_DONE {
            return Ok(false);
        }
        let _hooked = Hooked::on(self.on, &mut self.touched);
        let started = Instant::now();
        let mut last = started;
        for operation in operations {
            match self.one(log, operation) {
                Ok(mut change) => {
                    let now = Instant::now();
                    change.took = now - last;
                    last = now;
                    log.head = change.head;
                    applied.push(change);
                }
                Err(Refused::Unusual) => return self.take_back().map(|()| true),
                Err(Refused::Failed(failure)) => return Err(failure),
            }
            if last - started > within {
                break;
            }
        }
        Ok(false)
    }

    /// Enter the signature of a commit that ends with row `seq`. False where that is left to the usual way.
    pub fn sign(&mut self, seq: i64, signature: &[u8]) -> bool {
        let Some(_entered) = self.on.enter() else { return false };
        self.group.perform(&[Value::Integer(seq), Value::Blob(signature)]) == sqlite::SQLITE_DONE
    }

    fn one(&mut self, log: Log, operation: &Operation<'_>) -> Result<Change, Refused> {
        let code = self.savepoint.perform(&[]);
        self.done(code)?;
        self.images.clear();
        for step in &operation.steps {
            self.step(step)?;
        }
        let body = self.images.body(log.since);
        let prev = log.head.hash;
        let (seq, ts) = (log.head.seq + 1, operation.ts.max(log.head.ts + 1));
        let hash = digest(seq, log.epoch, ts, operation, &body, &prev);
        let code = self.append.perform(&[
            Value::Integer(seq),
            Value::Integer(log.epoch),
            Value::Integer(ts),
            Value::Text(operation.actor.as_bytes()),
            Value::Text(operation.kind.as_bytes()),
            Value::Blob(&body),
            Value::Blob(&prev),
            Value::Blob(&hash),
        ]);
        self.done(code)?;
        let code = self.release.perform(&[]);
        self.done(code)?;
        Ok(Change { head: Head { seq, ts, hash }, prev, body, took: Duration::ZERO })
    }

    fn step(&mut self, step: &Step<'_>) -> Result<(), Refused> {
        self.touched.rows.clear();
        self.touched.unknown = false;
        let before = self.on.total_changes();
        let code = self.statements[step.statement].perform(&step.values);
        self.done(code)?;
        let told = self.on.total_changes() - before == self.touched.rows.len() as i64 && !self.touched.unknown;
        if !told || step.rows.is_some_and(|rows| rows != self.on.changes()) {
            return Err(Refused::Unusual);
        }
        for at in 0..self.touched.rows.len() {
            let (table, act, key) = self.touched.rows[at];
            if self.touched.rows[..at].iter().any(|&(other, _, row)| (other, row) == (table, key)) {
                return Err(Refused::Unusual); // only what it has come to can be read back
            }
            let kept = &mut self.tables[table];
            if act == Act::Delete {
                self.images.delete(kept.id, key);
            } else {
                let (id, images) = (kept.id, &mut self.images);
                kept.images
                    .first(&[Value::Integer(key)], |row| images.put(id, act, key, &row))
                    .ok_or(Refused::Unusual)?;
            }
        }
        Ok(())
    }

    fn done(&self, code: c_int) -> Result<(), Refused> {
        if code == sqlite::SQLITE_DONE {
            return Ok(());
        }
        let kept = matches!(
            code & 0xff,
            sqlite::SQLITE_CONSTRAINT
                | sqlite::SQLITE_ERROR
                | sqlite::SQLITE_MISMATCH
                | sqlite::SQLITE_TOOBIG
                | sqlite::SQLITE_RANGE
                | sqlite::SQLITE_AUTH
                | sqlite::SQLITE_SCHEMA
                | sqlite::SQLITE_INTERRUPT
        );
        Err(if kept && self.on.in_transaction() { Refused::Unusual } else { Refused::Failed(self.failure(code)) })
    }

    fn take_back(&mut self) -> Result<(), Failure> {
        for code in [self.back.perform(&[]), self.release.perform(&[])] {
            if code != sqlite::SQLITE_DONE {
                return Err(self.failure(code));
            }
        }
        Ok(())
    }

    fn failure(&self, code: c_int) -> Failure {
        Failure { code, message: self.on.message() }
    }
}

/// The hash of a change row.
fn digest(seq: i64, epoch: i64, ts: i64, operation: &Operation<'_>, body: &[u8], prev: &[u8; 32]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(prev);
    for number in [seq, epoch, ts] {
        hasher.update(&number.to_be_bytes());
    }
    for text in [operation.actor, operation.kind] {
        hasher.update(&(text.len() as u32).to_be_bytes()).update(text.as_bytes());
    }
    *hasher.update(body).finalize().as_bytes()
}

/// What the hook tells: table, act, row id.
struct Touched {
    names: Vec<CString>,
    rows: Vec<(usize, Act, i64)>,
    unknown: bool,
}

/// The hook, for as long as this stands.
struct Hooked(Connection);

impl Hooked {
    fn on(on: Connection, touched: &mut Touched) -> Self {
        let touched = std::ptr::from_mut(touched).cast();
        // SAFETY: the connection is open; `touched` stands in a box that outlives this.
        unsafe { sqlite::sqlite3_update_hook(on.raw(), Some(touch), touched) };
        Self(on)
    }
}

impl Drop for Hooked {
    fn drop(&mut self) {
        // SAFETY: the connection is open.
        unsafe { sqlite::sqlite3_update_hook(self.0.raw(), None, std::ptr::null_mut()) };
    }
}

unsafe extern "C" fn touch(to: *mut c_void, act: c_int, _database: *const c_char, table: *const c_char, row: i64) {
    // SAFETY: SQLite gives what `Hooked` has handed over, and a name that ends with a zero.
    let (touched, name) = unsafe { (&mut *to.cast::<Touched>(), CStr::from_ptr(table)) };
    let act = match act {
        sqlite::SQLITE_INSERT => Act::Insert,
        sqlite::SQLITE_UPDATE => Act::Update,
        _ => Act::Delete,
    };
    match touched.names.iter().position(|known| known.as_c_str() == name) {
        Some(table) if touched.rows.len() < MOST_ROWS => touched.rows.push((table, act, row)),
        Some(_) => touched.unknown = true,
        None if name == c"change" => {}
        None => touched.unknown = true,
    }
}
