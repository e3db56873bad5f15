use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use contract::card::CardKeys;
use runtime::config::Settings;
use sqlx::postgres::PgConnectOptions;

use crate::value::Tier;

/// Where the service listens unless it is told otherwise.
pub const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7401);

#[derive(Debug, Clone)]
pub struct Config {
    pub listen: SocketAddr,
    pub database: Database,
    /// Keys of card hashes, shared with ordering. `None` when the setting is absent.
    pub card_keys: Option<CardKeys>,
    pub benefits: Benefits,
}

impl Config {
    /// Reads `member.listen`, `card_keys` and `member_db`. `None` when a setting is missing or malformed, which `settings` then reports.
    pub fn from_settings(settings: &mut Settings) -> Option<Self> {
        let listen = settings.get("member.listen", DEFAULT_LISTEN);
        let card_keys = settings.find::<String>("card_keys").and_then(|text| {
            CardKeys::parse(&text)
                .map_err(|error| settings.problem("card_keys", error))
                .ok()
        });
        let Some(database) = settings.find::<String>("member_db") else {
            settings.problem(
                "member_db",
                "is needed: postgres://user:password@host/database, or sqlite:PATH",
            );
            return None;
        };
        match Database::parse(&database) {
            Ok(database) => Some(Self {
                listen,
                database,
                card_keys,
                benefits: Benefits::default(),
            }),
            Err(error) => {
                settings.problem("member_db", error);
                None
            }
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DatabaseError {
    // The text is not repeated, since it may hold a password.
    #[error("must begin with postgres:// or sqlite:")]
    UnknownScheme,
    #[error("names no file after sqlite:")]
    NoPath,
    #[error("is not a PostgreSQL address: {0}")]
    Postgres(String),
}

/// Which database: a SQLite file, created when it is missing, or PostgreSQL.
#[derive(Clone)]
pub enum Database {
    Sqlite(PathBuf),
    Postgres(Box<PgConnectOptions>),
}

impl Database {
    /// `sqlite:PATH` or `postgres://user:password@host/database`. The path is taken as it is written.
    pub fn parse(text: &str) -> Result<Self, DatabaseError> {
        if let Some(path) = text
            .strip_prefix("sqlite://")
            .or_else(|| text.strip_prefix("sqlite:"))
        {
            return if path.is_empty() {
                Err(DatabaseError::NoPath)
            } else {
                Ok(Self::Sqlite(PathBuf::from(path)))
            };
        }
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            let options = text
                .parse::<PgConnectOptions>()
                .map_err(|error| DatabaseError::Postgres(error.to_string()))?;
            return Ok(Self::Postgres(Box::new(options)));
        }
        Err(DatabaseError::UnknownScheme)
    }
}

/// Without the password.
impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Postgres(options) => {
                let database = options.get_database().unwrap_or_default();
                write!(
                    f,
                    "postgres://{}:{}/{database}",
                    options.get_host(),
                    options.get_port()
                )
            }
        }
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a tier brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TierBenefits {
    /// Points earned per amount paid, in basis points: 500 is 5 %.
    pub points_rate_bp: u32,
    /// Whether prices marked as members' prices apply.
    pub member_prices: bool,
}

/// The benefits of each tier:
///
/// | tier   | points | members' prices |
/// |--------|--------|-----------------|
/// | basic  | 1 %    | yes             |
/// | silver | 3 %    | yes             |
/// | gold   | 5 %    | yes             |
#[derive(Debug, Clone, Copy)]
pub struct Benefits {
    pub basic: TierBenefits,
    pub silver: TierBenefits,
    pub gold: TierBenefits,
}

impl Default for Benefits {
    fn default() -> Self {
        let tier = |points_rate_bp| TierBenefits {
            points_rate_bp,
            member_prices: true,
        };
        Self {
            basic: tier(100),
            silver: tier(300),
            gold: tier(500),
        }
    }
}

impl Benefits {
    #[must_use]
    pub fn of(&self, tier: Tier) -> TierBenefits {
        match tier {
            Tier::Basic => self.basic,
            Tier::Silver => self.silver,
            Tier::Gold => self.gold,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_printed_without_their_password() {
        let postgres = Database::parse("postgres://till:s3cret@db:5433/members").unwrap();
        assert_eq!(
            format!("{postgres} {postgres:?}"),
            "postgres://db:5433/members postgres://db:5433/members"
        );
        assert_eq!(
            Database::parse("sqlite:data/member.db")
                .unwrap()
                .to_string(),
            "sqlite:data/member.db"
        );
        assert_eq!(
            Database::parse("sqlite:").err(),
            Some(DatabaseError::NoPath)
        );
        assert_eq!(
            Database::parse("mysql://root@db/members").err(),
            Some(DatabaseError::UnknownScheme)
        );
        assert!(matches!(
            Database::parse("postgres://db:port/members"),
            Err(DatabaseError::Postgres(_))
        ));
    }

    #[test]
    fn a_missing_database_and_a_bad_address_are_both_reported() {
        let mut settings = Settings::load(None, &[("member.listen", Some("nowhere".into()))]);
        assert!(Config::from_settings(&mut settings).is_none());
        let report = settings.finish().unwrap_err().to_string();
        assert!(
            report.contains("member_db: is needed") && report.contains("member.listen"),
            "{report}"
        );
    }
}
