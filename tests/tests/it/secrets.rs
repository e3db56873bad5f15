//! A secret that a setting holds is in no error and no log, whatever is logged, also where nothing can be reached.

use std::time::Duration;

use anyhow::{Result, ensure};
use integration_tests::services::{free_ports, run_for};

/// Long enough for a key, and nothing that a program would say by itself.
const SECRET: &str = "wholly-secret-0123456789-abcdefghijklmnop";
/// 32 bytes that nobody else has, as a setting says them.
const CARD_KEY: &str = "c2VjcmV0LWNhcmQta2V5LW9mLTMyLWJ5dGVzLTAxMjM=";
/// How long a service that goes on trying is listened to.
const LISTEN: Duration = Duration::from_secs(4);
/// How long a program may take that ends by itself.
const END: Duration = Duration::from_secs(60);

/// A program, its arguments and its settings.
type Run<'a> = (&'a str, &'a [&'a str], Vec<(&'a str, &'a str)>);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_in_an_error_or_a_log() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let nobody = free_ports(1)?;
    let nats = format!("nats://till:{SECRET}@127.0.0.1:{nobody}");
    let token = format!("nats://{SECRET}@127.0.0.1:{nobody}");
    let postgres = format!("postgres://doppio:{SECRET}@127.0.0.1:{nobody}/doppio");
    let no_scheme = format!("doppio:{SECRET}@127.0.0.1/doppio");
    let listen = format!("127.0.0.1:{}", free_ports(1)?);
    let index = directory.path().join("index.db").display().to_string();
    let credentials = directory.path().join("user.creds");
    std::fs::write(
        &credentials,
        format!(
            "-----BEGIN NATS USER JWT-----\n{SECRET}\n------END NATS USER JWT------\n\
             -----BEGIN USER NKEY SEED-----\n{SECRET}\n------END USER NKEY SEED------\n"
        ),
    )?;
    let credentials = credentials.display().to_string();
    let broken = directory.path().join("broken.toml");
    std::fs::write(
        &broken,
        format!("log = \"nats://till:{SECRET}@one\"\n[ordering]\nquote_key = \"{SECRET}\n"),
    )?;
    let broken = broken.display().to_string();
    let broken = ["--config", broken.as_str()];
    let plain = format!("nats://127.0.0.1:{nobody}");
    let card_keys = format!("k1:{CARD_KEY}");
    let twice = format!("k1:{CARD_KEY},k1:{CARD_KEY}");
    let runs: Vec<Run> = vec![
        (
            "ordering",
            &[],
            vec![
                ("LOG", nats.as_str()),
                ("ORDERING__INDEX", index.as_str()),
                ("ORDERING__LISTEN", listen.as_str()),
                ("ORDERING__QUOTE_KEY", SECRET),
            ],
        ),
        (
            "ordering",
            &[],
            vec![
                ("LOG", token.as_str()),
                ("ORDERING__INDEX", index.as_str()),
                ("ORDERING__LISTEN", listen.as_str()),
            ],
        ),
        (
            "ordering",
            &[],
            vec![
                ("LOG", plain.as_str()),
                ("LOG_CREDENTIALS", credentials.as_str()),
                ("ORDERING__INDEX", index.as_str()),
                ("ORDERING__LISTEN", listen.as_str()),
            ],
        ),
        (
            "ordering",
            &[],
            vec![
                ("LOG", no_scheme.as_str()),
                ("ORDERING__QUOTE_KEY", &SECRET[..20]),
            ],
        ),
        ("ordering", &broken, vec![]),
        (
            "status-projector",
            &[],
            vec![
                ("LOG", nats.as_str()),
                ("READ_MODEL", postgres.as_str()),
                ("PROJECTOR__LISTEN", listen.as_str()),
            ],
        ),
        (
            "status-projector",
            &[],
            vec![
                ("LOG", no_scheme.as_str()),
                ("READ_MODEL", no_scheme.as_str()),
            ],
        ),
        (
            "query-api",
            &[],
            vec![
                ("READ_MODEL", postgres.as_str()),
                ("QUERY__LISTEN", listen.as_str()),
            ],
        ),
        ("query-api", &[], vec![("READ_MODEL", no_scheme.as_str())]),
        (
            "member",
            &[],
            vec![
                ("MEMBER_DB", postgres.as_str()),
                ("MEMBER__LISTEN", listen.as_str()),
            ],
        ),
        ("member", &[], vec![("MEMBER_DB", no_scheme.as_str())]),
        (
            "member",
            &[],
            vec![
                ("MEMBER_DB", postgres.as_str()),
                ("CARD_KEYS", twice.as_str()),
            ],
        ),
        ("ordering", &[], vec![("CARD_KEYS", twice.as_str())]),
        (
            "doppio",
            &["doctor", "--server", "http://127.0.0.1:9"],
            vec![
                ("LOG", nats.as_str()),
                ("READ_MODEL", postgres.as_str()),
                ("MEMBER_DB", postgres.as_str()),
            ],
        ),
        ("doppio", &["log", "info"], vec![("LOG", nats.as_str())]),
        ("doppio", &["log", "init"], vec![("LOG", token.as_str())]),
        ("doppio", &["log", "adopt"], vec![("LOG", nats.as_str())]),
        (
            "doppio",
            &["events", "gangnam"],
            vec![("LOG", nats.as_str())],
        ),
    ];
    for (program, arguments, settings) in runs {
        let mut settings = settings;
        settings.push(("LOG_FILTER", "trace"));
        if settings.iter().all(|(key, _)| *key != "CARD_KEYS") {
            settings.push(("CARD_KEYS", card_keys.as_str()));
        }
        // These go on trying; the others end, and say all then.
        let limit = if ["status-projector", "query-api"].contains(&program) {
            LISTEN
        } else {
            END
        };
        let said = run_for(program, arguments, &settings, directory.path(), limit).await?;
        ensure!(!said.is_empty(), "{program} {arguments:?} says nothing");
        let secret = [SECRET, &SECRET[..20], CARD_KEY, &CARD_KEY[..20]]
            .iter()
            .find_map(|secret| said.find(secret));
        if let Some(at) = secret {
            let from = said.floor_char_boundary(at.saturating_sub(300));
            let to = said.floor_char_boundary((at + 100).min(said.len()));
            anyhow::bail!(
                "{program} {arguments:?} tells a secret: …{}…",
                &said[from..to]
            );
        }
    }
    Ok(())
}
