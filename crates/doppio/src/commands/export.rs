use std::fs::File;
use std::io::{IsTerminal as _, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use contract::api::query::{ExportSalesRequest, ExportTable as Table};
use contract::api::types::Freshness;
use contract::timestamp_from_proto;
use indicatif::ProgressBar;
use query_api::export::{self, Encoder, quarantined};
use read_model::ExportTable;
use runtime::TraceContext;

use crate::clients::Clients;
use crate::exit::{ExitCode, Failure};
use crate::output::{Format, say, stands_still};

/// Reads a table as it is at one instant. Columns are those of docs/ANALYSTS.md; amounts are minor units.
#[derive(Args)]
pub struct Export {
    #[arg(value_name = "TABLE")]
    table: Name,
    /// All stores when absent. Repeatable.
    #[arg(long = "store", value_name = "STORE")]
    stores: Vec<String>,
    /// First business date, YYYY-MM-DD; from the beginning when absent.
    #[arg(long)]
    from: Option<String>,
    /// Last business date, inclusive; up to now when absent.
    #[arg(long)]
    to: Option<String>,
    /// By the ending of --output when absent, else csv.
    #[arg(long)]
    format: Option<Kind>,
    /// A file, which is there only when it is complete; standard output when absent.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// A token from an earlier answer: see nothing older. Repeatable.
    #[arg(long, value_name = "TOKEN")]
    at_least: Vec<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Name {
    Orders,
    #[value(alias = "order_lines")]
    OrderLines,
    /// Refunds and voids.
    Refunds,
    #[value(alias = "refund_lines")]
    RefundLines,
    Tenders,
    #[value(alias = "z_reports")]
    ZReports,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Csv,
    Parquet,
}

impl Name {
    fn tables(self) -> (Table, ExportTable) {
        match self {
            Self::Orders => (Table::Orders, ExportTable::Orders),
            Self::OrderLines => (Table::OrderLines, ExportTable::OrderLines),
            Self::Refunds => (Table::Refunds, ExportTable::Refunds),
            Self::RefundLines => (Table::RefundLines, ExportTable::RefundLines),
            Self::Tenders => (Table::Tenders, ExportTable::Tenders),
            Self::ZReports => (Table::ZReports, ExportTable::ZReports),
        }
    }
}

/// Where the file goes. One that was named appears when it is whole, in place of the one before; what is half done is removed.
enum Target<'a> {
    Standard,
    Named {
        path: &'a Path,
        part: tempfile::NamedTempFile,
    },
}

impl<'a> Target<'a> {
    fn open(path: Option<&'a Path>) -> anyhow::Result<Self> {
        let Some(path) = path else {
            return Ok(Self::Standard);
        };
        let directory = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        let part = tempfile::Builder::new()
            .prefix(".doppio-export-")
            .tempfile_in(directory)
            .with_context(|| format!("cannot write into {}", directory.display()))?;
        Ok(Self::Named { path, part })
    }

    /// False when nobody reads any more.
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<bool> {
        match self {
            Self::Named { part, .. } => part.write_all(bytes).map(|()| true),
            Self::Standard => match std::io::stdout().lock().write_all(bytes) {
                Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
                written => written.map(|()| true),
            },
        }
    }

    fn finish(self) -> anyhow::Result<()> {
        let Self::Named { path, part } = self else {
            return Ok(std::io::stdout().lock().flush()?);
        };
        part.as_file().sync_all()?;
        let file: File = part
            .persist(path)
            .with_context(|| format!("cannot write {}", path.display()))?;
        // A temporary file is for its owner alone; an export is read by others as any other file is.
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            file.set_permissions(std::fs::Permissions::from_mode(0o644))?;
        }
        Ok(())
    }
}

impl Export {
    pub async fn run(self, clients: Clients, format: Format) -> Result<(), Failure> {
        let kind = match (
            self.format,
            self.output.as_deref().and_then(Path::extension),
        ) {
            (Some(kind), _) => kind,
            (None, Some(ending)) if ending.eq_ignore_ascii_case("parquet") => Kind::Parquet,
            (None, _) => Kind::Csv,
        };
        let file_format = if kind == Kind::Parquet {
            export::Format::Parquet
        } else {
            export::Format::Csv
        };
        if self.output.is_none() && format == Format::Json {
            return Err(Failure::new(
                ExitCode::Usage,
                "--json sums up an export to a file: name one with --output",
            ));
        }
        if self.output.is_none() && kind == Kind::Parquet && std::io::stdout().is_terminal() {
            return Err(Failure::new(
                ExitCode::Usage,
                "a Parquet file is not for a terminal: name one with --output",
            ));
        }
        let (table, exported) = self.table.tables();
        // No deadline: an export takes as long as it takes, and the server has its own limits.
        let mut request = tonic::Request::new(ExportSalesRequest {
            table: table.into(),
            store_ids: self.stores,
            first_business_date: self.from.unwrap_or_default(),
            last_business_date: self.to.unwrap_or_default(),
            at_least: self.at_least,
        });
        TraceContext::new_trace().inject(&mut request);
        let mut messages = clients
            .settlement
            .clone()
            .export_sales(request)
            .await?
            .into_inner();
        let mut encoder = Encoder::new(exported, file_format)?;
        let mut target = Target::open(self.output.as_deref())?;
        let progress = if self.output.is_some() {
            ProgressBar::new_spinner()
        } else {
            ProgressBar::hidden()
        };
        let mut freshness = None;
        while let Some(mut message) = messages.message().await? {
            if let Some(told) = message.freshness.take() {
                encoder.mark(&told);
                freshness = Some(told);
            }
            if !target.write(&encoder.page(&export::rows(&message))?)? {
                return Ok(());
            }
            progress.set_message(format!("{} rows", encoder.rows()));
            progress.tick();
        }
        if !target.write(&encoder.end()?)? {
            return Ok(());
        }
        target.finish()?;
        progress.finish_and_clear();
        let freshness = freshness.unwrap_or_default();
        if let Some(path) = self.output {
            summary(&path, exported, encoder.rows(), &freshness, format)?;
        }
        let still: Vec<String> = freshness
            .quarantined
            .iter()
            .map(|store| stands_still(&store.store_id, store.revision, &store.reason))
            .collect();
        if still.is_empty() {
            Ok(())
        } else {
            Err(Failure::new(ExitCode::CheckFailed, still.join("\n")))
        }
    }
}

fn summary(
    path: &Path,
    table: ExportTable,
    rows: u64,
    freshness: &Freshness,
    format: Format,
) -> Result<(), Failure> {
    let as_of = freshness
        .as_of
        .as_ref()
        .and_then(timestamp_from_proto)
        .map(|at| at.to_string());
    if format == Format::Json {
        return say(serde_json::json!({
            "file": path, "table": table.name(), "rows": rows, "as_of": as_of, "consistency_token": freshness.consistency_token,
            "quarantined": quarantined(freshness),
        }));
    }
    let as_of = as_of.map(|at| format!(", as of {at}")).unwrap_or_default();
    say(format!(
        "{rows} rows of {} in {}{as_of}",
        table.name(),
        path.display()
    ))
}
