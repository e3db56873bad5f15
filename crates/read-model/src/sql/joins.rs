//! From a fact to what belongs to it.
//!
//! The expressions on the right keep PostgreSQL from reading all rows of the store for each fact, which it takes for a good plan before
//! it has statistics: only the whole key can be looked up.

pub(crate) const LINES: &str = "JOIN fact_lines l ON l.store_id = f.store_id || '' \
                                     AND l.revision = f.revision AND l.event_index = f.event_index";
pub(crate) const TENDERS: &str = "JOIN fact_tenders t ON t.store_id = f.store_id || '' \
                                       AND t.revision = f.revision AND t.event_index = f.event_index";
pub(crate) const DISCOUNTS: &str = "JOIN fact_discounts x ON x.store_id = f.store_id || '' \
                                         AND x.revision = f.revision AND x.event_index = f.event_index";
pub(crate) const ORDERS: &str =
    "JOIN orders o ON o.store_id = f.store_id || '' AND o.order_id = f.order_id";
