//! `docs/ERRORS.md` says of every reason what the code says.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use contract::Reason;

const BEGIN: &str = "<!-- the table is generated: the test errors::the_table_is_the_code prints it when it is out of date -->\n";
const END: &str = "<!-- end of the table -->";

/// The calls that may answer with a reason. A new reason does not compile without them.
fn calls(reason: Reason) -> &'static str {
    const ANY: &str = "any call";
    const MUTATIONS: &str = "PlaceOrder and every other mutation of ordering";
    const READS: &str = "every read of query-api";
    match reason {
        Reason::InvalidArgument
        | Reason::MessageTooLarge
        | Reason::MetadataTooLarge
        | Reason::UnknownMethod
        | Reason::UnsupportedCompression
        | Reason::Overloaded
        | Reason::Internal => ANY,
        Reason::UnknownService => "grpc.health.v1.Health",
        Reason::WrongCurrency | Reason::AmountOutOfRange => {
            "every call of ordering with an amount, GetSales"
        }
        Reason::OrderTooLarge => "PlaceOrder",
        Reason::TooManyLines | Reason::OptionNotAllowed | Reason::PromotionNotApplicable => {
            "QuoteOrder, PlaceOrder"
        }
        Reason::UnknownItem | Reason::UnknownOption | Reason::SoldOut | Reason::NoTaxRate => {
            "QuoteOrder, PlaceOrder"
        }
        Reason::TendersDoNotSum
        | Reason::ChangeOnlyFromCash
        | Reason::TooManyCashTenders
        | Reason::PriceChanged => "PlaceOrder",
        Reason::MalformedConsistencyToken
        | Reason::ReadModelUnavailable
        | Reason::TooStale
        | Reason::ReadTooLong
        | Reason::ProjectionQuarantined => READS,
        Reason::MalformedPageToken => {
            "ListOrders, ListStores, ListZReports, ListDayRows, ExplainFigure"
        }
        Reason::UnknownStore => "every call that names a store",
        Reason::NothingProjected => "every read of query-api that names a store",
        Reason::UnknownMember => "GetMember, UpdateMember, WithdrawMember, AttachMember",
        Reason::UnknownOrder => "GetOrder, and every command on an order",
        Reason::NoSuchDay => {
            "ListOrders, GetDailySales, GetXReport, GetZReport, ListDayRows, ExplainFigure"
        }
        Reason::IdReused => "RegisterMember, PlaceOrder and every other mutation of ordering",
        Reason::PhoneInUse | Reason::CardInUse => "RegisterMember, UpdateMember",
        Reason::MemberWithdrawn | Reason::MemberChanged => "UpdateMember",
        Reason::IllegalTransition => {
            "StartPreparation, MarkReady, CompleteOrder, CancelOrder, RefundOrder, AttachMember"
        }
        Reason::AlreadyHasMember | Reason::MemberUnavailable => "AttachMember",
        Reason::NothingLeftToRefund | Reason::CancelInstead => "RefundOrder",
        Reason::ReturnExceedsTender | Reason::ReturnsDoNotSum => "CancelOrder, RefundOrder",
        Reason::QuoteInvalid | Reason::QuoteExpired => "PlaceOrder",
        Reason::CardKeyUnknown => "CheckMembership",
        Reason::CurrencyChanged => {
            "GetMenu, QuoteOrder, PlaceOrder, CancelOrder, RefundOrder, RecordCashMovement"
        }
        Reason::NotFound => "HTTP",
        Reason::OriginNotAllowed => "any call over HTTP or gRPC-Web",
        Reason::DayNotCounted => "CountDrawer",
        Reason::DatabaseUnavailable => "every call of member",
        Reason::LogChanged => "every mutation of ordering, every read of query-api",
        Reason::UpgradeRequired | Reason::LedgerBroken | Reason::LogUnavailable => {
            "PlaceOrder, GetCommandOutcome and every other mutation of ordering"
        }
        Reason::OutcomeUnknown | Reason::TooManyConflicts => MUTATIONS,
        Reason::ClockSuspect => "PlaceOrder, CancelOrder, RefundOrder, RecordCashMovement",
        Reason::DayClosed => "RecordCashMovement, CloseBusinessDay",
        Reason::DayNotBegun => {
            "RecordCashMovement, CloseBusinessDay, GetDailySales, GetZReport, ListDayRows, ExplainFigure"
        }
        Reason::TooManyKinds => {
            "PlaceOrder, CancelOrder, RefundOrder, RecordCashMovement, CloseBusinessDay"
        }
        Reason::DrawerOverdrawn => "CancelOrder, RefundOrder",
        Reason::OpenOrders => "CloseBusinessDay",
    }
}

fn table() -> Result<String> {
    let mut text = String::from(
        "| Reason | gRPC code | Calls | What it means and what to do |\n|---|---|---|---|\n",
    );
    for reason in Reason::ALL {
        let code = code_name(reason.code());
        writeln!(
            text,
            "| `{reason}` | `{code}` | {} | {} |",
            calls(*reason),
            reason.meaning()
        )?;
    }
    Ok(text)
}

/// As the specification spells it: `InvalidArgument` is `INVALID_ARGUMENT`.
pub(crate) fn code_name(code: tonic::Code) -> String {
    let mut name = String::new();
    for letter in format!("{code:?}").chars() {
        if letter.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_uppercase());
    }
    name
}

#[test]
fn the_table_is_the_code() -> Result<()> {
    let page =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/ERRORS.md"))?;
    let after = page
        .split_once(BEGIN)
        .context("docs/ERRORS.md has lost the line before its table")?
        .1;
    let found = after
        .split_once(END)
        .context("docs/ERRORS.md has lost the line after its table")?
        .0;
    let expected = table()?;
    ensure!(
        found == expected,
        "docs/ERRORS.md differs from contract::Reason. Its table has to be:\n\n{expected}"
    );
    Ok(())
}

#[test]
fn reasons_are_distinct() {
    let mut names: Vec<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), Reason::ALL.len());
}
