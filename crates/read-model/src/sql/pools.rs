use runtime::database::Pool;

/// Connections to a database, by what they are for.
pub(crate) struct Pools {
    /// For what tills and screens ask: one row, or one page.
    pub reads: Pool,
    /// For sums, Z reports and exports.
    pub reports: Pool,
    /// For batches and for the rows that they build upon.
    pub batches: Pool,
    pub batches_at_once: usize,
    /// For claims and signs of life.
    pub signs: Pool,
}
