//! The event log's conformance suite on every backend, and what only JetStream can do wrong.

mod faults;
mod fixtures;
mod setup;

use event_log::each_law;
use fixtures::{JetStreamFixture, SqliteFixture};

each_law!(sqlite, SqliteFixture::new());
each_law!(nats_single, JetStreamFixture::single());
each_law!(nats_cluster, JetStreamFixture::cluster());
