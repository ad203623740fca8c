//! The binding: a list of submodules, one per pure crate. No logic lives here.
use pyo3::prelude::*;

mod blocks;
mod errors;
mod policy;
mod policy_rows;
mod sqlite;
mod token;
mod tunnel;

#[pymodule]
mod _rust {
    #[pymodule_export]
    use crate::blocks::blocks;
    #[pymodule_export]
    use crate::policy::policy;
    #[pymodule_export]
    use crate::sqlite::sqlite;
    #[pymodule_export]
    use crate::token::token;
    #[pymodule_export]
    use crate::tunnel::tunnel;

    /// SHA-256 over the Rust sources this binary was built from.
    #[pymodule_export]
    const SOURCES_DIGEST: &str = env!("GHOSTWIRE_DIGEST");
    /// Cargo's profile: `release` or `editable`; anything else is not for measuring.
    #[pymodule_export]
    const BUILD_PROFILE: &str = env!("GHOSTWIRE_PROFILE");
    #[pymodule_export]
    const VERSION: &str = env!("CARGO_PKG_VERSION");
}
