//! The only place where a Rust error becomes a Python one. Python owns the error tree.
use pyo3::{PyErr, import_exception};

import_exception!(ghostwire.errors, AuthenticationError);
import_exception!(ghostwire.errors, ValidationError);

pub fn token(error: gw_token::TokenError) -> PyErr {
    AuthenticationError::new_err(error.to_string())
}
