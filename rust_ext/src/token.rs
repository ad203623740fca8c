//! `rust_ext.token`: tokens and BLAKE3.
use pyo3::prelude::*;

#[pymodule]
#[pyo3(name = "token")]
pub mod token {
    use crate::errors;
    use gw_token::{Entry, MacKey};
    use pyo3::prelude::*;
    use pyo3::types::PyBytes;
    use std::sync::{Mutex, MutexGuard, PoisonError};

    #[pyclass(frozen, module = "rust_ext.token")]
    struct TokenTable(Mutex<gw_token::TokenTable>);

    impl TokenTable {
        /// A poisoned lock means that a panic left whole entries behind, never half of one.
        fn lock(&self) -> MutexGuard<'_, gw_token::TokenTable> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }

    #[pymethods]
    impl TokenTable {
        #[new]
        fn new(key: [u8; 32]) -> Self {
            Self(Mutex::new(gw_token::TokenTable::new(MacKey::new(key))))
        }

        fn __len__(&self) -> usize {
            self.lock().len()
        }

        fn mac<'py>(&self, py: Python<'py>, token: &str) -> PyResult<Bound<'py, PyBytes>> {
            let mac = self.lock().mac(token.as_bytes()).map_err(errors::token)?;
            Ok(PyBytes::new(py, &mac))
        }

        fn insert(&self, mac: [u8; 32], subject: u64, expires: i64) {
            self.lock().insert(mac, Entry { subject, expires });
        }

        fn remove(&self, mac: [u8; 32]) -> bool {
            self.lock().remove(&mac)
        }

        fn check(&self, token: &str, now: i64) -> PyResult<u64> {
            Ok(self.lock().check(token.as_bytes(), now).map_err(errors::token)?.subject)
        }

        fn sweep<'py>(&self, py: Python<'py>, now: i64) -> Vec<Bound<'py, PyBytes>> {
            self.lock().sweep(now).iter().map(|mac| PyBytes::new(py, mac)).collect()
        }
    }

    #[pyfunction]
    fn encode(token: [u8; 32]) -> String {
        gw_token::encode(&token)
    }

    #[pyfunction]
    fn decode<'py>(py: Python<'py>, text: &str) -> PyResult<Bound<'py, PyBytes>> {
        Ok(PyBytes::new(py, &gw_token::decode(text.as_bytes()).map_err(errors::token)?))
    }

    #[pyfunction]
    fn blake3<'py>(py: Python<'py>, data: &[u8]) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &gw_token::hash(data))
    }

    #[pyfunction]
    fn keyed_blake3<'py>(py: Python<'py>, key: [u8; 32], data: &[u8]) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &gw_token::keyed_hash(&key, data))
    }

    #[pyfunction]
    fn derive_key<'py>(py: Python<'py>, context: &str, material: &[u8]) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &gw_token::derive_key(context, material))
    }
}
