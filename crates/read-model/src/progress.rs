//! How far the projection is, for those who wait and for those who watch.

use std::collections::BTreeMap;

use contract::StoreId;
use event_log::{LogEpoch, Revision, StreamIndex};

use crate::day::DifferingDay;
use crate::store::StoreRow;
use crate::stream::StreamRow;

/// How far a store has been projected, for those who wait for a revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreProgress {
    pub revision: Revision,
    pub quarantined: bool,
}

/// How far a stream has been projected, for those who wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamSight {
    pub stream: StreamIndex,
    /// Whether everything is projected that was in the log when the projector last looked.
    pub level: bool,
    /// How often it has looked.
    pub looks: u64,
}

/// What has been projected of the stores asked for.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    /// Seen before the stores were.
    pub streams: Vec<StreamSight>,
    /// Why the log is not the one that the read model was built from, where the projector found that.
    pub log_changed: Option<String>,
    /// The log that the read model was built from; `None` while nothing has been projected.
    pub epoch: Option<LogEpoch>,
    pub stores: BTreeMap<StoreId, StoreProgress>,
}

/// All that an operator asks.
#[derive(Debug, Clone)]
pub struct ProjectionStatus {
    pub streams: Vec<StreamRow>,
    pub quarantined: Vec<StoreRow>,
    /// At most 1,000.
    pub differing: Vec<DifferingDay>,
}
