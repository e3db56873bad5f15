//! Channels to other services.

use std::time::Duration;

use tonic::transport::{Channel, Endpoint};

const CONNECT_TIMEOUT: Duration = Duration::from_millis(1_000);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
#[error("{url:?} is not the address of a server: {cause}. Write it as http://host:port")]
pub struct AddressError {
    url: String,
    cause: String,
}

/// A channel that connects when it is first used and again whenever it has to.
pub fn connect_lazy(url: &str) -> Result<Channel, AddressError> {
    let endpoint = Endpoint::from_shared(url.to_owned()).map_err(|error| AddressError {
        url: url.to_owned(),
        cause: error.to_string(),
    })?;
    Ok(endpoint
        .tcp_nodelay(true)
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .connect_lazy())
}
