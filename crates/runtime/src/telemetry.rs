//! Structured logs: readable on a terminal, JSON lines otherwise.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

/// The NATS client reports the end of every connection, which is ours to mend and to tell, as several errors.
const DEFAULT_FILTER: &str = "info,sqlx=warn,async_nats=off,h2=warn,hyper=warn,tower=warn";

/// Starts logging to standard error. `filter` as in `RUST_LOG`; an illegal one is replaced by the default and reported.
pub fn start(filter: Option<&str>) {
    let wanted = filter.unwrap_or(DEFAULT_FILTER);
    let (filter, problem) = match EnvFilter::try_new(wanted) {
        Ok(filter) => (filter, None),
        Err(error) => (EnvFilter::new(DEFAULT_FILTER), Some(error)),
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let started = if std::io::stderr().is_terminal() {
        builder.compact().try_init()
    } else {
        builder.json().flatten_event(true).try_init()
    };
    if let (Ok(()), Some(error)) = (started, problem) {
        tracing::warn!(%error, "the log filter is not legal; using the default");
    }
}
