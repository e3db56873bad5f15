//! Settings: flags over `DOPPIO_*` environment over `doppio.toml` over defaults. Read once into typed structs; every bad key is reported.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::Path;

use serde::de::DeserializeOwned;
use toml::{Table, Value};

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
    (
        "ordering.page_origin",
        "origin of the pages in browsers that may send commands, such as http://127.0.0.1:7403; none when absent",
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

/// Of variables that are settings.
const PREFIX: &str = "DOPPIO_";

/// Reads settings key by key and gathers what is wrong with them.
pub struct Settings {
    /// By key, with its dots. The environment and the command line know nothing but text.
    values: BTreeMap<String, Value>,
    problems: Vec<String>,
}

impl Settings {
    /// `file`: a TOML file that must exist; without one `doppio.toml` in the working directory is read if it is there.
    /// `flags`: what the command line said, by key.
    #[must_use]
    pub fn load(file: Option<&Path>, flags: &[(&str, Option<String>)]) -> Self {
        Self::of(file, std::env::vars_os(), flags)
    }

    fn of(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
        flags: &[(&str, Option<String>)],
    ) -> Self {
        let mut settings = Self {
            values: BTreeMap::new(),
            problems: Vec::new(),
        };
        settings.read_file(file);
        settings.read_environment(environment);
        for (key, value) in flags {
            if let Some(value) = value {
                settings.set((*key).to_owned(), Value::String(value.clone()));
            }
        }
        settings.check_keys();
        settings
    }

    fn read_file(&mut self, file: Option<&Path>) {
        let path = file.unwrap_or(Path::new("doppio.toml"));
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                if file.is_some() {
                    let problem = format!("the settings file {} does not exist", path.display());
                    self.problems.push(problem);
                }
                return;
            }
            Err(error) => {
                let problem = format!("the settings file {}: {error}", path.display());
                self.problems.push(problem);
                return;
            }
        };
        match text.parse::<Table>() {
            Ok(table) => self.set_all("", table),
            Err(error) => {
                // The error as a whole shows the line, which may hold a password.
                let before = error
                    .span()
                    .map_or("", |span| text.get(..span.start).unwrap_or(""));
                let line = before.matches('\n').count() + 1;
                let problem = format!("{}, line {line}: {}", path.display(), error.message());
                self.problems.push(problem);
            }
        }
    }

    fn read_environment(&mut self, variables: impl IntoIterator<Item = (OsString, OsString)>) {
        for (name, value) in variables {
            let Some(name) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)) else {
                continue;
            };
            if NO_SETTINGS.contains(&name) {
                continue;
            }
            let key = name.to_ascii_lowercase().replace("__", ".");
            match value.into_string() {
                Ok(value) => self.set(key, Value::String(value)),
                Err(_) => self.problem(&key, "must be UTF-8"),
            }
        }
    }

    fn set_all(&mut self, prefix: &str, table: Table) {
        for (key, value) in table {
            let key = format!("{prefix}{key}");
            match value {
                Value::Table(inner) => self.set_all(&format!("{key}."), inner),
                value => self.set(key, value),
            }
        }
    }

    /// What is set later counts.
    fn set(&mut self, key: String, value: Value) {
        self.values.insert(key, value);
    }

    fn check_keys(&mut self) {
        for key in self.values.keys() {
            if KEYS.iter().any(|(known, _)| known == key) {
                continue;
            }
            let last = key.rsplit('.').next();
            let near: Vec<_> = KEYS
                .iter()
                .map(|(known, _)| *known)
                .filter(|known| known.rsplit('.').next() == last)
                .collect();
            let hint = if near.is_empty() {
                String::new()
            } else {
                format!("; did you mean {}?", near.join(" or "))
            };
            self.problems
                .push(format!("there is no setting {key}{hint}"));
        }
    }

    /// The setting at `key`, or the default when it is absent. A malformed one is noted and the default returned.
    pub fn get<T: DeserializeOwned>(&mut self, key: &str, default: T) -> T {
        self.find(key).unwrap_or(default)
    }

    /// The setting at `key`, `None` when it is absent or malformed (which is noted).
    pub fn find<T: DeserializeOwned>(&mut self, key: &str) -> Option<T> {
        let value = self.values.get(key)?;
        let mut read = value.clone().try_into();
        if read.is_err()
            && let Some(other) = other_reading(value)
        {
            read = other.try_into();
        }
        match read {
            Ok(value) => Some(value),
            // The error would repeat what it found.
            Err(_) if SECRET_KEYS.contains(&key) => {
                self.problem(key, "must be text");
                None
            }
            Err(error) => {
                self.problem(key, error.message());
                None
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

/// How else a value may be meant: a text as the number or truth value that it spells, and a number in a file as text.
fn other_reading(value: &Value) -> Option<Value> {
    match value {
        Value::String(text) => text
            .parse()
            .map(Value::Integer)
            .or_else(|_| text.parse().map(Value::Boolean))
            .ok(),
        Value::Integer(number) => Some(Value::String(number.to_string())),
        _ => None,
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

    /// A till's number 007 stays what it is, and a password may begin with a bracket.
    #[test]
    fn what_the_environment_says_is_text_until_something_else_is_wanted() {
        let environment = [
            ("DOPPIO_PROJECTOR__INSTANCE", "007"),
            ("DOPPIO_ORDERING__QUEUE", "007"),
            ("DOPPIO_LOG", "[secret]"),
            ("DOPPIO_CARD_KEYS", "\"quoted\""),
            ("DOPPIO_SERVER", "is no setting"),
            ("PATH", "is none of ours"),
        ];
        let environment =
            environment.map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let nowhere = tempfile::tempdir().unwrap();
        let file = nowhere.path().join("settings.toml");
        std::fs::write(&file, "[ordering]\nqueue = 1\n").unwrap();
        let flags = [("card_keys", Some("of the command line".to_owned()))];
        let mut settings = Settings::of(Some(&file), environment, &flags);
        let mut text = |key| settings.find::<String>(key).unwrap();
        assert_eq!(text("projector.instance"), "007");
        assert_eq!(text("log"), "[secret]");
        assert_eq!(text("card_keys"), "of the command line");
        assert_eq!(settings.find::<u32>("ordering.queue"), Some(7));
        settings.finish().unwrap();
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
