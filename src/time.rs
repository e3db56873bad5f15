use jiff::Timestamp;

/// A protobuf timestamp of an instant.
#[must_use]
pub fn to_proto(instant: Timestamp) -> prost_types::Timestamp {
    let mut timestamp = prost_types::Timestamp {
        seconds: instant.as_second(),
        nanos: instant.subsec_nanosecond(),
    };
    // Protobuf wants nanoseconds that count forward, also before 1970.
    timestamp.normalize();
    timestamp
}

/// The instant of a protobuf timestamp; `None` when it is out of range.
#[must_use]
pub fn from_proto(timestamp: &prost_types::Timestamp) -> Option<Timestamp> {
    if !(0..1_000_000_000).contains(&timestamp.nanos) {
        return None;
    }
    Timestamp::new(timestamp.seconds, timestamp.nanos).ok()
}
