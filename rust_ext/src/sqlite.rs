//! `rust_ext.sqlite`: work on apsw's connections. Short reads keep the interpreter, operations let go of it once.
use pyo3::prelude::*;
use std::ffi::{c_char, c_int, c_void};

/// What SQLite calls when it loads this library as an extension.
///
/// # Safety
/// For SQLite alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ghostwire_sqlite_init(
    _connection: *mut c_void,
    _message: *mut *mut c_char,
    functions: *mut gw_sqlite::Functions,
) -> c_int {
    // SAFETY: SQLite gives its table of functions.
    c_int::from(!unsafe { gw_sqlite::take_over(functions) })
}

#[pymodule]
#[pyo3(name = "sqlite")]
pub mod sqlite {
    use crate::errors;
    use gw_sqlite::Value;
    use pyo3::exceptions::PyException;
    use pyo3::intern;
    use pyo3::prelude::*;
    use pyo3::types::{PyBytes, PyFloat, PyInt, PyList, PyNone, PyString, PyTuple};
    use std::ops::ControlFlow::{Break, Continue};
    use std::sync::{Mutex, MutexGuard};
    use std::time::Duration;

    #[pyclass(frozen, module = "rust_ext.sqlite")]
    struct Connection {
        open: Mutex<Option<Open>>, // dropped before its opener
        opener: Py<PyAny>,
    }

    /// A connection that cannot be closed, for it has statements.
    struct Open {
        on: gw_sqlite::Connection,
        begin: gw_sqlite::Statement,
        rollback: gw_sqlite::Statement,
    }

    #[pymethods]
    impl Connection {
        /// Over an `apsw.Connection`.
        #[new]
        fn new(opener: Bound<'_, PyAny>) -> PyResult<Self> {
            let address = opener.call_method0("sqlite3_pointer")?.extract()?;
            // SAFETY: apsw tells where its open connection is, and the statements keep it open.
            let open = unsafe { gw_sqlite::Connection::at(address) }
                .and_then(|on| Some(Open { on, begin: on.own("BEGIN")?, rollback: on.own("ROLLBACK")? }))
                .ok_or_else(|| errors::invalid("SQLite has not loaded this library, or does not let it begin"))?;
            Ok(Self { open: Mutex::new(Some(open)), opener: opener.unbind() })
        }

        /// Begin a transaction. False where apsw should.
        fn begin(&self, py: Python<'_>) -> PyResult<bool> {
            self.own(py, |open| &mut open.begin)
        }

        /// End it; nothing may stand at a row. False where apsw should.
        fn rollback(&self, py: Python<'_>) -> PyResult<bool> {
            self.own(py, |open| &mut open.rollback)
        }

        /// A SELECT to be run often; `shape` makes a class for its rows of their description. None for any other text.
        fn prepare(&self, text: &Bound<'_, PyString>, shape: Py<PyAny>) -> PyResult<Option<Statement>> {
            let py = text.py();
            let Ok(text) = text.to_str() else { return Ok(None) };
            let statement = free(&self.open).and_then(|open| open.as_ref()?.on.prepare(text));
            Ok(if refused(py)? { None } else { statement }.map(|statement| {
                let kept = Mutex::new(Some(Kept { statement, rows: None }));
                Statement { kept, shape, _opener: self.opener.clone_ref(py) }
            }))
        }

        /// Let apsw close the connection, once the other statements on it are closed, too.
        fn close(&self) {
            if let Some(mut open) = free(&self.open) {
                *open = None;
            }
        }
    }

    impl Connection {
        fn own(&self, py: Python<'_>, which: impl FnOnce(&mut Open) -> &mut gw_sqlite::Statement) -> PyResult<bool> {
            let mut open = free(&self.open);
            let open = open.as_mut().and_then(|open| open.as_mut());
            let done = open.map(|open| which(open).run([].into_iter(), |_| Continue(())));
            Ok(!refused(py)? && done.transpose().map_err(errors::sqlite)?.unwrap_or(false))
        }
    }

    #[pyclass(frozen, module = "rust_ext.sqlite")]
    struct Statement {
        kept: Mutex<Option<Kept>>, // dropped before its opener
        shape: Py<PyAny>,
        _opener: Py<PyAny>,
    }

    struct Kept {
        statement: gw_sqlite::Statement,
        rows: Option<(i32, Py<PyAny>)>, // their class, and the generation of the statement that it is for
    }

    #[pymethods]
    impl Statement {
        /// All rows. None where apsw should run it.
        fn all<'py>(&self, py: Python<'py>, params: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyList>>> {
            self.run(params, usize::MAX, |kept, found| {
                let class = kept.class(py, &self.shape)?;
                PyList::new(py, found.into_iter().map(|row| class.call1((row,))).collect::<PyResult<Vec<_>>>()?)
            })
        }

        /// The first row, or an empty tuple where there is none. None where apsw should run it.
        fn first<'py>(&self, py: Python<'py>, params: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
            self.run(params, 1, |kept, mut found| match found.pop() {
                Some(row) => kept.class(py, &self.shape)?.call1((row,)),
                None => Ok(PyTuple::empty(py).into_any()),
            })
        }

        /// The same as a plain tuple.
        fn values<'py>(&self, py: Python<'py>, params: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyTuple>>> {
            self.run(params, 1, |_, mut found| Ok(found.pop().unwrap_or_else(|| PyTuple::empty(py))))
        }

        /// Leave it to apsw from now on, whoever still holds it.
        fn close(&self) {
            if let Some(mut kept) = free(&self.kept) {
                *kept = None;
            }
        }
    }

    impl Statement {
        /// What `give` makes of the first rows, `most` of them. None where apsw should run it.
        fn run<'py, T>(
            &self,
            params: &Bound<'py, PyAny>,
            most: usize,
            give: impl FnOnce(&mut Kept, Vec<Bound<'py, PyTuple>>) -> PyResult<T>,
        ) -> PyResult<Option<T>> {
            let py = params.py();
            let Some(mut kept) = free(&self.kept) else { return Ok(None) };
            let Some(kept) = kept.as_mut() else { return Ok(None) };
            let params: Vec<_> = match (params.cast_exact::<PyTuple>(), params.cast_exact::<PyList>()) {
                (Ok(params), _) => params.iter().collect(),
                (_, Ok(params)) => params.iter().collect(),
                _ => return Ok(None),
            };
            let (mut found, mut odd) = (Vec::new(), false);
            let ended = kept.statement.run(params.iter().map(value), |row| {
                let values = (0..row.len()).map(|column| object(py, row.value(column)?));
                match values.collect::<Option<Vec<_>>>().and_then(|values| PyTuple::new(py, values).ok()) {
                    Some(values) => found.push(values),
                    None => odd = true,
                }
                if odd || found.len() == most { Break(()) } else { Continue(()) }
            });
            let refused = refused(py)?;
            if !ended.map_err(errors::sqlite)? || refused || odd { Ok(None) } else { give(kept, found).map(Some) }
        }
    }

    impl Kept {
        fn class<'py>(&mut self, py: Python<'py>, shape: &Py<PyAny>) -> PyResult<Bound<'py, PyAny>> {
            let generation = self.statement.generation();
            if let Some((of, class)) = &self.rows
                && *of == generation
            {
                return Ok(class.bind(py).clone());
            }
            let names = self.statement.names().ok_or_else(|| errors::invalid("a column's name is not UTF-8"))?;
            let description = PyTuple::new(py, names.into_iter().map(|name| (name, py.None())))?;
            let class = shape.bind(py).call1((description,))?;
            self.rows = Some((generation, class.clone().unbind()));
            Ok(class)
        }
    }

    /// What operations on a connection need.
    #[pyclass(frozen, module = "rust_ext.sqlite")]
    struct Operations {
        kept: Mutex<Option<gw_sqlite::Operations>>, // dropped before its opener
        _opener: Py<PyAny>,
    }

    /// Number, time, body, the hash before and its own, nanoseconds.
    type Change<'py> = (i64, i64, Bound<'py, PyBytes>, Bound<'py, PyBytes>, Bound<'py, PyBytes>, u64);

    /// What was applied, whether the next one was unusual, and why the transaction is lost, if it is.
    type Applied<'py> = (Vec<Change<'py>>, bool, Option<(i32, String)>);

    #[pymethods]
    impl Operations {
        /// Over an `apsw.Connection`, for tables by id, name and the SELECT that reads a row by its row id.
        #[new]
        fn new(opener: Bound<'_, PyAny>, tables: Vec<(i64, String, String)>) -> PyResult<Self> {
            let py = opener.py();
            let address = opener.call_method0("sqlite3_pointer")?.extract()?;
            let tables: Vec<_> =
                tables.iter().map(|(id, name, images)| gw_sqlite::Table { id: *id, name, images }).collect();
            // SAFETY: apsw tells where its open connection is, and the statements keep it open.
            let kept = unsafe { gw_sqlite::Connection::at(address) }
                .and_then(|on| gw_sqlite::Operations::new(on, &tables))
                .filter(|_| matches!(refused(py), Ok(false)))
                .ok_or_else(|| errors::invalid("SQLite has not loaded this library, or does not know these tables"))?;
            Ok(Self { kept: Mutex::new(Some(kept)), _opener: opener.unbind() })
        }

        /// Keep a statement that gives no rows. False for any other text.
        fn learn(&self, text: &Bound<'_, PyString>) -> PyResult<bool> {
            let (py, text) = (text.py(), text.to_str()?);
            let learnt = free(&self.kept).and_then(|mut kept| Some(kept.as_mut()?.learn(text)));
            Ok(!refused(py)? && learnt.unwrap_or(false))
        }

        /// Leave a text to apsw.
        fn forget(&self, text: &str) {
            if let Some(kept) = free(&self.kept).as_mut().and_then(|kept| kept.as_mut()) {
                kept.forget(text);
            }
        }

        /// Apply operations, each with the time it is to have, from the first on until one is unusual or `within`
        /// nanoseconds are over. Begins the transaction where none is open.
        fn apply<'py>(
            &self,
            py: Python<'py>,
            operations: Vec<Bound<'py, PyAny>>,
            times: Vec<i64>,
            log: (i64, i64, i64, i64, [u8; 32]),
            within: u64,
        ) -> PyResult<Applied<'py>> {
            let mut kept = free(&self.kept);
            let Some(kept) = kept.as_mut().and_then(|kept| kept.as_mut()) else { return Ok((Vec::new(), false, None)) };
            let asked: Vec<_> = operations.iter().map_while(|operation| Asked::of(kept, operation)).collect();
            let usual: Vec<_> = asked.iter().zip(times).map_while(|(asked, ts)| asked.operation(ts)).collect();
            if usual.is_empty() {
                return Ok((Vec::new(), false, None));
            }
            let (epoch, since, seq, ts, hash) = log;
            let log = gw_sqlite::Log { epoch, since, head: gw_sqlite::Head { seq, ts, hash } };
            let mut applied = Vec::with_capacity(usual.len());
            let ended = py.detach(|| kept.apply(log, &usual, Duration::from_nanos(within), &mut applied));
            refused(py)?;
            let changes = applied.iter().map(|change| row(py, change)).collect();
            Ok(match ended {
                Ok(unusual) => (changes, unusual, None),
                Err(failure) => (changes, false, Some((failure.code, failure.message))),
            })
        }

        /// Enter the signature of a commit. False where apsw should.
        fn sign(&self, py: Python<'_>, seq: i64, signature: &[u8]) -> PyResult<bool> {
            let signed = free(&self.kept).and_then(|mut kept| Some(kept.as_mut()?.sign(seq, signature)));
            Ok(!refused(py)? && signed.unwrap_or(false))
        }

        /// Let apsw close the connection.
        fn close(&self) {
            if let Some(mut kept) = free(&self.kept) {
                *kept = None;
            }
        }
    }

    /// An operation as Python has it.
    struct Asked<'py> {
        kind: Bound<'py, PyString>,
        actor: Bound<'py, PyString>,
        steps: Vec<(usize, Vec<Bound<'py, PyAny>>, Option<i64>)>,
    }

    impl<'py> Asked<'py> {
        /// None where a statement is unknown, or its parameters have names.
        fn of(kept: &gw_sqlite::Operations, operation: &Bound<'py, PyAny>) -> Option<Self> {
            let py = operation.py();
            let text = |name| operation.getattr(name).ok()?.cast_into::<PyString>().ok();
            let statements = operation.getattr(intern!(py, "statements")).ok()?.cast_into::<PyTuple>().ok()?;
            let step = |statement: Bound<'py, PyAny>| {
                let sql = statement.getattr(intern!(py, "sql")).ok()?.cast_into::<PyString>().ok()?;
                let params = statement.getattr(intern!(py, "params")).ok()?.cast_into::<PyTuple>().ok()?;
                let rows = statement.getattr(intern!(py, "rows")).ok()?.extract().ok()?;
                Some((kept.number(sql.to_str().ok()?)?, params.iter().collect(), rows))
            };
            Some(Self {
                kind: text(intern!(py, "kind"))?,
                actor: text(intern!(py, "actor"))?,
                steps: statements.iter().map(step).collect::<Option<_>>()?,
            })
        }

        /// The same for SQLite. None where a parameter is of a type that it has not.
        fn operation(&self, ts: i64) -> Option<gw_sqlite::Operation<'_>> {
            let mut steps = Vec::with_capacity(self.steps.len());
            for (statement, params, rows) in &self.steps {
                let values = params.iter().map(value).collect::<Option<_>>()?;
                steps.push(gw_sqlite::Step { statement: *statement, values, rows: *rows });
            }
            Some(gw_sqlite::Operation { kind: self.kind.to_str().ok()?, actor: self.actor.to_str().ok()?, steps, ts })
        }
    }

    fn row<'py>(py: Python<'py>, change: &gw_sqlite::Change) -> Change<'py> {
        let bytes = |data: &[u8]| PyBytes::new(py, data);
        let (head, took) = (change.head, change.took.as_nanos() as u64);
        (head.seq, head.ts, bytes(&change.body), bytes(&change.prev), bytes(&head.hash), took)
    }

    /// What nobody else is using now; who runs it again from within is using it.
    fn free<T>(state: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
        state.try_lock().ok()
    }

    /// Whether a callback of apsw has raised: apsw will do so again, and tell. What is no error of the callback's own,
    /// such as a KeyboardInterrupt, comes but once.
    fn refused(py: Python<'_>) -> PyResult<bool> {
        match PyErr::take(py) {
            Some(error) if !error.is_instance_of::<PyException>(py) => Err(error),
            error => Ok(error.is_some()),
        }
    }

    /// A parameter, if it is of one of the types that SQLite has, too.
    fn value<'a>(param: &'a Bound<'_, PyAny>) -> Option<Value<'a>> {
        if let Ok(text) = param.cast::<PyString>() {
            text.to_str().ok().map(|text| Value::Text(text.as_bytes()))
        } else if param.cast::<PyInt>().is_ok() {
            param.extract().ok().map(Value::Integer)
        } else if let Ok(bytes) = param.cast::<PyBytes>() {
            Some(Value::Blob(bytes.as_bytes()))
        } else if let Ok(number) = param.cast::<PyFloat>() {
            Some(Value::Real(number.value()))
        } else {
            param.is_none().then_some(Value::Null)
        }
    }

    fn object<'py>(py: Python<'py>, value: Value<'_>) -> Option<Bound<'py, PyAny>> {
        Some(match value {
            Value::Null => PyNone::get(py).to_owned().into_any(),
            Value::Integer(value) => value.into_pyobject(py).ok()?.into_any(),
            Value::Real(value) => PyFloat::new(py, value).into_any(),
            Value::Text(text) => PyString::from_bytes(py, text).ok()?.into_any(),
            Value::Blob(bytes) => PyBytes::new(py, bytes).into_any(),
        })
    }
}
