use std::path::PathBuf;
use std::time::Duration;

use contract::card::CardKeys;
use runtime::Origin;
use runtime::config::Settings;
use secrecy::{ExposeSecret as _, SecretString};
use tonic::transport::Channel;

const SHORTEST_QUOTE_KEY: usize = 32;

/// Settings of the ordering service, each with its unit in the name of its key.
#[derive(Clone, Debug)]
pub struct Config {
    pub member: Channel,
    /// How long a membership check may take before the order goes on UNVERIFIED.
    pub member_deadline: Duration,
    /// Membership checks under way at once; more go on UNVERIFIED.
    pub member_concurrency: usize,
    /// Commands that may wait per store.
    pub queue: usize,
    /// Stores in memory at once.
    pub max_stores: usize,
    /// After how long without a command a store leaves memory.
    pub idle: Duration,
    /// Longest that a call may take, whatever its deadline says.
    pub longest_call: Duration,
    /// Key of quote tokens, the same for all instances; one of its own in the index when absent.
    pub quote_key: Option<SecretString>,
    /// Keys of card hashes, shared with member. `None` when the setting is absent.
    pub card_keys: Option<CardKeys>,
    /// The origin of the pages in browsers that may send commands. `None`: no page may.
    pub page_origin: Option<Origin>,
    /// Path of the command index.
    pub index: PathBuf,
    /// Path of the catalog; the built-in one when absent.
    pub catalog: Option<PathBuf>,
}

impl Config {
    /// Reads the settings; what is wrong is noted there.
    pub fn from(settings: &mut Settings) -> Option<Self> {
        let url = settings.get("ordering.member_url", "http://127.0.0.1:7401".to_owned());
        let member = runtime::channel::connect_lazy(&url)
            .map_err(|error| settings.problem("ordering.member_url", error))
            .ok();
        let mut at_least_one = |key: &str, default: u64| {
            let value: u64 = settings.get(key, default);
            if value == 0 {
                settings.problem(key, "must be at least 1");
            }
            value.max(1)
        };
        let member_deadline =
            Duration::from_millis(at_least_one("ordering.member_deadline_ms", 300));
        let count = |value: u64| usize::try_from(value).unwrap_or(usize::MAX).min(1 << 20);
        let member_concurrency = count(at_least_one("ordering.member_concurrency", 256));
        let queue = count(at_least_one("ordering.queue", 1_024));
        let max_stores = count(at_least_one("ordering.max_stores", 4_096));
        let idle = Duration::from_millis(at_least_one("ordering.idle_ms", 600_000));
        let quote_key = settings
            .find::<String>("ordering.quote_key")
            .map(SecretString::from);
        if quote_key
            .as_ref()
            .is_some_and(|key| key.expose_secret().len() < SHORTEST_QUOTE_KEY)
        {
            settings.problem(
                "ordering.quote_key",
                format!("must have at least {SHORTEST_QUOTE_KEY} characters"),
            );
        }
        let card_keys = settings.find::<String>("card_keys").and_then(|text| {
            CardKeys::parse(&text)
                .map_err(|error| settings.problem("card_keys", error))
                .ok()
        });
        let page_origin = settings
            .find::<String>("ordering.page_origin")
            .and_then(|text| {
                Origin::parse(&text)
                    .map_err(|error| settings.problem("ordering.page_origin", error))
                    .ok()
            });
        Some(Self {
            member: member?,
            member_deadline,
            member_concurrency,
            queue,
            max_stores,
            idle,
            longest_call: Duration::from_secs(30),
            quote_key,
            card_keys,
            page_origin,
            index: settings.get("ordering.index", PathBuf::from("doppio-ordering-index.db")),
            catalog: settings.find("ordering.catalog"),
        })
    }
}
