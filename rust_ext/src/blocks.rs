//! `rust_ext.blocks`: typed column blocks, sealed, and the cache of decoded ones.
use pyo3::prelude::*;

#[pymodule]
#[pyo3(name = "blocks")]
pub mod blocks {
    use crate::errors;
    use gw_blocks::{Cipher, Column, Place, Slot, Texts};
    use pyo3::buffer::PyBuffer;
    use pyo3::exceptions::PyBufferError;
    use pyo3::ffi;
    use pyo3::prelude::*;
    use pyo3::pybacked::{PyBackedBytes, PyBackedStr};
    use pyo3::types::{PyBytes, PyDict, PyList, PyString};
    use std::ffi::c_int;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
    use std::time::Instant;

    /// A block's column of numbers, 8 bytes each, seen in place through the buffer protocol.
    #[pyclass(frozen, module = "rust_ext.blocks")]
    struct Values(Arc<gw_blocks::Block>, usize);

    #[pymethods]
    impl Values {
        fn __len__(&self) -> usize {
            self.0.rows()
        }

        // SAFETY: `view` comes from the interpreter; the numbers live as long as the object that the view refers to,
        // and nothing writes to them.
        unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
            let Values(block, at) = slf.get();
            let data = match &block.columns()[*at] {
                Column::Integers(values) => values.as_ptr().cast_mut().cast(),
                Column::Reals(values) => values.as_ptr().cast_mut().cast(),
                Column::Texts(_) | Column::Bytes(_) => return Err(PyBufferError::new_err("a column of texts")),
            };
            let length = (block.rows() * 8) as ffi::Py_ssize_t;
            // SAFETY: as above.
            match unsafe { ffi::PyBuffer_FillInfo(view, slf.as_ptr(), data, length, 1, flags) } {
                0 => Ok(()),
                _ => Err(PyErr::take(slf.py()).unwrap_or_else(|| PyBufferError::new_err("no buffer"))),
            }
        }
    }

    #[pyclass(frozen, module = "rust_ext.blocks")]
    struct Block(Arc<gw_blocks::Block>);

    #[pymethods]
    impl Block {
        /// Columns by kind: `i` 64-bit integers, `f` 64-bit numbers, `t` str, `b` bytes.
        #[staticmethod]
        fn of(kinds: &str, columns: Vec<Bound<'_, PyAny>>) -> PyResult<Self> {
            if kinds.chars().count() != columns.len() {
                return Err(errors::invalid("as many kinds as columns are needed"));
            }
            let columns = kinds.chars().zip(&columns).map(|(kind, values)| column(kind, values));
            let block = gw_blocks::Block::new(columns.collect::<PyResult<_>>()?).map_err(errors::blocks)?;
            Ok(Self(Arc::new(block)))
        }

        /// Compressed and not sealed, for what is sealed as a whole.
        #[pyo3(signature = (level=3))]
        fn pack<'py>(&self, py: Python<'py>, level: i32) -> PyResult<Bound<'py, PyBytes>> {
            let packed = py.detach(|| self.0.pack(level)).map_err(errors::blocks)?;
            Ok(PyBytes::new(py, &packed))
        }

        /// The reverse of `pack`.
        #[staticmethod]
        fn unpack(py: Python<'_>, packed: &[u8]) -> PyResult<Self> {
            let block = py.detach(|| gw_blocks::Block::unpack(packed)).map_err(errors::blocks)?;
            Ok(Self(Arc::new(block)))
        }

        #[getter]
        fn rows(&self) -> usize {
            self.0.rows()
        }

        #[getter]
        fn weight(&self) -> usize {
            self.0.weight()
        }

        #[getter]
        fn kinds(&self) -> String {
            let kind = |column: &Column| match column {
                Column::Integers(_) => 'i',
                Column::Reals(_) => 'f',
                Column::Texts(_) => 't',
                Column::Bytes(_) => 'b',
            };
            self.0.columns().iter().map(kind).collect()
        }

        /// The numbers of a column, in place.
        fn values(&self, column: usize) -> PyResult<Values> {
            match self.0.columns().get(column) {
                Some(Column::Integers(_) | Column::Reals(_)) => Ok(Values(self.0.clone(), column)),
                _ => Err(errors::invalid(format!("column {column} is none of numbers"))),
            }
        }

        /// The rows of a column of rising integers that are from `since` on and before `until`.
        fn between(&self, column: usize, since: i64, until: i64) -> PyResult<(usize, usize)> {
            match self.0.columns().get(column) {
                Some(Column::Integers(values)) => {
                    let start = values.partition_point(|value| *value < since);
                    Ok((start, start + values[start..].partition_point(|value| *value < until)))
                }
                _ => Err(errors::invalid(format!("column {column} is none of integers"))),
            }
        }

        /// The texts of some rows of a column.
        fn texts<'py>(&self, py: Python<'py>, column: usize, start: usize, end: usize) -> PyResult<Bound<'py, PyList>> {
            let rows = start..end.min(self.0.rows());
            match self.0.columns().get(column) {
                Some(Column::Texts(texts)) => {
                    let text = |row| PyString::from_bytes(py, texts.get(row));
                    PyList::new(py, rows.map(text).collect::<PyResult<Vec<_>>>()?)
                }
                Some(Column::Bytes(texts)) => {
                    PyList::new(py, rows.map(|row| PyBytes::new(py, texts.get(row))).collect::<Vec<_>>())
                }
                _ => Err(errors::invalid(format!("column {column} is none of texts"))),
            }
        }
    }

    fn column(kind: char, values: &Bound<'_, PyAny>) -> PyResult<Column> {
        Ok(match kind {
            'i' => Column::Integers(PyBuffer::<i64>::get(values)?.to_vec(values.py())?),
            'f' => Column::Reals(PyBuffer::<f64>::get(values)?.to_vec(values.py())?),
            't' => {
                let values = values.extract::<Vec<PyBackedStr>>()?;
                Column::Texts(Texts::new(values.iter().map(|text| text.as_bytes())).map_err(errors::blocks)?)
            }
            'b' => {
                let values = values.extract::<Vec<PyBackedBytes>>()?;
                Column::Bytes(Texts::new(values.iter().map(|bytes| &**bytes)).map_err(errors::blocks)?)
            }
            _ => return Err(errors::invalid(format!("{kind:?} is no kind of column"))),
        })
    }

    #[pyclass(frozen, module = "rust_ext.blocks")]
    struct Sealer(gw_blocks::Sealer, Cipher);

    #[pymethods]
    impl Sealer {
        #[new]
        #[pyo3(signature = (database, secret, cipher="aes256gcm"))]
        fn new(database: &[u8], secret: [u8; 32], cipher: &str) -> PyResult<Self> {
            let cipher = match cipher {
                "aes256gcm" => Cipher::Aes256Gcm,
                "chacha20" => Cipher::ChaCha20Poly1305,
                _ => return Err(errors::invalid(format!("{cipher:?} is no cipher of blocks"))),
            };
            Ok(Self(gw_blocks::Sealer::new(database, secret), cipher))
        }

        #[pyo3(signature = (block, series, number, version, nonce, level=3))]
        #[allow(clippy::too_many_arguments)] // one for each part of a place, by name
        fn seal<'py>(
            &self,
            py: Python<'py>,
            block: &Block,
            series: &[u8],
            number: u64,
            version: u32,
            nonce: [u8; 12],
            level: i32,
        ) -> PyResult<Bound<'py, PyBytes>> {
            let seal = || self.0.seal(&block.0, Place { series, number }, (self.1, version), nonce, level);
            Ok(PyBytes::new(py, &py.detach(seal).map_err(errors::blocks)?))
        }

        fn open(&self, py: Python<'_>, sealed: &[u8], series: &[u8], number: u64) -> PyResult<Block> {
            let block = py.detach(|| self.0.open(sealed, Place { series, number })).map_err(errors::blocks)?;
            Ok(Block(Arc::new(block)))
        }
    }

    #[pyclass(frozen, module = "rust_ext.blocks")]
    struct Cache(gw_blocks::Cache, AtomicU64);

    #[pymethods]
    impl Cache {
        #[new]
        fn new(budget: usize) -> Self {
            Self(gw_blocks::Cache::new(budget), AtomicU64::new(0))
        }

        /// A number for a new owner of blocks.
        fn owner(&self) -> u64 {
            self.0.owner()
        }

        fn get(&self, owner: u64, number: u64) -> Option<Block> {
            self.0.get(Slot { owner, number }).map(Block)
        }

        /// A block from the cache, or else of the sealed bytes that `load` gives, which only one caller at once does.
        fn fetch(
            &self,
            py: Python<'_>,
            owner: u64,
            number: u64,
            sealer: &Sealer,
            series: &[u8],
            load: Py<PyAny>,
        ) -> PyResult<Block> {
            let slot = Slot { owner, number };
            if let Some(block) = self.0.get(slot) {
                return Ok(Block(block));
            }
            let open = || {
                let sealed = Python::attach(|py| load.call0(py)?.extract::<PyBackedBytes>(py).map_err(PyErr::from))?;
                let started = Instant::now();
                let block = sealer.0.open(&sealed, Place { series, number }).map_err(errors::blocks)?;
                self.1.fetch_add(started.elapsed().as_nanos() as u64, Relaxed);
                Ok::<_, PyErr>(Arc::new(block))
            };
            py.detach(|| self.0.get_or_load(slot, open)).map(Block)
        }

        fn forget(&self, owner: u64, number: u64) {
            self.0.forget(Slot { owner, number });
        }

        fn forget_owner(&self, owner: u64) {
            self.0.forget_owner(owner);
        }

        /// Totals since the start, and what is held now.
        fn counters<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
            let now = self.0.counters();
            let counters = PyDict::new(py);
            for (name, value) in [
                ("hits", now.hits),
                ("misses", now.misses),
                ("joined", now.joined),
                ("evictions", now.evictions),
                ("blocks", now.blocks),
                ("bytes", now.bytes),
                ("decode_ns", self.1.load(Relaxed)),
            ] {
                counters.set_item(name, value)?;
            }
            Ok(counters)
        }
    }
}
