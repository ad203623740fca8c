//! The policy engine: HuJSON to rules, rules to classes, classes to answers. It knows no Python.
pub mod access;
pub mod address;
pub mod aside;
pub mod assertions;
pub mod attributes;
mod denied;
pub mod directory;
pub mod engine;
pub mod error;
pub mod filter;
pub mod lint;
pub mod logins;
pub mod model;
pub mod peers;
pub mod ports;
pub mod posture;
mod read;
pub mod replay;
pub mod scope;
pub mod selector;
pub mod shapes;
pub mod text;
pub mod window;

pub use engine::Engine;
pub use error::PolicyError;
pub use model::Policy;
