use crate::log::{LogEpoch, StreamHead, StreamIndex};

/// What an operator wants to know of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogInfo {
    pub epoch: LogEpoch,
    pub streams: Vec<StreamSummary>,
}

/// One stream of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamSummary {
    pub index: StreamIndex,
    /// The stream's name, or the path of the embedded log's file.
    pub name: String,
    pub records: u64,
    pub bytes: u64,
    /// How many servers hold a copy; 1 for the embedded log.
    pub replicas: usize,
    pub head: StreamHead,
}
