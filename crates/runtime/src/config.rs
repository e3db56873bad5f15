//! Settings: flags over `DOPPIO_*` environment over `doppio.toml` over defaults. Read once into typed structs; every bad key is reported.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use figment::Figment;
use figment::providers::{Env, Format as _, Serialized, Toml};
use figment::value::{Dict, Value};
use serde::de::{DeserializeOwned, IntoDeserializer};

/// Every key there is, with what it means. Environment: upper case, `DOPPIO_` in front, `__` for the dot
/// (`ordering.listen` is `DOPPIO_ORDERING__LISTEN`).
pub const KEYS: &[(&str, &str)] = &[
    (
        "log",
        "the event log: nats://host:port[,host:port…], or sqlite:PATH",
    ),
    ("log_streams", "streams that log init makes, 1 to 64"),
    (
        "log_replicas",
        "copies that JetStream keeps of the log: 1, 3 or 5",
    ),
    ("log_credentials", "path of a NATS credentials file"),
    (
        "log_prefix",
        "prefix of the JetStream streams' names and subjects, for several logs in one account",
    ),
    (
        "read_model",
        "the read model: postgres://user:password@host/database, or sqlite:PATH",
    ),
    (
        "member_db",
        "the members' database: postgres://…, or sqlite:PATH",
    ),
    (
        "card_keys",
        "keys of card hashes, the same for ordering and member, ID:KEY each, the newest first",
    ),
    ("log_filter", "what is logged, as in RUST_LOG"),
    (
        "shutdown_grace_ms",
        "how long calls under way may take after a stop signal",
    ),
    ("member.listen", "address of the member service"),
    ("ordering.listen", "address of the ordering service"),
    (
        "ordering.member_url",
        "where ordering reaches the member service",
    ),
    (
        "ordering.member_deadline_ms",
        "how long a membership check may take",
    ),
    (
        "ordering.member_concurrency",
        "membership checks under way at once",
    ),
    (
        "ordering.catalog",
        "path of the TOML file with stores, menus and taxes; the built-in one when absent",
    ),
    (
        "ordering.index",
        "path of the local index of command ids (disposable)",
    ),
    (
        "ordering.quote_key",
        "secret of quote tokens, at least 32 characters, the same for all instances; by default each makes its own",
    ),
    ("ordering.queue", "commands that may wait per store"),
    ("ordering.max_stores", "stores held in memory at once"),
    (
        "ordering.idle_ms",
        "after how long without a command a store leaves memory",
    ),
    (
        "listen",
        "doppio up: address whose port is the base of all services': member +1, ordering +2, query +3, projector +4",
    ),
    ("data", "doppio up: directory of the embedded engines"),
    (
        "projector.listen",
        "address of the projector's health service",
    ),
    ("projector.batch", "records per transaction"),
    ("projector.instance", "name of this projector instance"),
    ("query.listen", "address of the query service"),
];

/// Settings whose values hold passwords or keys: no error repeats them.
const SECRET_KEYS: &[&str] = &[
    "log",
    "read_model",
    "member_db",
    "card_keys",
    "ordering.quote_key",
];

/// What `./test` and the tests read of the environment, without the prefix: no settings.
const NO_SETTINGS: &[&str] = &[
    "NATS_SERVER",
    "POSTGRES_BIN",
    "POSTGRES_TEMPLATE",
    "TEST_PYTHONPATH",
    "TEST_SEED",
    "TEST_SKIPPED",
    "CARGO_DENY",
    "SHARED_DATA",
    "BREAKING_AGAINST",
    "SERVER",
];

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("the settings cannot be used:\n{}", .0.iter().map(|problem| format!("  - {problem}")).collect::<Vec<_>>().join("\n"))]
    Bad(Vec<String>),
}

/// Reads settings key by key and gathers what is wrong with them.
pub struct Settings {
    figment: Figment,
    problems: Vec<String>,
}

impl Settings {
    /// `file`: a TOML file that must exist; without one `doppio.toml` in the working directory is read if it is there.
    /// `flags`: what the command line said, by key.
    #[must_use]
    pub fn load(file: Option<&Path>, flags: &[(&str, Option<String>)]) -> Self {
        let mut problems = Vec::new();
        let path = file.map_or_else(|| PathBuf::from("doppio.toml"), Path::to_path_buf);
        if file.is_some() && !path.is_file() {
            problems.push(format!(
                "the settings file {} does not exist",
                path.display()
            ));
        }
        let environment = Env::prefixed("DOPPIO_").split("__").ignore(NO_SETTINGS);
        let mut figment = Figment::new().merge(Toml::file(&path)).merge(environment);
        for (key, value) in flags {
            if let Some(value) = value {
                figment = figment.merge(Serialized::default(key, value));
            }
        }
        let mut settings = Self { figment, problems };
        settings.check_keys();
        settings
    }

    fn check_keys(&mut self) {
        let dict = match self.figment.extract::<Dict>() {
            Ok(dict) => dict,
            Err(error) => {
                self.problems.push(without_excerpt(&error.to_string()));
                return;
            }
        };
        let known: BTreeSet<&str> = KEYS.iter().map(|(key, _)| *key).collect();
        let mut found = Vec::new();
        flatten("", &dict, &mut found);
        for key in found {
            if !known.contains(key.as_str()) {
                let near = KEYS
                    .iter()
                    .map(|(key, _)| *key)
                    .filter(|known| known.rsplit('.').next() == key.rsplit('.').next())
                    .collect::<Vec<_>>();
                let hint = if near.is_empty() {
                    String::new()
                } else {
                    format!("; did you mean {}?", near.join(" or "))
                };
                self.problems
                    .push(format!("there is no setting {key}{hint}"));
            }
        }
    }

    /// The setting at `key`, or the default when it is absent. A malformed one is noted and the default returned.
    pub fn get<T: DeserializeOwned>(&mut self, key: &str, default: T) -> T {
        self.find(key).unwrap_or(default)
    }

    /// The setting at `key`, `None` when it is absent or malformed (which is noted).
    pub fn find<T: DeserializeOwned>(&mut self, key: &str) -> Option<T> {
        let value = self.figment.find_value(key).ok()?;
        match self.figment.extract_inner_lossy::<T>(key) {
            Ok(value) => Some(value),
            Err(error) => {
                let found = number_as_text(&value);
                if found.is_none() {
                    // The error would repeat what it found.
                    let problem = if SECRET_KEYS.contains(&key) {
                        "must be text".to_owned()
                    } else {
                        error.kind.to_string()
                    };
                    self.problems.push(format!("{key}: {problem}"));
                }
                found
            }
        }
    }

    /// Notes a problem that only the reader of a setting can see.
    pub fn problem(&mut self, key: &str, problem: impl std::fmt::Display) {
        self.problems.push(format!("{key}: {problem}"));
    }

    /// All problems at once, if there are any.
    pub fn finish(self) -> Result<(), ConfigError> {
        if self.problems.is_empty() {
            Ok(())
        } else {
            Err(ConfigError::Bad(self.problems))
        }
    }
}

/// A parser shows the line that it cannot read, and that may hold a password: what it says of it and where it is will do.
fn without_excerpt(error: &str) -> String {
    let said: Vec<&str> = error
        .lines()
        .filter(|line| !line.contains('|') && !line.trim().is_empty())
        .map(str::trim)
        .collect();
    said.join(": ")
}

/// The environment has no types: a `3` there is read as a number, also where text is wanted.
fn number_as_text<T: DeserializeOwned>(value: &Value) -> Option<T> {
    let Value::Num(_, number) = value else {
        return None;
    };
    let text = number
        .to_u128()
        .map(|number| number.to_string())
        .or_else(|| Some(number.to_i128()?.to_string()))?;
    T::deserialize(IntoDeserializer::<serde::de::value::Error>::into_deserializer(text)).ok()
}

fn flatten(prefix: &str, dict: &Dict, found: &mut Vec<String>) {
    for (key, value) in dict {
        let key = if prefix.is_empty() {
            key.clone()
        } else {
            format!("{prefix}.{key}")
        };
        match value {
            Value::Dict(_, inner) => flatten(&key, inner, found),
            _ => found.push(key),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    #[test]
    fn a_number_is_text_where_text_is_wanted() -> Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("settings.toml");
        std::fs::write(
            &file,
            "log_replicas = 3\nprojector.instance = -7\nordering.listen = true\n",
        )?;
        let mut settings = Settings::load(Some(&file), &[]);
        assert_eq!(
            settings.find::<String>("log_replicas").as_deref(),
            Some("3")
        );
        assert_eq!(settings.find::<u8>("log_replicas"), Some(3));
        assert_eq!(
            settings.find::<String>("projector.instance").as_deref(),
            Some("-7")
        );
        assert_eq!(settings.find::<SocketAddr>("ordering.listen"), None);
        let Err(ConfigError::Bad(problems)) = settings.finish() else {
            panic!("a bad key")
        };
        assert_eq!(problems.len(), 1, "{problems:?}");
        Ok(())
    }

    #[test]
    fn no_problem_repeats_a_secret() -> Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("settings.toml");
        for text in [
            "[ordering]\nquote_key = \"s3cret-and-unclosed\n",
            "log = \"nats://till:s3cret@one\" trailing\n",
            "log = 12.5\nread_model = [\"s3cret\"]\nmember_db = { a = \"s3cret\" }\n",
        ] {
            std::fs::write(&file, text)?;
            let mut settings = Settings::load(Some(&file), &[]);
            for key in SECRET_KEYS {
                settings.find::<String>(key);
            }
            let Err(ConfigError::Bad(problems)) = settings.finish() else {
                panic!("{text} is taken")
            };
            let said = problems.join("\n");
            assert!(!said.contains("s3cret") && !said.contains("12.5"), "{said}");
            assert!(
                said.contains("line") || said.contains("must be text"),
                "{said}"
            );
        }
        Ok(())
    }

    #[test]
    fn flags_win_over_the_file_and_every_bad_key_is_reported()
    -> Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("settings.toml");
        std::fs::write(
            &file,
            "log = \"sqlite:a\"\nread_modell = 1\n[ordering]\nlisten = \"nonsense\"\nqueue = \"many\"\nmember_deadline_ms = 250\n",
        )?;
        let mut settings = Settings::load(
            Some(&file),
            &[("log", Some("sqlite:b".into())), ("read_model", None)],
        );
        assert_eq!(settings.get("log", String::new()), "sqlite:b");
        assert_eq!(settings.get("ordering.member_deadline_ms", 300_u64), 250);
        assert_eq!(settings.find::<SocketAddr>("ordering.listen"), None);
        assert_eq!(settings.get("ordering.queue", 7_u32), 7);
        let Err(ConfigError::Bad(problems)) = settings.finish() else {
            panic!("three bad keys")
        };
        assert_eq!(problems.len(), 3, "{problems:?}");
        Ok(())
    }
}
