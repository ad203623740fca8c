//! What can go wrong at the door; packets never cause an error, they are dropped and counted.
use std::io;

/// Why a call on a tunnel did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum TunnelError {
    #[error("the tunnel was handed something wrong: {0}")]
    Invalid(String),
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
    #[error("the tunnel is closed")]
    Closed,
}

impl TunnelError {
    pub(crate) fn invalid(text: impl Into<String>) -> Self {
        Self::Invalid(text.into())
    }

    /// For `map_err`: names what was being tried.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what: what.into(), source }
    }
}

impl From<serde_json::Error> for TunnelError {
    fn from(error: serde_json::Error) -> Self {
        Self::Invalid(error.to_string())
    }
}

impl From<gw_filter::FilterError> for TunnelError {
    fn from(error: gw_filter::FilterError) -> Self {
        Self::Invalid(error.to_string())
    }
}
