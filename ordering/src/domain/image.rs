//! What a snapshot holds of a store's state, as messages: exactly the state, so that deciding against what is read back is deciding
//! against what was written.
//!
//! These messages are ordering's own and change with the state. Whatever reads or writes them names all fields of the state, so that a new
//! one does not compile until it is in; a changed meaning of one has to raise [`STATE_VERSION`].

/// Version of what the state is and means. Raised with every change of it, also of how it follows from events: what another version has
/// made of a ledger is made again from the log.
pub const STATE_VERSION: u32 = 1;

/// What is read is no image of a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} cannot be read")]
pub struct ImageError(pub &'static str);
