use contract::api::types::{DayLists, DayReport, FigureDifference};
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use crate::output::{money, name};

/// A report as a till prints it, headings in Korean and English.
pub fn print(report: &DayReport, lists: &DayLists, differences: &[FigureDifference]) -> String {
    const WIDTH: usize = 46;
    let line = |label: &str, value: String| {
        let used = columns(label) + columns(&value);
        if used >= WIDTH {
            // A long name has lines of its own.
            let lines = wrapped(label, WIDTH);
            return format!("{lines}\n{value:>WIDTH$}\n");
        }
        let gap = WIDTH - used;
        format!("{label}{}{value}\n", " ".repeat(gap))
    };
    let rule = format!("{}\n", "-".repeat(WIDTH));
    let title = if report.z_number > 0 {
        format!("Z {} 일마감 Z report", report.z_number)
    } else {
        "중간집계 X report".to_owned()
    };
    let mut text = format!(
        "{title}\n{} {}\n{rule}",
        report.store_id, report.business_date
    );
    for (label, block) in [
        ("매출 Sales", &report.sales),
        ("취소 Voids", &report.voids),
        ("당일환불 Refunds, same day", &report.refunds_same_day),
        ("이전환불 Refunds, earlier days", &report.refunds_prior_days),
        ("순매출 Turnover", &report.turnover),
    ] {
        let block = block.clone().unwrap_or_default();
        let count = block
            .count
            .map(|count| format!(" ({count})"))
            .unwrap_or_default();
        text += &line(&format!("{label}{count}"), money(block.net.as_ref()));
        text += &line("  총액 gross", money(block.gross.as_ref()));
        text += &line("  할인 discount", money(block.discount.as_ref()));
        for tax in &block.taxes {
            text += &line(
                &format!("  공급가액 supply {}", tax.tax_class),
                money(tax.supply.as_ref()),
            );
            text += &line(
                &format!("  부가세 VAT {}", tax.tax_class),
                money(tax.vat.as_ref()),
            );
        }
    }
    text += &rule;
    for tender in &report.tenders {
        let kind = tender
            .kind()
            .as_str_name()
            .trim_start_matches("TENDER_KIND_")
            .to_ascii_lowercase();
        text += &line(&format!("결제 {kind} taken"), money(tender.taken.as_ref()));
        text += &line("  반환 returned", money(tender.returned.as_ref()));
        text += &line("  순액 net", money(tender.net.as_ref()));
    }
    text += &rule;
    for drawer in &report.drawers {
        text += &line(
            &format!("현금함 drawer {}", drawer.drawer_id),
            String::new(),
        );
        for (label, amount) in [
            ("  전일이월 carried", &drawer.carried),
            ("  개점차액 opening difference", &drawer.opening_difference),
            ("  준비금 float", &drawer.float),
            ("  받은 현금 tendered", &drawer.tendered),
            ("  거스름돈 change", &drawer.change),
            ("  반환 returned", &drawer.returned),
            ("  입금 paid in", &drawer.paid_in),
            ("  출금 paid out", &drawer.paid_out),
            ("  예상 expected", &drawer.expected),
            ("  실사 counted", &drawer.counted),
            ("  과부족 over/short", &drawer.over_short),
        ] {
            text += &line(
                label,
                amount
                    .as_ref()
                    .map_or_else(|| "-".to_owned(), |amount| money(Some(amount))),
            );
        }
    }
    text += &rule;
    for item in &lists.items {
        text += &line(
            &format!("{} x{}", name(item.name.as_ref()), item.units),
            money(item.net.as_ref()),
        );
    }
    text += &rule;
    for discount in &lists.discounts {
        let source = discount
            .source()
            .as_str_name()
            .trim_start_matches("DISCOUNT_SOURCE_")
            .to_ascii_lowercase();
        let id = if discount.discount_id.is_empty() {
            source
        } else {
            discount.discount_id.clone()
        };
        text += &line(
            &format!("할인 discount {id} x{}", discount.count),
            money(discount.amount.as_ref()),
        );
    }
    for category in &lists.categories {
        text += &line(
            &format!("분류 {} x{}", category.category, category.units),
            money(category.net.as_ref()),
        );
    }
    for (what, list) in [
        ("품목 items", &report.items),
        ("분류 categories", &report.categories),
        ("할인 discounts", &report.discounts),
    ] {
        let list = list.clone().unwrap_or_default();
        // Its first bytes are enough to compare two prints by eye.
        let proof: String = list
            .sha256
            .iter()
            .take(8)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        text += &line(&format!("{what} ({})", list.rows), proof);
    }
    for hour in &report.hours {
        // The local hour; its date is the day's or the next. Where a clock change makes two of one hour, the offset tells them.
        let twice = report
            .hours
            .iter()
            .filter(|other| other.hour.get(..16) == hour.hour.get(..16))
            .count()
            > 1;
        let end = if twice { 22 } else { 16 };
        let clock = hour.hour.get(11..end).unwrap_or(&hour.hour);
        text += &line(
            &format!("{clock} x{}", hour.orders),
            money(hour.net.as_ref()),
        );
    }
    text += &rule;
    text += &line("이월 carried in", report.carried_in.to_string());
    text += &line("완료 completed", report.completed.to_string());
    text += &line("취소 cancelled", report.cancelled.to_string());
    text += &line("미결 carried out", report.carried_out.to_string());
    text += &line(
        "번호표 tickets",
        format!("{}-{}", report.first_ticket, report.last_ticket),
    );
    text += &line(
        "전표 documents",
        format!("{}-{}", report.first_document, report.last_document),
    );
    text += &line(
        "누적매출 grand total sales",
        money(report.grand_total_sales.as_ref()),
    );
    text += &line(
        "누적반환 grand total returns",
        money(report.grand_total_returns.as_ref()),
    );
    text += &line("누계 grand total", money(report.grand_total.as_ref()));
    for difference in differences {
        text += &format!(
            "DIFFERENCE {}: recorded {}, projected {}\n",
            difference.figure, difference.recorded, difference.projected
        );
    }
    text
}

/// Columns that text takes: Hangul, kana and ideographs take two.
fn columns(text: &str) -> usize {
    text.width()
}

/// Text in lines of at most `width` columns, broken between words, and within what is longer than a line.
fn wrapped(text: &str, width: usize) -> String {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let mut rest = word;
        while !rest.is_empty() {
            let line = lines.last().map_or(0, |line| columns(line));
            let blank = usize::from(line > 0);
            if line + blank + columns(rest) <= width {
                if let Some(last) = lines.last_mut() {
                    last.push_str(if blank == 1 { " " } else { "" });
                    last.push_str(rest);
                }
                break;
            }
            if line > 0 {
                lines.push(String::new());
                continue;
            }
            let mut taken = 0;
            let fits = rest
                .char_indices()
                .find(|(_, symbol)| {
                    taken += symbol.width().unwrap_or(0);
                    taken > width
                })
                .map_or(rest.len(), |(at, _)| at);
            if let Some(last) = lines.last_mut() {
                last.push_str(&rest[..fits]);
            }
            rest = &rest[fits..];
            lines.push(String::new());
        }
    }
    lines.retain(|line| !line.is_empty());
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use contract::api::types::{
        Block, CategorySales, DiscountSales, DiscountSource, DrawerSales, HourSales, ItemSales,
        ListDigest, LocalizedText, Money, TaxAmount, TenderKind, TenderSales,
    };

    use super::*;

    #[test]
    fn long_names_are_wrapped_to_the_paper() {
        for name in [
            "A name that is as long as a name of an item may well be on a menu x3",
            "とても長い名前の商品がここにありますがこれは紙の幅よりもずっと長いので折り返されます x12",
            "x",
        ] {
            for width in [2, 10, 46] {
                let text = wrapped(name, width);
                assert!(text.lines().all(|line| columns(line) <= width), "{text}");
                let same = |text: &str| text.split_whitespace().collect::<String>();
                assert_eq!(same(&text), same(name));
            }
        }
    }

    fn won(amount_minor: i64) -> Option<Money> {
        Some(Money {
            currency_code: "KRW".into(),
            amount_minor,
        })
    }

    fn block(count: i64, gross: i64, discount: i64, vat: i64) -> Option<Block> {
        let net = gross - discount;
        let tax = TaxAmount {
            tax_class: "std".into(),
            rate_bp: 1_000,
            supply: won(net - vat),
            vat: won(vat),
            ..TaxAmount::default()
        };
        Some(Block {
            count: Some(count),
            gross: won(gross),
            discount: won(discount),
            net: won(net),
            supply: won(net - vat),
            vat: won(vat),
            taxes: vec![tax],
        })
    }

    fn digest(rows: i64) -> Option<ListDigest> {
        Some(ListDigest {
            rows,
            sha256: vec![0xd0; 32],
            ..ListDigest::default()
        })
    }

    #[test]
    fn a_z_report_on_paper() {
        let report = DayReport {
            store_id: "gangnam".into(),
            business_date: "2026-03-02".into(),
            z_number: 42,
            sales: block(5, 38_700, 7_000, 2_490),
            refunds_same_day: block(1, 5_000, 772, 384),
            turnover: block(4, 33_700, 6_228, 2_106).map(|block| Block {
                count: None,
                ..block
            }),
            tenders: vec![TenderSales {
                kind: TenderKind::Cash.into(),
                taken: won(16_700),
                returned: won(10_200),
                net: won(6_500),
            }],
            drawers: vec![DrawerSales {
                drawer_id: "main".into(),
                float: won(100_000),
                carried: won(100_500),
                opening_difference: won(-500),
                expected: won(144_500),
                ..DrawerSales::default()
            }],
            items: digest(1),
            categories: digest(1),
            hours: vec![HourSales {
                hour: "2026-03-02T09:00+09:00".into(),
                orders: 5,
                net: won(31_700),
                ..HourSales::default()
            }],
            discounts: digest(1),
            carried_in: 1,
            completed: 3,
            cancelled: 2,
            carried_out: 1,
            first_ticket: 1,
            last_ticket: 5,
            first_document: 7,
            last_document: 15,
            grand_total_sales: won(5_031_700),
            grand_total_returns: won(138_928),
            grand_total: won(4_892_772),
            ..DayReport::default()
        };
        let long = "A name that is as long as a name of an item may well be on a menu";
        let mut lists = DayLists {
            items: vec![ItemSales {
                sku: "latte".into(),
                name: Some(LocalizedText {
                    text: [("ko".into(), "라떼".into())].into(),
                }),
                units: 3,
                net: won(12_682),
                ..ItemSales::default()
            }],
            categories: vec![CategorySales {
                category: "coffee".into(),
                units: 3,
                net: won(12_682),
                ..CategorySales::default()
            }],
            discounts: vec![DiscountSales {
                source: DiscountSource::Coupon.into(),
                discount_id: "thousand-off".into(),
                count: 1,
                amount: won(1_000),
            }],
            more: false,
        };
        let name = Some(LocalizedText {
            text: [("en".into(), long.into())].into(),
        });
        lists.items.push(ItemSales {
            name,
            ..lists.items[0].clone()
        });
        let differences = [FigureDifference {
            figure: "carried_out".into(),
            recorded: 1,
            projected: 2,
        }];
        insta::assert_snapshot!(print(&report, &lists, &differences));
    }
    #[test]
    fn an_hour_that_a_clock_change_repeats_is_printed_as_two() {
        let hour = |hour: &str, orders| HourSales {
            hour: hour.into(),
            orders,
            ..HourSales::default()
        };
        let report = DayReport {
            hours: vec![
                hour("2016-10-30T01:00+01:00", 3),
                hour("2016-10-30T01:00+00:00", 2),
                hour("2016-10-30T02:00+00:00", 1),
            ],
            ..DayReport::default()
        };
        let print = print(&report, &DayLists::default(), &[]);
        for line in ["01:00+01:00 x3 ", "01:00+00:00 x2 ", "02:00 x1 "] {
            assert_eq!(print.matches(line).count(), 1, "{line:?} in\n{print}");
        }
    }
}
