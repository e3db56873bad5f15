//! `compose.yaml` and `Dockerfile`, checked without a container engine: against each other, against the settings that the programs know,
//! and against a real nats-server.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;
use serde_json::Value;

const NATS_NODES: [&str; 3] = ["nats-1", "nats-2", "nats-3"];
const SERVICES: [&str; 4] = ["member", "ordering", "status-projector", "query-api"];
/// The oldest server that the log works with.
const NATS_VERSION: (u32, u32) = (2, 12);

/// The part of a compose file that these checks read.
#[derive(Deserialize)]
struct Compose {
    services: BTreeMap<String, Service>,
    configs: BTreeMap<String, Config>,
    networks: BTreeMap<String, Value>,
    volumes: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
struct Service {
    image: String,
    build: Option<Value>,
    #[serde(default)]
    command: Vec<String>,
    #[serde(default)]
    environment: BTreeMap<String, String>,
    #[serde(default)]
    depends_on: BTreeMap<String, Dependency>,
    healthcheck: Option<Healthcheck>,
    restart: Option<String>,
    #[serde(default)]
    ports: Vec<String>,
    #[serde(default)]
    volumes: Vec<String>,
    #[serde(default)]
    configs: Vec<ConfigUse>,
    #[serde(default)]
    networks: Vec<String>,
}

#[derive(Deserialize)]
struct Dependency {
    condition: String,
}

#[derive(Deserialize)]
struct Healthcheck {
    test: Vec<String>,
    interval: String,
    timeout: String,
    retries: u32,
}

#[derive(Deserialize)]
struct ConfigUse {
    source: String,
    target: String,
}

#[derive(Deserialize)]
struct Config {
    content: String,
}

impl Service {
    /// Runs once and ends.
    fn is_one_shot(&self) -> bool {
        self.restart.as_deref() == Some("on-failure")
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> Result<String> {
    std::fs::read_to_string(root().join(path)).with_context(|| path.to_owned())
}

/// `${NAME:-default}` becomes the default and `$$` a dollar sign, as on a machine where nothing is set. Anything else that begins with
/// a dollar sign has no default, and would make the one command that starts everything fail.
fn interpolate(text: &str) -> Result<String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            out.push('$');
            rest = after;
            continue;
        }
        let inner = after
            .strip_prefix('{')
            .and_then(|after| after.split_once('}'));
        let (inner, after) =
            inner.with_context(|| format!("a dollar sign before {:?}", after.get(..20)))?;
        let (name, default) = inner
            .split_once(":-")
            .with_context(|| format!("{inner} has no default"))?;
        // Such a variable in the shell would be an unknown setting to every program started there.
        ensure!(!name.starts_with("DOPPIO_"), "{name} looks like a setting");
        out.push_str(default);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

fn compose() -> Result<Compose> {
    // Parsed first: comments may hold anything.
    let raw: Value = serde_saphyr::from_str(&read("compose.yaml")?)?;
    Ok(serde_json::from_value(interpolate_all(raw)?)?)
}

fn interpolate_all(value: Value) -> Result<Value> {
    Ok(match value {
        Value::String(text) => Value::String(interpolate(&text)?),
        Value::Array(items) => Value::Array(
            items
                .into_iter()
                .map(interpolate_all)
                .collect::<Result<_>>()?,
        ),
        Value::Object(fields) => Value::Object(
            fields
                .into_iter()
                .map(|(key, value)| Ok((key, interpolate_all(value)?)))
                .collect::<Result<_>>()?,
        ),
        other => other,
    })
}

/// Programs that the image holds: the one that is built, and the names that the Dockerfile gives it beside its own.
fn programs() -> Result<BTreeSet<String>> {
    let dockerfile = read("Dockerfile")?;
    let names = dockerfile
        .split_once("for name in ")
        .and_then(|(_, rest)| rest.split_once("; do ln -s doppio \"/out/bin/$name\"; done"))
        .context("the names of the program")?
        .0;
    Ok(names
        .split_whitespace()
        .chain(["doppio"])
        .map(str::to_owned)
        .collect())
}

#[test]
fn everything_named_exists_and_everything_defined_is_used() -> Result<()> {
    let compose = compose()?;
    let (mut volumes, mut configs) = (BTreeSet::new(), BTreeSet::new());
    for (name, service) in &compose.services {
        for (needed, dependency) in &service.depends_on {
            let target = compose
                .services
                .get(needed)
                .with_context(|| format!("{name} depends on {needed}, which is not there"))?;
            match dependency.condition.as_str() {
                "service_healthy" => ensure!(
                    target.healthcheck.is_some(),
                    "{name} waits for {needed}, which has no health check"
                ),
                "service_completed_successfully" => ensure!(
                    target.is_one_shot(),
                    "{name} waits for the end of {needed}, which never ends"
                ),
                "service_started" => {}
                other => bail!("{name} waits for {needed} to be {other}"),
            }
        }
        for volume in &service.volumes {
            let volume = volume.split(':').next().unwrap_or_default();
            ensure!(
                compose.volumes.contains_key(volume),
                "{name} mounts {volume}, which is not there"
            );
            ensure!(volumes.insert(volume), "{volume} is mounted twice");
        }
        for config in &service.configs {
            ensure!(
                compose.configs.contains_key(&config.source),
                "{name} uses the config {}",
                config.source
            );
            configs.insert(config.source.as_str());
        }
        ensure!(
            service
                .networks
                .iter()
                .all(|network| compose.networks.contains_key(network)),
            "{name} is in a network that is not there"
        );
        ensure!(!service.networks.is_empty(), "{name} is in no network");
    }
    ensure!(
        volumes.len() == compose.volumes.len() && configs.len() == compose.configs.len(),
        "something is defined and not used"
    );
    Ok(())
}

#[test]
fn every_service_is_checked_and_comes_back() -> Result<()> {
    for (name, service) in &compose()?.services {
        if service.is_one_shot() {
            ensure!(service.healthcheck.is_none(), "{name} ends by itself");
            continue;
        }
        ensure!(
            service.restart.as_deref() == Some("unless-stopped"),
            "{name} is not restarted"
        );
        let check = service
            .healthcheck
            .as_ref()
            .with_context(|| format!("{name} has no health check"))?;
        ensure!(
            check.test.first().map(String::as_str) == Some("CMD") && check.test.len() > 1,
            "{name}: {:?}",
            check.test
        );
        let seconds = |text: &str| {
            text.strip_suffix('s')
                .and_then(|digits| digits.parse::<u32>().ok())
        };
        ensure!(
            seconds(&check.timeout)
                .zip(seconds(&check.interval))
                .is_some_and(|(timeout, interval)| timeout <= interval),
            "{name}"
        );
        ensure!(check.retries > 0, "{name}");
    }
    Ok(())
}

#[test]
fn every_setting_is_known_to_the_programs() -> Result<()> {
    let known: BTreeSet<&str> = runtime::config::KEYS.iter().map(|(key, _)| *key).collect();
    for (name, service) in &compose()?.services {
        for variable in service.environment.keys() {
            let Some(key) = variable.strip_prefix("DOPPIO_") else {
                continue;
            };
            let key = key.to_lowercase().replace("__", ".");
            ensure!(
                known.contains(key.as_str()),
                "{name}: {variable} sets {key}, which no program knows"
            );
        }
    }
    Ok(())
}

#[test]
fn every_program_is_in_the_image() -> Result<()> {
    let (compose, programs, dockerfile) = (compose()?, programs()?, read("Dockerfile")?);
    for (name, service) in compose
        .services
        .iter()
        .filter(|(_, service)| service.build.is_some())
    {
        ensure!(
            service.image.starts_with("doppio:"),
            "{name} is built as {}",
            service.image
        );
        let checks = service
            .healthcheck
            .iter()
            .filter_map(|check| check.test.get(1));
        for program in service.command.first().into_iter().chain(checks) {
            ensure!(
                programs.contains(program),
                "{name} runs {program}, which the Dockerfile does not copy"
            );
        }
    }
    for name in SERVICES {
        let service = compose
            .services
            .get(name)
            .with_context(|| format!("no service {name}"))?;
        ensure!(
            service.command == [name],
            "{name} runs {:?}",
            service.command
        );
    }
    let known: BTreeSet<String> = doppio::programs::SERVICES
        .iter()
        .chain(&["doppio"])
        .map(|name| (*name).to_owned())
        .collect();
    ensure!(
        programs == known,
        "the program is {known:?}, the image has {programs:?}"
    );
    ensure!(dockerfile.contains("cargo build --profile dist --locked --package doppio "));
    let last_stage = dockerfile.rsplit("\nFROM ").next().unwrap_or_default();
    ensure!(
        last_stage
            .lines()
            .any(|line| line.starts_with("USER ") && line != "USER root"),
        "the image runs as root"
    );
    Ok(())
}

/// Line tables are four fifths of the program: they do not ship, and can still be had.
#[test]
fn the_image_carries_no_line_tables_and_they_can_be_had() -> Result<()> {
    let dockerfile = read("Dockerfile")?;
    let stages: Vec<&str> = dockerfile.split("\nFROM ").collect();
    let stage = |name: &str| stages.iter().find(|stage| stage.contains(name)).copied();
    let build = stage(" AS build").context("a build")?;
    for step in [
        "objcopy --only-keep-debug --compress-debug-sections target/dist/doppio /out/symbols/doppio.debug",
        "objcopy --strip-debug --add-gnu-debuglink=/out/symbols/doppio.debug target/dist/doppio /out/bin/doppio",
    ] {
        ensure!(build.contains(step), "the build does not {step}");
    }
    let symbols = stage("scratch AS symbols").context("symbols")?;
    ensure!(symbols.contains("COPY --from=build /out/symbols/ /"));
    let image = stages.last().context("an image")?;
    ensure!(!image.contains("symbols"), "the image has them");
    ensure!(read("README.md")?.contains("--target symbols --output symbols"));
    Ok(())
}

/// The one program is each service under the service's name.
#[test]
fn under_a_services_name_the_program_is_that_service() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let doppio = integration_tests::services::program_path("doppio")?;
    for name in SERVICES {
        let called = directory.path().join(name);
        std::os::unix::fs::symlink(&doppio, &called)?;
        for (argument, succeeds) in [("--version", true), ("--help", true), ("--guess", false)] {
            let say = |program: &Path| {
                let said = Command::new(program).arg(argument).output();
                said.with_context(|| format!("{} does not start", program.display()))
            };
            let (own, alone) = (
                say(&called)?,
                say(&integration_tests::services::program_path(name)?)?,
            );
            ensure!(
                own.status.success() == succeeds,
                "{name} {argument}: {own:?}"
            );
            ensure!(
                own == alone,
                "{name} {argument}: {own:?} instead of {alone:?}"
            );
        }
    }
    Ok(())
}

/// What the build needs is let through to the builder.
#[test]
fn the_builder_gets_every_package() -> Result<()> {
    let (ignored, workspace) = (read(".dockerignore")?, read("Cargo.toml")?);
    let manifest = workspace
        .split("members = [")
        .nth(1)
        .and_then(|rest| rest.split(']').next())
        .context("members")?;
    let members = manifest
        .split('"')
        .skip(1)
        .step_by(2)
        .filter(|member| *member != ".");
    let folders = members
        .filter_map(|member| member.split('/').next())
        .chain(["Cargo.toml", "Cargo.lock", "build.rs", "src", "proto"]);
    for folder in folders {
        ensure!(
            ignored.lines().any(|line| line == format!("!{folder}")),
            ".dockerignore keeps {folder} from the builder"
        );
    }
    Ok(())
}

/// Where a service listens is where it is checked, published, exposed and called.
#[test]
fn ports_agree() -> Result<()> {
    let (compose, dockerfile) = (compose()?, read("Dockerfile")?);
    let exposed: BTreeSet<&str> = dockerfile
        .lines()
        .filter_map(|line| line.strip_prefix("EXPOSE "))
        .flat_map(str::split_whitespace)
        .collect();
    for name in SERVICES {
        let service = compose
            .services
            .get(name)
            .with_context(|| format!("no service {name}"))?;
        let listens: Vec<_> = service
            .environment
            .iter()
            .filter(|(variable, _)| variable.ends_with("__LISTEN"))
            .collect();
        let [(_, address)] = listens.as_slice() else {
            bail!("{name} has {} addresses", listens.len())
        };
        let port = address
            .strip_prefix("0.0.0.0:")
            .with_context(|| format!("{name} listens on {address}"))?;
        ensure!(exposed.contains(port), "{port} of {name} is not exposed");
        let check = service.healthcheck.as_ref().context("a health check")?;
        ensure!(
            check.test[1..]
                == [
                    "doppio",
                    "health",
                    "--server",
                    &format!("http://127.0.0.1:{port}")
                ],
            "{name}: {:?}",
            check.test
        );
        for published in &service.ports {
            ensure!(
                published.ends_with(&format!(":{port}:{port}")),
                "{name} publishes {published}"
            );
            ensure!(
                published.starts_with("127.0.0.1:"),
                "{name} is open to the world by default"
            );
        }
    }
    let ordering = &compose.services["ordering"].environment;
    ensure!(ordering["DOPPIO_ORDERING__MEMBER_URL"] == "http://member:7401");
    Ok(())
}

/// The databases that the services are pointed at are the ones that are made, each with its owner and password.
#[test]
fn every_database_is_made() -> Result<()> {
    let compose = compose()?;
    let sql = &compose.configs["databases"].content;
    let mut databases = BTreeSet::new();
    for (name, service) in &compose.services {
        for address in service
            .environment
            .values()
            .filter_map(|value| value.strip_prefix("postgres://"))
        {
            let (user, rest) = address.split_once(':').context("a user")?;
            let (password, rest) = rest.split_once('@').context("a password")?;
            let database = rest
                .strip_prefix("postgres:5432/")
                .with_context(|| format!("{name} connects to {rest}"))?;
            ensure!(
                sql.contains(&format!("CREATE ROLE {user} LOGIN PASSWORD '{password}';")),
                "no role {user} for {name}"
            );
            ensure!(
                sql.contains(&format!("CREATE DATABASE {database} OWNER {user};")),
                "no database {database} for {name}"
            );
            databases.insert(database.to_owned());
        }
    }
    ensure!(
        databases.len() == 2,
        "members and the read model live apart: {databases:?}"
    );
    Ok(())
}

#[test]
fn three_nats_nodes_know_each_other_and_sync_every_write() -> Result<()> {
    let compose = compose()?;
    let config = &compose.configs["nats"].content;
    ensure!(
        config
            .lines()
            .any(|line| line.trim() == "sync_interval: always"),
        "acknowledged orders could be lost"
    );
    let routes: BTreeSet<&str> = config
        .lines()
        .filter_map(|line| line.trim().strip_prefix("nats://"))
        .filter_map(|route| route.strip_suffix(":6222"))
        .collect();
    ensure!(routes == NATS_NODES.into(), "routes to {routes:?}");
    for node in NATS_NODES {
        let service = compose
            .services
            .get(node)
            .with_context(|| format!("no service {node}"))?;
        ensure!(
            service.environment.get("NATS_NAME").map(String::as_str) == Some(node),
            "{node} has another name"
        );
        ensure!(
            service
                .volumes
                .iter()
                .any(|volume| volume == &format!("{node}:/data")),
            "{node} has no volume of its own"
        );
        ensure!(
            service
                .configs
                .iter()
                .any(|used| used.source == "nats" && service.command.contains(&used.target)),
            "{node}"
        );
        let version = service
            .image
            .strip_prefix("nats:")
            .and_then(|tag| tag.split('-').next())
            .context("a version of nats")?;
        let (major, minor) = version.split_once('.').context("major and minor")?;
        ensure!(
            (major.parse::<u32>()?, minor.parse::<u32>()?) >= NATS_VERSION,
            "{node} is {version}"
        );
    }
    let expected = NATS_NODES.map(|node| format!("{node}:4222")).join(",");
    for name in ["log-init", "ordering", "status-projector"] {
        let environment = &compose.services[name].environment;
        ensure!(
            environment["DOPPIO_LOG"] == format!("nats://{expected}"),
            "{name} does not know every node"
        );
        ensure!(
            environment["DOPPIO_LOG_REPLICAS"] == "3",
            "{name} expects another number of copies"
        );
    }
    Ok(())
}

#[test]
fn a_real_nats_server_takes_the_configuration() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("doppio.conf");
    std::fs::write(&file, &compose()?.configs["nats"].content)?;
    let server = std::env::var_os("DOPPIO_NATS_SERVER").unwrap_or_else(|| "nats-server".into());
    for node in NATS_NODES {
        let checked = Command::new(&server)
            .arg("-t")
            .arg("-c")
            .arg(&file)
            .env("NATS_NAME", node)
            .output();
        let checked = checked.context(
            "nats-server does not start; run `./test`, or name one in DOPPIO_NATS_SERVER",
        )?;
        ensure!(
            checked.status.success(),
            "{}",
            String::from_utf8_lossy(&checked.stderr)
        );
    }
    Ok(())
}

/// Where Docker Compose is installed, its own opinion counts too; it needs no engine for that.
#[test]
fn docker_compose_agrees_where_it_is_installed() -> Result<()> {
    let docker = |arguments: &[&str]| {
        Command::new("docker")
            .args(arguments)
            .current_dir(root())
            .output()
    };
    if !docker(&["compose", "version"]).is_ok_and(|output| output.status.success()) {
        return integration_tests::skip(
            "docker compose config: Docker Compose is not installed, so compose.yaml was checked by its text alone",
        );
    }
    let checked = docker(&["compose", "--file", "compose.yaml", "config", "--quiet"])?;
    ensure!(
        checked.status.success(),
        "{}",
        String::from_utf8_lossy(&checked.stderr)
    );
    Ok(())
}

#[test]
fn a_variable_without_a_default_is_noticed() {
    assert_eq!(interpolate("a ${X:-b} $$C").unwrap(), "a b $C");
    for wrong in ["$X", "${X}", "${X", "${DOPPIO_X:-y}"] {
        assert!(interpolate(wrong).is_err(), "{wrong}");
    }
}
