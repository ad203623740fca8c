//! What can be wrong with a block.

/// Why a block cannot be made or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// What was to be packed is no block: columns of different lengths, too much, too many.
    #[error("{0}")]
    Invalid(&'static str),
    /// The bytes of an open block are not in its form.
    #[error("the block is damaged: {0}")]
    Damaged(&'static str),
    /// The seal does not hold: another key, another place, or changed bytes.
    #[error("the block does not open: it was changed, or moved from another place")]
    Sealed,
}
