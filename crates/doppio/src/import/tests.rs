//! Files as other tills write them, and what they come to.

use contract::event::ServiceMode;
use contract::{Currency, OrderId, Slug};
use ordering::domain::{Command, PlaceOrder, RefundLine, RefundOrder};

use super::mapping::Mapping;
use super::mistake::Mistakes;
use super::plan::{Plan, Planned};
use super::prices::{self, PriceList, Vocabulary};
use super::receipts::{self, Rules};
use super::sale::{Till, order_id, sale};
use super::sheet::Form;

const PRICES: &str = "item,price_minor,currency,category,vat_percent
Bread,250,GBP,food,0
Coffee,275,GBP,drink,20
Tea,199,GBP,drink,20
";

struct Case<'a> {
    prices: &'a str,
    mapping: &'a str,
    restart_daily: bool,
    sort: bool,
    form: Form,
}

const CASE: Case<'static> = Case {
    prices: PRICES,
    mapping: "",
    restart_daily: false,
    sort: false,
    form: Form {
        delimiter: b',',
        decimal_comma: false,
        last_row_is_whole: false,
    },
};

impl Case<'_> {
    fn plan(&self, text: &str) -> Result<Plan, Vec<String>> {
        let mapping = Mapping::parse(self.mapping).unwrap();
        let (mut vocabulary, mut mistakes) = (Vocabulary::default(), Mistakes::default());
        let pounds = Currency::new("GBP").unwrap();
        let list = if self.prices.is_empty() {
            PriceList {
                currency: Some(pounds),
                ..PriceList::default()
            }
        } else {
            prices::read(
                "p.csv",
                self.prices,
                self.form,
                &mapping,
                None,
                &mut vocabulary,
                &mut mistakes,
            )
        };
        let rules = Rules {
            form: self.form,
            mapping: &mapping,
            currency: pounds,
            store: Some("bakery"),
            time_zone: Some("Europe/London"),
            cutoff: "04:00",
            source: Slug::new("import").unwrap(),
            service_mode: ServiceMode::TakeAway,
            restart_daily: self.restart_daily,
            sort: self.sort,
            latest: "2020-01-01T00:00Z".parse().unwrap(),
        };
        let receipts = receipts::read("r.csv", text, &rules, &list, &mut vocabulary, &mut mistakes);
        let till = Till {
            currency: pounds,
            language: "en".to_owned(),
            menu_hash: [7; 32],
        };
        let plan = Plan::of("r.csv", receipts, till, &mut mistakes);
        if mistakes.is_empty() {
            Ok(plan)
        } else {
            Err(mistakes.sorted().iter().map(ToString::to_string).collect())
        }
    }

    fn mistakes(&self, text: &str) -> Vec<String> {
        self.plan(text).err().unwrap_or_default()
    }
}

fn plan(text: &str) -> Plan {
    CASE.plan(text)
        .unwrap_or_else(|mistakes| panic!("{mistakes:?}"))
}

fn mistakes(text: &str) -> Vec<String> {
    CASE.mistakes(text)
}

fn placing(plan: &Plan, planned: &Planned) -> PlaceOrder {
    let receipt = &planned.receipt;
    let sale = sale(receipt, &plan.shops[receipt.shop], &plan.till).unwrap();
    match sale.commands.into_iter().next() {
        Some(Command::PlaceOrder(placing)) => *placing,
        other => panic!("{other:?}"),
    }
}

/// Units of each line, with its sku without the hash.
fn lines(placing: &PlaceOrder) -> Vec<(i32, String, Option<i64>)> {
    placing
        .draft
        .lines
        .iter()
        .map(|line| {
            let sku = line.sku.as_str();
            let readable = sku.rsplit_once('-').map_or(sku, |(readable, _)| readable);
            (
                line.quantity,
                readable.to_owned(),
                line.till_unit_price.map(contract::Money::minor),
            )
        })
        .collect()
}

fn refunds(planned: &Planned) -> Vec<&RefundOrder> {
    planned
        .refunds
        .iter()
        .map(|refund| &refund.command)
        .collect()
}

#[test]
fn one_row_a_unit() {
    let plan = plan(
        "receipt,sold_at,item\n1,2016-10-30T09:58,Bread\n2,2016-10-30T10:05,Tea\n2,2016-10-30T10:05,Bread\n2,2016-10-30T10:05,Tea\n",
    );
    assert_eq!(plan.receipts.len(), 2);
    let second = &plan.receipts[1];
    assert_eq!(
        (second.units, second.gross.minor(), second.net.minor()),
        (3, 648, 648)
    );
    let placing = placing(&plan, second);
    assert_eq!(
        lines(&placing),
        [
            (2, "tea".to_owned(), Some(199)),
            (1, "bread".to_owned(), Some(250))
        ]
    );
    assert_eq!(placing.tenders.len(), 1);
    assert_eq!(placing.draft.terminal_seq, 2);
}

#[test]
fn quantity_price_discount_tenders_tax_staff_member_and_mode_of_the_till() {
    let member = "0190c1d2-7a1c-7c3e-8f00-0123456789ab";
    let plan = plan(&format!(
        "receipt,sold_at,item,quantity,unit_price,discount,tax,tender,staff,member,service_mode\n\
         1,2016-10-30T09:58,Coffee,3,2.80,0.40,12.5,cash:10.00+card/visa:1.00,anna-1,{member},eat_in\n\
         1,2016-10-30T09:58,Bread,1,,,,,,,\n"
    ));
    let planned = &plan.receipts[0];
    assert_eq!((planned.gross.minor(), planned.net.minor()), (1_090, 1_050));
    let receipt = &planned.receipt;
    let sale = sale(receipt, &plan.shops[0], &plan.till).unwrap();
    assert_eq!(
        sale.sold
            .tenders
            .iter()
            .map(|tender| tender.amount.minor())
            .collect::<Vec<_>>(),
        [950, 100]
    );
    let placing = placing(&plan, planned);
    assert_eq!(placing.draft.staff_id, Some(Slug::new("anna-1").unwrap()));
    assert_eq!(
        placing.draft.lines[0].service_mode,
        Some(ServiceMode::EatIn)
    );
    assert_eq!(
        placing.draft.lines[1].service_mode,
        Some(ServiceMode::TakeAway)
    );
    assert!(placing.membership.is_some());
    let classes: Vec<&str> = sale
        .store
        .menu
        .tax_classes
        .keys()
        .map(Slug::as_str)
        .collect();
    assert_eq!(classes, ["vat-0", "vat-1250"]);
}

#[test]
fn a_price_that_changed_needs_no_article_of_its_own() {
    let plan = plan(
        "receipt,sold_at,item,unit_price\n1,2016-10-30T09:58,Coffee,2.75\n2,2016-10-31T09:58,Coffee,3.10\n",
    );
    let skus: Vec<Slug> = plan
        .receipts
        .iter()
        .map(|planned| placing(&plan, planned).draft.lines[0].sku.clone())
        .collect();
    assert_eq!(skus[0], skus[1]);
    assert_eq!(plan.receipts[1].gross.minor(), 310);
}

#[test]
fn rows_alone_suffice_without_a_price_list() {
    let case = Case { prices: "", ..CASE };
    let header = "receipt,sold_at,item,unit_price,tax,category\n";
    let plan = case
        .plan(&format!(
            "{header}1,2016-10-30T09:58,커피,2.75,20,음료\n1,2016-10-30T09:58,Water,1.00,exempt,\n"
        ))
        .unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
    assert_eq!(plan.receipts[0].gross.minor(), 375);
    assert_eq!(
        case.mistakes(&format!("{header}1,2016-10-30T09:58,Tea,,,\n")),
        [
            "r.csv:2 item: \"Tea\" has no price: neither in the price list nor in the row",
            "r.csv:2 tax: \"Tea\" has no rate of VAT: neither in the price list nor in the row",
        ]
    );
}

#[test]
fn the_identity_is_store_source_and_number_alone() {
    let ids = |text: &str| -> Vec<OrderId> {
        plan(text)
            .receipts
            .iter()
            .map(|planned| order_id(&planned.receipt.identity))
            .collect()
    };
    let one = ids("receipt,sold_at,item\n1,2016-10-30T09:58,Bread\n");
    assert_eq!(one, ids("receipt,sold_at,item\n1,2016-11-02T17:00,Tea\n"));
    assert_eq!(one[0].time_hint(), None);
    assert!(OrderId::parse(&one[0].to_string()).is_ok());
    let other = ids(
        "receipt,sold_at,item,source,store\n1,2016-10-30T09:58,Bread,till-2,\n1,2016-10-30T09:58,Bread,,other\n2,2016-10-30T09:58,Bread,,\n",
    );
    assert!(!other.contains(&one[0]));
    assert_eq!(
        other
            .iter()
            .collect::<std::collections::BTreeSet<_>>()
            .len(),
        3
    );
}

#[test]
fn numbers_that_begin_anew_each_day_are_told_by_the_business_date() {
    let text = "receipt,sold_at,item\n1,2016-10-30T09:58,Bread\n1,2016-10-31T03:59,Tea\n1,2016-10-31T04:00,Bread\n";
    assert_eq!(
        mistakes(text),
        [
            "r.csv:3 sold_at: the receipt has two times: \"2016-10-30T09:58\" and \"2016-10-31T03:59\"",
            "r.csv:4 sold_at: the receipt has two times: \"2016-10-30T09:58\" and \"2016-10-31T04:00\"",
        ]
    );
    let daily = Case {
        restart_daily: true,
        ..CASE
    };
    assert_eq!(daily.mistakes(text).len(), 1);
    let plan = daily.plan("receipt,sold_at,item\n1,2016-10-30T09:58,Bread\n2,2016-10-31T03:59,Tea\n1,2016-10-31T04:00,Bread\n").unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
    assert_eq!(plan.receipts.len(), 3);
}

#[test]
fn every_wrong_row_is_listed_with_row_and_column() {
    let said = mistakes(
        "receipt,sold_at,item,quantity,tender,staff,service_mode,returns\n\
         1,2016-10-30,Bread,1,,,,\n\
         2,2016-10-30T10:00,Brot,1,,,,\n\
         3,2016-10-30T10:01,Bread,0,,,,\n\
         4,2016-10-30T10:02,Bread,1.5,,,,\n\
         5,2016-10-30T10:03,Bread,1,Bar,,,\n\
         6,2016-10-30T10:04,Bread,1,card:2.00,,,\n\
         7,2016-10-30T10:05,Bread,1,,Anna Kim,,\n\
         8,2016-10-30T10:06,Bread,1,,,outside,\n\
         9,2016-10-30T10:05,Bread,1,,,,\n\
         10,2099-01-01T10:05,Bread,1,,,,\n\
         11,2016-10-30T11:00,Bread,1,,,,9\n\
         12,2016-10-30T11:00,Bread,-1,,,,\n\
         13,2017-03-26T01:30,Bread,1,,,,\n\
         ,2017-03-26T02:30,Bread,1,,,,\n\
         14,2017-03-26T02:30,Bread,1,cash,,,\n\
         14,2017-03-26T02:30,Tea,1,card,,,\n\
         15,2017-03-26T02:31,Tea,1,,,,\n\
         15,2017-03-26T02:32,Tea,1,,,,\n\
         2,2017-03-26T02:33,Tea,1,,,,\n",
    );
    insta::assert_snapshot!(said.join("\n"));
}

#[test]
fn units_beyond_a_line_are_more_lines_and_lines_beyond_an_order_are_refused() {
    let header = "receipt,sold_at,item,quantity,discount\n";
    let large = plan(&format!("{header}1,2016-10-30T09:58,Bread,2500,2500.01\n"));
    let placing = placing(&large, &large.receipts[0]);
    assert_eq!(
        placing
            .draft
            .lines
            .iter()
            .map(|line| line.quantity)
            .collect::<Vec<_>>(),
        [999, 999, 502]
    );
    assert_eq!(large.receipts[0].net.minor(), 2_500 * 250 - 250_001);
    assert_eq!(
        mistakes(&format!(
            "{header}1,2016-10-30T09:58,Bread,199000,\n1,2016-10-30T09:58,Tea,999,\n"
        )),
        ["r.csv:2 receipt: comes to 201 lines of up to 999 units; an order has at most 200"]
    );
    assert_eq!(
        mistakes(&format!(
            "{header}1,2016-10-30T09:58,Bread,9223372036854775807,\n"
        )),
        ["r.csv:2 quantity: a receipt has at most 199800 units of an article"]
    );
    assert_eq!(
        mistakes(&format!("{header}1,2016-10-30T09:58,Bread,1,2.51\n")),
        ["r.csv:2 discount: is less than nothing, or more than the row's price"]
    );
}

#[test]
fn a_negative_row_without_a_sale_corrects_its_own_receipt() {
    let header = "receipt,sold_at,item,quantity\n";
    let plan = plan(&format!(
        "{header}1,2016-10-30T09:58,Bread,3\n1,2016-10-30T09:58,Tea,1\n1,2016-10-30T09:58,Bread,-2\n1,2016-10-30T09:58,Tea,-1\n"
    ));
    assert_eq!(
        lines(&placing(&plan, &plan.receipts[0])),
        [(1, "bread".to_owned(), Some(250))]
    );
    assert!(refunds(&plan.receipts[0]).is_empty());
    assert_eq!(
        mistakes(&format!(
            "{header}1,2016-10-30T09:58,Bread,1\n1,2016-10-30T09:58,Bread,-1\n2,2016-10-30T09:59,Bread,1\n2,2016-10-30T09:59,Bread,-2\n"
        )),
        [
            "r.csv:2 receipt: nothing is left of the receipt: leave it out",
            "r.csv:5 quantity: takes back 2 of \"Bread\", which the receipt does not list above at that price: name its sale in the column returns",
        ]
    );
}

#[test]
fn a_return_that_names_its_sale_refunds_it() {
    let header = "receipt,sold_at,item,quantity,unit_price,discount,tender,returns\n";
    let sale = "1,2016-10-30T09:58,Coffee,3,3.00,1.00,cash:5.00+card:3.00,\n";
    let plan = plan(&format!(
        "{header}{sale}2,2016-10-31T10:00,Coffee,-1,,,card,1\n3,2016-10-31T11:00,Coffee,-2,,,,1\n3,2016-10-31T11:00,Tea,1,,,,\n"
    ));
    let first = refunds(&plan.receipts[1]);
    assert_eq!(first.len(), 1);
    assert_eq!(
        first[0].order_id,
        order_id(&plan.receipts[0].receipt.identity)
    );
    assert_eq!(
        first[0].lines,
        [RefundLine {
            line_id: Slug::new("l1").unwrap(),
            quantity: 1
        }]
    );
    // floor(800 × 3 / 3) − floor(800 × 2 / 3)
    assert_eq!(first[0].tenders[0].amount.minor(), 267);
    let worth = |planned: &Planned| {
        planned
            .refunds
            .iter()
            .map(|refund| refund.net.minor())
            .sum::<i64>()
    };
    assert_eq!(
        (worth(&plan.receipts[1]), worth(&plan.receipts[2])),
        (267, 533)
    );
    assert_eq!(plan.receipts[2].gross.minor(), 199);
    assert_eq!(
        mistakes(&format!(
            "{header}{sale}2,2016-10-31T10:00,Coffee,-4,,,,1\n3,2016-10-31T10:00,Coffee,-1,3.00,,,1\n4,2016-10-31T10:00,Coffee,-1,,,voucher,1\n5,2016-10-31T10:00,Coffee,-1,,,card:1.00,1\n"
        )),
        [
            "r.csv:3 quantity: takes back 4 of \"Coffee\", of which the sale \"1\" has only 3 left",
            "r.csv:4 unit_price: what was sold for 267 minor units was given back for another amount",
            "r.csv:5 tender: the sale was not paid that way",
            "r.csv:6 tender: what was taken back is worth 267 minor units, the tenders say another amount",
        ]
    );
}

#[test]
fn a_return_of_an_earlier_import_waits_for_the_log() {
    let mut plan = plan("receipt,sold_at,item,quantity,returns\n2,2016-10-31T10:00,Coffee,-1,1\n");
    assert_eq!(plan.sales_named().len(), 1);
    let mut mistakes = Mistakes::default();
    plan.take_back(&std::collections::HashMap::new(), &mut mistakes);
    let said: Vec<String> = mistakes.sorted().iter().map(ToString::to_string).collect();
    assert_eq!(
        said,
        ["r.csv:2 returns: the sale \"1\" is neither further up nor imported before"]
    );
}

#[test]
fn a_file_in_another_order_is_sorted_when_told_so() {
    let text = "receipt,sold_at,item\n2,2016-10-31T09:58,Bread\n1,2016-10-30T09:58,Bread\n";
    assert_eq!(mistakes(text).len(), 1);
    let sort = Case { sort: true, ..CASE };
    let plan = sort
        .plan(text)
        .unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
    assert_eq!(plan.receipts[0].receipt.identity.number, "1");
    assert_eq!(
        sort.mistakes("receipt,sold_at,item\n1,2016-10-30T01:30,Bread\n")
            .len(),
        1
    );
}

#[test]
fn another_tills_names_and_forms() {
    let case = Case {
        mapping: r#"
            time_format = "%d.%m.%Y %H:%M"
            ignore = ["Kasse"]
            [receipts]
            receipt = "Bon"
            sold_at = ["Datum", "Zeit"]
            item = "Artikel"
            unit_price = "Preis"
            tender = "Zahlart"
            staff = "Bediener"
            store = "Filiale"
            [tenders]
            "EC-Karte" = "card/girocard"
            [staff]
            "Anna Kim" = "s1"
            [stores."Filiale 3"]
            id = "seoul-3"
            time_zone = "Asia/Seoul"
            cutoff = "05:00"
        "#,
        form: Form {
            delimiter: b';',
            decimal_comma: true,
            ..CASE.form
        },
        prices: "item;price;currency;category;vat_percent\nBrot;2,50;GBP;food;12,5\n",
        ..CASE
    };
    let plan = case
        .plan("Bon;Datum;Zeit;Artikel;Preis;Zahlart;Bediener;Filiale;Kasse\n7;30.10.2016;09:58;Brot;2,60;EC-Karte;Anna Kim;Filiale 3;1\n7;30.10.2016;09:58;Brot;2,60;;;bakery;1\n")
        .unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
    assert_eq!(plan.shops.len(), 2);
    let first = &plan.receipts[0];
    assert_eq!(first.receipt.identity.store.as_str(), "seoul-3");
    assert_eq!(first.receipt.sold_at.to_string(), "2016-10-30T00:58:00Z");
    assert_eq!(plan.shops[0].cutoff_minutes, 300);
    let placing = placing(&plan, first);
    assert_eq!(placing.tenders[0].scheme, "girocard");
    assert_eq!(placing.draft.staff_id, Some(Slug::new("s1").unwrap()));
    assert_eq!(first.gross.minor(), 260);
}
