//! Dependencies between the workspace's members point one way, and docs/CONFIGURATION.md knows every setting.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

/// The workspace's members, by level. A package may depend on those below its level, never on one of its own level or above.
const LEVELS: &[&[&str]] = &[
    &["contract", "event-log", "runtime"],
    &["read-model", "web"],
    &["member", "ordering", "status-projector", "query-api"],
    &["doppio"],
    &["integration-tests"],
];

#[derive(serde::Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(serde::Deserialize)]
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(serde::Deserialize)]
struct Dependency {
    name: String,
    /// `None` for a normal one; "dev" or "build".
    kind: Option<String>,
    /// Only of members.
    path: Option<String>,
}

/// A dependency of one member on another.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Edge {
    from: String,
    to: String,
    kind: Option<String>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn metadata() -> Result<Metadata> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args([
            "metadata",
            "--no-deps",
            "--offline",
            "--format-version",
            "1",
        ])
        .current_dir(root());
    let output = cargo.output().context("cargo does not start")?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn edges(metadata: &Metadata) -> BTreeSet<Edge> {
    let of = |package: &Package| {
        let from = package.name.clone();
        let edge = move |dependency: &Dependency| {
            let Dependency { name, kind, path } = dependency;
            path.as_ref().map(|_| Edge {
                from: from.clone(),
                to: name.clone(),
                kind: kind.clone(),
            })
        };
        package
            .dependencies
            .iter()
            .filter_map(edge)
            .collect::<Vec<_>>()
    };
    metadata.packages.iter().flat_map(of).collect()
}

/// The level of each member; a member without one is found by the test.
fn levels() -> BTreeMap<&'static str, usize> {
    LEVELS
        .iter()
        .enumerate()
        .flat_map(|(level, names)| names.iter().map(move |name| (*name, level)))
        .collect()
}

#[test]
fn dependencies_point_one_way() -> Result<()> {
    let metadata = metadata()?;
    let levels = levels();
    let level = |name: &str| {
        levels
            .get(name)
            .copied()
            .with_context(|| format!("package {name} is in no level of the architecture"))
    };
    let members: BTreeSet<&str> = metadata
        .packages
        .iter()
        .map(|package| package.name.as_str())
        .collect();
    for name in &members {
        level(name)?;
    }
    for name in levels.keys() {
        ensure!(
            members.contains(name),
            "package {name} has a level and is not in the workspace"
        );
    }
    for Edge { from, to, .. } in edges(&metadata) {
        ensure!(
            level(&to)? < level(&from)?,
            "{from} must not depend on {to}, which is not below it; see docs/ARCHITECTURE.md"
        );
    }
    Ok(())
}

#[test]
fn every_edge_is_meant() -> Result<()> {
    let mut lines: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for Edge { from, to, kind } in edges(&metadata()?) {
        let to = kind.map_or_else(|| to.clone(), |kind| format!("{to} ({kind})"));
        lines.entry(from).or_default().push(to);
    }
    let lines: Vec<String> = lines
        .into_iter()
        .map(|(from, to)| format!("{from} -> {}", to.join(", ")))
        .collect();
    insta::assert_snapshot!(lines.join("\n"), @r"
    doppio -> contract, event-log, member, ordering, query-api, read-model, runtime, status-projector
    integration-tests -> contract, doppio, event-log, member, ordering, query-api, read-model, runtime, status-projector
    member -> contract, runtime
    ordering -> contract, event-log, event-log (dev), runtime, web
    query-api -> contract, event-log, read-model, runtime, web
    read-model -> contract, event-log, runtime
    status-projector -> contract, event-log, read-model, runtime
    web -> contract, runtime
    ");
    Ok(())
}

/// Who reads the read model knows revisions and tokens, and no event log: it is built without a NATS client.
#[test]
fn reading_links_no_nats_client() -> Result<()> {
    let nats = |package: &str| -> Result<bool> {
        let mut cargo = Command::new(env!("CARGO"));
        cargo
            .args(["tree", "--offline", "--edges", "normal", "--prefix", "none"])
            .args(["--package", package])
            .current_dir(root());
        let output = cargo.output().context("cargo does not start")?;
        ensure!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let linked = String::from_utf8(output.stdout)?;
        ensure!(linked.contains("event-log "), "{package} links {linked}");
        Ok(linked.lines().any(|line| line.starts_with("async-nats ")))
    };
    for package in ["read-model", "query-api"] {
        ensure!(!nats(package)?, "{package} links a NATS client");
    }
    for package in ["ordering", "status-projector", "doppio"] {
        ensure!(nats(package)?, "{package} cannot reach a log on NATS");
    }
    Ok(())
}

/// `ordering.listen` is `DOPPIO_ORDERING__LISTEN`.
fn variable(key: &str) -> String {
    format!("DOPPIO_{}", key.to_ascii_uppercase().replace('.', "__"))
}

/// The text in the first pair of backquotes of a table's cell.
fn code(cell: Option<&str>) -> &str {
    cell.and_then(|cell| cell.split('`').nth(1))
        .unwrap_or_default()
}

#[test]
fn every_setting_is_documented() -> Result<()> {
    let page = std::fs::read_to_string(root().join("docs/CONFIGURATION.md"))?;
    // Rows of settings are those whose second cell is a variable.
    let rows = page
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| {
            let mut cells = line.split('|').skip(1);
            (code(cells.next()), code(cells.next()))
        });
    let rows: Vec<(&str, &str)> = rows
        .filter(|(_, variable)| variable.starts_with("DOPPIO_"))
        .collect();
    let documented: BTreeMap<&str, &str> = rows.iter().copied().collect();
    ensure!(
        documented.len() == rows.len(),
        "docs/CONFIGURATION.md has a setting twice"
    );
    for (key, meaning) in runtime::config::KEYS {
        let wanted = variable(key);
        let found = documented
            .get(key)
            .with_context(|| format!("docs/CONFIGURATION.md lacks {key}, {wanted}: {meaning}"))?;
        ensure!(
            **found == *wanted,
            "docs/CONFIGURATION.md says {found} for {key}, which is {wanted}"
        );
    }
    let known: BTreeSet<&str> = runtime::config::KEYS.iter().map(|(key, _)| *key).collect();
    for key in documented.keys() {
        ensure!(
            known.contains(key),
            "docs/CONFIGURATION.md documents {key}, which no program reads"
        );
    }
    Ok(())
}

/// Programs that tests may call: what every Debian has (its essential packages), and what README.md says is needed. Others are looked
/// for, and their absence is told.
const PROGRAMS: [(&str, &str); 11] = [
    ("/bin/sh", "dash, an essential package"),
    ("chown", "coreutils"),
    ("cp", "coreutils"),
    ("env", "coreutils"),
    ("mkfifo", "coreutils"),
    ("su", "util-linux"),
    ("setpriv", "util-linux"),
    ("python3", "README.md"),
    ("docker", "skipped, and counted, where it is not installed"),
    ("initdb", "installed by ./test"),
    ("nats-server", "installed by ./test"),
];

#[test]
fn tests_call_no_program_that_a_bare_machine_lacks() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut called = BTreeSet::new();
    for file in rust_files(root)? {
        let text = std::fs::read_to_string(&file)?;
        // Put together here, so that this file does not find itself.
        for opening in [
            concat!("Command::new", "(\""),
            concat!("find_program", "(\""),
        ] {
            let rests = text.split(opening).skip(1);
            called.extend(
                rests
                    .filter_map(|rest| rest.split('"').next())
                    .map(str::to_owned),
            );
        }
    }
    ensure!(called.contains("python3"), "nothing was found: {called:?}");
    let known: BTreeSet<String> = PROGRAMS
        .iter()
        .map(|(name, _)| (*name).to_owned())
        .collect();
    let unknown: Vec<_> = called.difference(&known).collect();
    ensure!(
        unknown.is_empty(),
        "not on every machine: {unknown:?}; do it in Rust, or have ./test install or miss it"
    );
    Ok(())
}

/// A sum that wraps would go on into a report.
#[test]
fn release_builds_check_sums_for_overflow() -> Result<()> {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml"))?;
    let profile: Vec<&str> = manifest
        .lines()
        .skip_while(|line| line.trim() != "[profile.release]")
        .skip(1)
        .take_while(|line| !line.trim_start().starts_with('['))
        .collect();
    ensure!(
        profile
            .iter()
            .any(|line| line.split_whitespace().eq(["overflow-checks", "=", "true"])),
        "{profile:?}"
    );
    Ok(())
}

fn rust_files(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() && !path.ends_with("target") {
            files.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(files)
}
