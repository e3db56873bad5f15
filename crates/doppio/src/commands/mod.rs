//! One file per subcommand.

mod bench;
mod demo;
mod doctor;
mod events;
mod explain;
mod export;
mod health;
mod import;
pub(crate) mod log;
mod member;
mod order;
mod sales;
mod settle;
mod status;
pub mod till_print;
mod up;

use clap::{Parser, Subcommand};

use crate::clients::Target;
use crate::exit::Failure;
use crate::output::Format;
use crate::table::Layout;

/// Doppio runs the orders of a coffee chain.
///
/// Exit codes: 0 done, 1 failed, 2 wrong command line or settings, 3 refused (nothing was recorded), 4 not available (repeat with the
/// same id), 5 a check found something wrong.
#[derive(Parser)]
#[command(name = "doppio", version, max_term_width = 110)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    target: Target,
    /// One JSON document: the canonical protobuf JSON of the answer.
    #[arg(long, global = true)]
    json: bool,
    /// Every column of a table, however wide the terminal is.
    #[arg(long, global = true)]
    wide: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Sell coffee for a while on embedded engines, then check the read model against the log.
    Demo(demo::Demo),
    /// Measure: load on services, and what the same engines could do at most.
    ///
    /// Everything is embedded unless a scenario's options say otherwise. Each result is set against the ceilings of the same run: a bare
    /// call, appends without ordering, one append a call. A run in which a call failed ends with exit code 5. docs/performance.md says what
    /// is counted, and how.
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Run the four services in one process.
    Up(up::Up),
    /// Place orders and see them through.
    #[command(subcommand)]
    Order(order::Order),
    /// Register, check and withdraw members.
    #[command(subcommand)]
    Member(member::Member),
    /// Sales figures.
    #[command(subcommand)]
    Sales(sales::Sales),
    /// X and Z reports, cash, the day's close, and a check that recomputes them.
    #[command(subcommand)]
    Settle(settle::Settle),
    /// Whole tables as files: orders, lines, refunds, tenders, Z reports.
    Export(export::Export),
    /// The stores that have a ledger.
    Stores,
    /// How far the read model is behind the log.
    Status,
    /// Read a store's events from the log, as JSON lines.
    Events(events::Events),
    /// Make, look at, or take up an event log.
    #[command(subcommand)]
    Log(log::Log),
    /// Bring in history from elsewhere.
    #[command(subcommand)]
    Import(ImportCommand),
    /// Reach everything, check it, say what to do.
    Doctor(doctor::Doctor),
    /// What a refusal means and what to do, by its reason.
    Explain(explain::Explain),
    /// Ask one service whether it is healthy; for container health checks.
    Health(health::Health),
}

#[derive(Subcommand)]
enum ImportCommand {
    /// Receipts of another till, as a CSV file.
    Receipts(import::Receipts),
}

/// Runs one command.
pub async fn run(cli: Cli) -> Result<(), Failure> {
    let format = if cli.json {
        Format::Json
    } else {
        Format::People
    };
    Layout::set(cli.wide);
    let target = cli.target;
    match cli.command {
        Command::Demo(demo) => demo.run(&target).await,
        Command::Bench(bench) => bench.run(&target, format).await,
        Command::Up(up) => up.run(&target).await,
        Command::Order(order) => target.with(|clients| order.run(clients, format)).await,
        Command::Member(member) => member.run(&target, format).await,
        Command::Sales(sales) => target.with(|clients| sales.run(clients, format)).await,
        Command::Settle(settle) => settle.run(&target, format).await,
        Command::Export(export) => target.with(|clients| export.run(clients, format)).await,
        Command::Stores => target.with(|clients| sales::stores(clients, format)).await,
        Command::Status => target.with(|clients| status::run(clients, format)).await,
        Command::Events(events) => events.run(&target).await,
        Command::Log(log) => log.run(&target, format).await,
        Command::Import(ImportCommand::Receipts(receipts)) => receipts.run(&target, format).await,
        Command::Doctor(doctor) => doctor.run(&target, format).await,
        Command::Explain(explain) => explain.run(format),
        Command::Health(health) => health.run(&target).await,
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser as _};

    use super::{Cli, demo};

    #[test]
    fn what_the_demo_names_next_is_understood() {
        let commands: Vec<&str> = demo::NEXT.lines().collect();
        assert!(commands.len() > 1, "{commands:?}");
        for command in commands {
            assert!(command.trim().starts_with("doppio "), "{command}");
            let parsed = Cli::try_parse_from(command.split_whitespace());
            assert!(parsed.is_ok(), "{command}: {:?}", parsed.err());
        }
    }

    #[test]
    fn the_help_of_a_command_names_what_it_takes_and_nothing_else() {
        let mut cli = Cli::command();
        cli.build();
        let mut help = |name: &str| {
            let log = cli.find_subcommand_mut("log").unwrap();
            let command = log.find_subcommand_mut(name).unwrap();
            command.render_long_help().to_string()
        };
        for name in ["info", "adopt"] {
            let help = help(name);
            assert!(!help.contains("init"), "log {name}:\n{help}");
            assert!(!help.contains("--if-missing"), "log {name}:\n{help}");
        }
        assert!(help("init").contains("--if-missing"));
        assert!(Cli::try_parse_from(["doppio", "log", "adopt", "--if-missing"]).is_err());
    }

    #[test]
    fn no_help_shows_an_empty_default() {
        fn look(command: &mut clap::Command) {
            let help = command.render_long_help().to_string();
            assert!(
                !help.contains(r#"[default: ""]"#),
                "{}:\n{help}",
                command.get_name()
            );
            command.get_subcommands_mut().for_each(look);
        }
        look(&mut Cli::command());
    }
}
