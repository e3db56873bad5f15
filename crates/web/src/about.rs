//! What there is to say of a service beside its calls.

/// What a service says of itself.
#[derive(Debug, Clone, Copy)]
pub struct About {
    /// Its name, in a description's title.
    pub name: &'static str,
    /// What it is for, in a sentence or two.
    pub summary: &'static str,
    /// Most bytes of a request's body. What a call takes as a message is limited by its service besides.
    pub body_bytes: usize,
    /// Addresses beside those of the calls, each with a word on it.
    pub others: &'static [(&'static str, &'static str)],
}
