//! `doppio import receipts` with files as people have them: repeated, corrected, of several stores, with returns, empty, cut off.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use event_log::{LedgerName, LogLocation, Revision};
use integration_tests::services::doppio;
use serde_json::Value;
use tempfile::TempDir;

const PRICES: &str = "item,price_minor,currency,category,vat_percent
아메리카노,4500,KRW,커피,10
베이글,3900,KRW,베이커리,10
";
/// What a person waits for a word about a file.
const AT_ONCE: Duration = Duration::from_secs(15);

/// Files beside a data directory.
struct Desk {
    directory: TempDir,
}

impl Desk {
    fn new() -> Result<Self> {
        let desk = Self {
            directory: tempfile::tempdir()?,
        };
        desk.write("prices.csv", PRICES)?;
        Ok(desk)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn data(&self) -> PathBuf {
        self.path("data")
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> Result<()> {
        Ok(std::fs::write(self.path(name), text)?)
    }

    /// Imports a file of this desk with its price list.
    async fn run(&self, file: &str, more: &[&str]) -> Result<Output> {
        let (path, prices, data) = (self.path(file), self.path("prices.csv"), self.data());
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let mut command: Vec<String> = ["import", "receipts"].map(str::to_owned).to_vec();
        command.extend([text(&path), "--prices".into(), text(&prices)]);
        command.extend(["--data".into(), text(&data)]);
        command.extend(["--time-zone".into(), "Asia/Seoul".into()]);
        command.extend(more.iter().map(|part| (*part).to_owned()));
        doppio(&command).await
    }

    /// Imports receipts of the store `seoul`, which has to succeed.
    async fn imports(&self, receipts: &str, more: &[&str]) -> Result<Value> {
        self.write("receipts.csv", receipts)?;
        let more = [&["--store", "seoul", "--json"], more].concat();
        let output = self.run("receipts.csv", &more).await?;
        ensure!(output.status.success(), "{}", said(&output));
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// Imports receipts of the store `seoul`, which has to be refused; returns the exit code and what was said.
    async fn refuses(&self, receipts: &str, more: &[&str]) -> Result<(i32, String)> {
        self.write("receipts.csv", receipts)?;
        let more = [&["--store", "seoul"], more].concat();
        let output = self.run("receipts.csv", &more).await?;
        let code = output.status.code().context("it was killed")?;
        ensure!(code != 0, "{}", said(&output));
        Ok((code, String::from_utf8_lossy(&output.stderr).into_owned()))
    }

    async fn asks(&self, question: &[&str]) -> Result<Value> {
        let data = self.data().to_string_lossy().into_owned();
        let output = doppio(&[question, &["--data", &data, "--json"]].concat()).await?;
        ensure!(output.status.success(), "{question:?}: {}", said(&output));
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    async fn day(&self, store: &str, date: &str) -> Result<Value> {
        self.asks(&["sales", "day", "--store", store, "--date", date])
            .await
    }

    /// Everything in the log is sound, by code that shares nothing with what wrote it.
    async fn is_sound(&self) -> Result<()> {
        let data = self.data().to_string_lossy().into_owned();
        let output = doppio(&["settle", "verify", "--data", &data]).await?;
        ensure!(output.status.success(), "{}", said(&output));
        Ok(())
    }

    async fn revision(&self) -> Result<Revision> {
        let log = LogLocation::sqlite(&self.data().join("log.db"))
            .open()
            .await?;
        let tip = log.tip(&LedgerName::new("seoul")?).await?;
        Ok(tip.map_or(Revision(0), |tip| tip.chain.revision))
    }
}

fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!(
        "{}: {}{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    )
}

fn minor(value: &Value) -> i64 {
    value["amount_minor"]
        .as_str()
        .and_then(|text| text.parse().ok())
        .unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receipts_with_a_corrected_date_are_refused_and_listed() -> Result<()> {
    let desk = Desk::new()?;
    let header = "receipt,sold_at,item\n";
    let first = format!("{header}1,2024-05-01T09:00,베이글\n2,2024-05-01T09:05,아메리카노\n");
    let done = desk.imports(&first, &[]).await?;
    ensure!(
        done["imported"] == 2 && done["gross_minor"] == 8_400,
        "{done}"
    );
    let before = desk.revision().await?;

    let corrected = first.replace("2,2024-05-01", "2,2024-05-02");
    let (code, said) = desk.refuses(&corrected, &[]).await?;
    ensure!(code == 3, "{code}: {said}");
    ensure!(
        said.contains("receipts.csv:3 sold_at: receipt \"2\" was imported before, differently"),
        "{said}"
    );
    let other = first.replace("아메리카노", "베이글");
    let (code, said) = desk
        .refuses(&format!("{other}3,2024-05-02T09:00,베이글\n"), &[])
        .await?;
    ensure!(
        code == 3
            && said.contains(
                "receipts.csv:3 receipt: receipt \"2\" was imported before, differently: other articles, amounts or tenders"
            ),
        "{code}: {said}"
    );
    let forgotten = format!("{first}3,2024-05-01T09:04,베이글\n");
    let (code, said) = desk.refuses(&forgotten, &["--sort"]).await?;
    ensure!(
        code == 3 && said.contains("receipts.csv:4 sold_at:"),
        "{code}: {said}"
    );
    ensure!(
        desk.revision().await? == before,
        "a refused import recorded something"
    );

    let again = desk.imports(&first, &[]).await?;
    ensure!(
        again["imported"] == 0 && again["there_already"] == 2,
        "{again}"
    );
    // The same numbers of another till are other receipts.
    let other = desk
        .imports(
            &format!("{header}1,2024-05-03T09:00,베이글\n"),
            &["--source", "till-2"],
        )
        .await?;
    ensure!(other["imported"] == 1, "{other}");
    let order = desk
        .asks(&["order", "list", "--store", "seoul", "--date", "2024-05-03"])
        .await?;
    ensure!(
        order["orders"][0]["flags"]
            .as_array()
            .is_none_or(Vec::is_empty),
        "{order}"
    );
    desk.is_sound().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_of_any_script_keep_codes_of_their_own_whatever_the_order_of_the_list() -> Result<()>
{
    let desk = Desk::new()?;
    let header = "receipt,sold_at,item\n";
    desk.imports(&format!("{header}1,2024-05-01T09:00,베이글\n"), &[])
        .await?;
    let lines: Vec<&str> = PRICES.lines().collect();
    desk.write(
        "prices.csv",
        format!("{}\n{}\n{}\n", lines[0], lines[2], lines[1]),
    )?;
    let more = format!("{header}2,2024-05-02T09:05,아메리카노\n3,2024-05-02T09:06,베이글\n");
    desk.imports(&more, &[]).await?;
    let first = desk.day("seoul", "2024-05-01").await?;
    let second = desk.day("seoul", "2024-05-02").await?;
    let mut items: Vec<(String, i64)> = Vec::new();
    for item in second["items"].as_array().context("no items")? {
        let name = item["name"]["text"]["en"].as_str().context("no name")?;
        items.push((name.to_owned(), minor(&item["net"])));
        if name == "베이글" {
            ensure!(item["sku"] == first["items"][0]["sku"], "{item} {first}");
        }
    }
    items.sort();
    ensure!(
        items
            == [
                ("베이글".to_owned(), 3_900),
                ("아메리카노".to_owned(), 4_500)
            ],
        "{items:?}"
    );
    let categories = second["categories"].as_array().context("no categories")?;
    ensure!(categories.len() == 2, "{categories:?}");
    desk.is_sound().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn returns_refund_their_sales_in_the_same_file_and_of_an_earlier_import() -> Result<()> {
    let desk = Desk::new()?;
    let header = "receipt,sold_at,item,quantity,tender,returns\n";
    let sales = format!(
        "{header}1,2024-05-01T09:00,베이글,3,cash:12000,\n2,2024-05-01T09:05,아메리카노,1,card/visa,\n3,2024-05-01T17:00,아메리카노,-1,card,2\n"
    );
    let done = desk.imports(&sales, &[]).await?;
    ensure!(
        done["returns"] == 1 && done["returned_minor"] == 4_500,
        "{done}"
    );
    let returns = format!("{header}4,2024-05-02T10:00,베이글,-2,,1\n");
    let done = desk.imports(&returns, &[]).await?;
    ensure!(
        done["imported"] == 1 && done["returned_minor"] == 7_800,
        "{done}"
    );
    let again = desk.imports(&returns, &[]).await?;
    ensure!(
        again["imported"] == 0 && again["there_already"] == 1,
        "{again}"
    );
    let again = desk.imports(&sales, &[]).await?;
    ensure!(
        again["imported"] == 0 && again["there_already"] == 3,
        "{again}"
    );

    let first = desk.day("seoul", "2024-05-01").await?;
    ensure!(minor(&first["refunds_same_day"]["net"]) == 4_500, "{first}");
    ensure!(minor(&first["turnover"]["net"]) == 11_700, "{first}");
    let second = desk.day("seoul", "2024-05-02").await?;
    ensure!(
        minor(&second["refunds_prior_days"]["net"]) == 7_800,
        "{second}"
    );

    let more =
        format!("{header}5,2024-05-03T10:00,베이글,-2,,1\n6,2024-05-03T10:00,베이글,-1,,77\n");
    let (code, said) = desk.refuses(&more, &["--dry-run"]).await?;
    ensure!(
        code == 2 && said.contains("returns: the sale \"77\" is neither"),
        "{code}: {said}"
    );
    let (code, said) = desk.refuses(&more.replace(",77\n", ",1\n"), &[]).await?;
    ensure!(
        code != 0 && said.contains("receipts.csv:2"),
        "{code}: {said}"
    );
    desk.is_sound().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_stores_of_one_file_have_their_own_days() -> Result<()> {
    let desk = Desk::new()?;
    desk.write(
        "mapping.toml",
        "delimiter = ';'\n[receipts]\nreceipt = 'Bon'\nsold_at = ['Tag', 'Zeit']\nitem = 'Artikel'\nstore = 'Filiale'\n[stores.'Jongno 1']\nid = 'jongno'\n[stores.London]\nid = 'london'\ntime_zone = 'Europe/London'\n",
    )?;
    desk.write("prices.csv", PRICES.replace(',', ";"))?;
    desk.write(
        "receipts.csv",
        "\u{feff}Bon;Tag;Zeit;Artikel;Filiale\r\n1;2024-05-01;23:00;베이글;Jongno 1\r\n1;2024-05-01;09:00;베이글;London\r\n2;2024-05-02;03:59;아메리카노;Jongno 1\r\n2;2024-05-02;04:00;아메리카노;London\r\n",
    )?;
    let mapping = desk.path("mapping.toml").to_string_lossy().into_owned();
    let output = desk
        .run("receipts.csv", &["--mapping", &mapping, "--json"])
        .await?;
    ensure!(output.status.success(), "{}", said(&output));
    let done: Value = serde_json::from_slice(&output.stdout)?;
    ensure!(
        done["imported"] == 4
            && done["stores"]
                .as_array()
                .is_some_and(|stores| stores.len() == 2),
        "{done}"
    );
    let jongno = desk.day("jongno", "2024-05-01").await?;
    ensure!(jongno["orders"] == "2", "{jongno}");
    let london = desk.day("london", "2024-05-01").await?;
    ensure!(london["orders"] == "1", "{london}");
    desk.is_sound().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_lists_every_bad_row_and_makes_nothing() -> Result<()> {
    let desk = Desk::new()?;
    let header = "receipt,sold_at,item,quantity\n";
    let mut bad = header.to_owned();
    for number in 1..=30 {
        bad.push_str(&format!("{number},2024-05-01,베이글,0\n"));
    }
    let (code, said) = desk.refuses(&bad, &["--dry-run"]).await?;
    ensure!(code == 2 && said.lines().count() == 61, "{code}: {said}");
    let (_, short) = desk.refuses(&bad, &[]).await?;
    ensure!(short.contains("40 more"), "{short}");
    let (code, said) = desk
        .refuses(
            &format!("{header}1,2024-05-01T09:00,\u{1b}[2J\u{202e},1\n"),
            &[],
        )
        .await?;
    ensure!(
        code == 2 && !said.contains('\u{1b}') && !said.contains('\u{202e}'),
        "{said:?}"
    );
    let good = desk
        .imports(
            &format!("{header}1,2024-05-01T09:00,베이글,1000\n"),
            &["--dry-run"],
        )
        .await?;
    ensure!(
        good["dry_run"] == true && good["receipts"] == 1 && good["imported"] == 0,
        "{good}"
    );
    ensure!(!desk.data().exists(), "a dry run made the data directory");
    // 1,000 units are two lines of one order.
    desk.imports(&format!("{header}1,2024-05-01T09:00,베이글,1000\n"), &[])
        .await?;
    let there = desk
        .imports(
            &format!("{header}1,2024-05-01T09:00,베이글,1000\n"),
            &["--dry-run"],
        )
        .await?;
    ensure!(there["there_already"] == 1, "{there}");
    let orders = desk
        .asks(&["order", "list", "--store", "seoul", "--date", "2024-05-01"])
        .await?;
    ensure!(
        orders["orders"][0]["priced"]["lines"]
            .as_array()
            .is_some_and(|lines| lines.len() == 2),
        "{orders}"
    );
    desk.is_sound().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_without_rows_ends_at_once_with_a_word() -> Result<()> {
    let desk = Desk::new()?;
    desk.write("header.csv", "receipt,sold_at,item\n")?;
    desk.write("empty.csv", "")?;
    desk.write(
        "cut.csv",
        "receipt,sold_at,item\n1,2024-05-01T09:00,베이글\n2,2024-05-01T0",
    )?;
    std::fs::create_dir(desk.path("directory"))?;
    let made = std::process::Command::new("mkfifo")
        .arg(desk.path("pipe"))
        .status()?;
    ensure!(made.success(), "mkfifo: {made}");
    for (file, code, word) in [
        ("header.csv", 0, "no receipts"),
        ("empty.csv", 2, "is empty"),
        ("cut.csv", 2, "cut off"),
        ("directory", 2, "is a directory"),
        ("pipe", 2, "is a pipe"),
        ("missing.csv", 2, "cannot be read"),
    ] {
        let began = Instant::now();
        let output = desk.run(file, &["--store", "seoul"]).await?;
        let took = began.elapsed();
        let said = said(&output);
        ensure!(
            output.status.code() == Some(code) && said.contains(word),
            "{file}: {said}"
        );
        ensure!(took < AT_ONCE, "{file}: {took:?}");
        ensure!(!desk.data().exists(), "{file}: the data directory was made");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn times_are_honoured_exactly_or_refused() -> Result<()> {
    let desk = Desk::new()?;
    let header = "receipt,sold_at,item\n";
    for (text, word) in [
        ("2024-05-01", "has no time of day"),
        ("2024-05-01T09:00+00:00[Asia/Seoul]", "is no time"),
        ("2099-05-01T09:00", "lies in the future"),
    ] {
        let (code, said) = desk
            .refuses(&format!("{header}1,{text},베이글\n"), &[])
            .await?;
        ensure!(
            code == 2 && said.contains("receipts.csv:2 sold_at:") && said.contains(word),
            "{text}: {code}: {said}"
        );
    }
    // 18:30 in Seoul, and 04:30 there on the next day.
    desk.imports(&format!("{header}1,2024-05-01T09:30+00:00,베이글\n2,2024-05-01T20:30[Europe/London],아메리카노\n"), &[]).await?;
    let day = desk.day("seoul", "2024-05-01").await?;
    ensure!(day["orders"] == "1" && minor(&day["net"]) == 3_900, "{day}");
    let next = desk.day("seoul", "2024-05-02").await?;
    ensure!(minor(&next["net"]) == 4_500, "{next}");
    desk.write("prices.csv", PRICES.replace(",10\n", ",8.875\n"))?;
    let (code, said) = desk
        .refuses(&format!("{header}3,2024-05-03T09:30,베이글\n"), &[])
        .await?;
    ensure!(
        code == 2 && said.contains("prices.csv:2 vat_percent"),
        "{code}: {said}"
    );
    desk.is_sound().await
}
