//! The only place where a Rust error becomes a Python one. Python owns the error tree.
use pyo3::{PyErr, import_exception};

import_exception!(ghostwire.errors, AuthenticationError);
import_exception!(ghostwire.errors, ConflictError);
import_exception!(ghostwire.errors, DatabaseError);
import_exception!(ghostwire.errors, NotFoundError);
import_exception!(ghostwire.errors, PermissionDeniedError);
import_exception!(ghostwire.errors, UnavailableError);
import_exception!(ghostwire.errors, ValidationError);

pub fn blocks(error: gw_blocks::BlockError) -> PyErr {
    let text = error.to_string();
    match error {
        gw_blocks::BlockError::Invalid(_) => ValidationError::new_err(text),
        gw_blocks::BlockError::Damaged(_) | gw_blocks::BlockError::Sealed => DatabaseError::new_err(text),
    }
}

/// In the words of `ghostwire/zqlite/faults.py`.
pub fn sqlite(error: gw_sqlite::RolledBack) -> PyErr {
    DatabaseError::new_err(format!("the store failed: {}", error.0))
}

pub fn token(error: gw_token::TokenError) -> PyErr {
    AuthenticationError::new_err(error.to_string())
}

pub fn tunnel(error: gw_tunnel::TunnelError) -> PyErr {
    use std::io::ErrorKind;
    let text = error.to_string();
    match error {
        gw_tunnel::TunnelError::Invalid(_) => ValidationError::new_err(text),
        gw_tunnel::TunnelError::Closed => UnavailableError::new_err(text),
        gw_tunnel::TunnelError::Io { source, .. } => match source.kind() {
            ErrorKind::PermissionDenied => PermissionDeniedError::new_err(text),
            ErrorKind::AddrInUse | ErrorKind::AlreadyExists | ErrorKind::ResourceBusy => ConflictError::new_err(text),
            _ => UnavailableError::new_err(text),
        },
    }
}

pub fn filter(error: gw_filter::FilterError) -> PyErr {
    ValidationError::new_err(error.to_string())
}

/// An IP address as Python spells it.
pub fn address(text: &str) -> Result<std::net::IpAddr, PyErr> {
    text.parse().map_err(|_| ValidationError::new_err(format!("{text:?} is no IP address")))
}

pub fn policy(error: gw_policy::PolicyError) -> PyErr {
    ValidationError::new_err(error.to_string())
}

/// Something outside a policy text that cannot be read.
pub fn invalid(what: impl Into<String>) -> PyErr {
    ValidationError::new_err(what.into())
}

pub fn unknown_node(id: u32) -> PyErr {
    NotFoundError::new_err(format!("node {id} is not known to the policy"))
}
