//! A day's figures as a snapshot holds them.

use contract::list_digest::ListAmounts;

use super::{DayFigures, Drawer, List, Sums};

#[derive(Clone, PartialEq, prost::Message)]
pub struct FiguresImage {
    #[prost(message, optional, tag = "1")]
    sales: Option<SumsImage>,
    #[prost(message, optional, tag = "2")]
    voids: Option<SumsImage>,
    #[prost(message, optional, tag = "3")]
    refunds_same_day: Option<SumsImage>,
    #[prost(message, optional, tag = "4")]
    refunds_prior_days: Option<SumsImage>,
    #[prost(message, repeated, tag = "5")]
    tenders: Vec<TenderImage>,
    #[prost(message, repeated, tag = "6")]
    drawers: Vec<DrawerImage>,
    #[prost(message, repeated, tag = "7")]
    items: Vec<RowImage>,
    #[prost(message, repeated, tag = "8")]
    categories: Vec<RowImage>,
    #[prost(message, repeated, tag = "9")]
    hours: Vec<RowImage>,
    #[prost(message, repeated, tag = "10")]
    discounts: Vec<RowImage>,
    #[prost(sint64, tag = "11")]
    carried_in: i64,
    #[prost(sint64, tag = "12")]
    completed: i64,
    #[prost(sint64, tag = "13")]
    cancelled: i64,
    #[prost(sint64, tag = "14")]
    first_document: i64,
    #[prost(sint64, tag = "15")]
    last_document: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct SumsImage {
    #[prost(sint64, tag = "1")]
    count: i64,
    #[prost(sint64, tag = "2")]
    gross: i64,
    #[prost(sint64, tag = "3")]
    discount: i64,
    #[prost(sint64, tag = "4")]
    net: i64,
    #[prost(message, repeated, tag = "5")]
    taxes: Vec<TaxImage>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct TaxImage {
    #[prost(string, tag = "1")]
    tax_class: String,
    #[prost(uint32, tag = "2")]
    rate_bp: u32,
    #[prost(int32, tag = "3")]
    kind: i32,
    #[prost(sint64, tag = "4")]
    net: i64,
    #[prost(sint64, tag = "5")]
    supply: i64,
    #[prost(sint64, tag = "6")]
    vat: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct TenderImage {
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(sint64, tag = "2")]
    taken: i64,
    #[prost(sint64, tag = "3")]
    returned: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct DrawerImage {
    #[prost(string, tag = "1")]
    drawer_id: String,
    #[prost(sint64, tag = "2")]
    carried: i64,
    #[prost(sint64, optional, tag = "3")]
    stated: Option<i64>,
    #[prost(sint64, tag = "4")]
    tendered: i64,
    #[prost(sint64, tag = "5")]
    change: i64,
    #[prost(sint64, tag = "6")]
    returned: i64,
    #[prost(sint64, tag = "7")]
    paid_in: i64,
    #[prost(sint64, tag = "8")]
    paid_out: i64,
    #[prost(sint64, optional, tag = "9")]
    counted: Option<i64>,
}

/// A row of a list, or an hour with its orders.
#[derive(Clone, PartialEq, prost::Message)]
struct RowImage {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(sint64, tag = "2")]
    count: i64,
    #[prost(sint64, tag = "3")]
    gross: i64,
    #[prost(sint64, tag = "4")]
    discount: i64,
    #[prost(sint64, tag = "5")]
    net: i64,
}

impl From<&DayFigures> for FiguresImage {
    fn from(figures: &DayFigures) -> Self {
        // Named one by one, so that a new field is not forgotten.
        let DayFigures {
            sales,
            voids,
            refunds_same_day,
            refunds_prior_days,
            tenders,
            drawers,
            items,
            categories,
            hours,
            discounts,
            carried_in,
            completed,
            cancelled,
            first_document,
            last_document,
        } = figures;
        let tenders = tenders.iter().map(|(kind, (taken, returned))| TenderImage {
            kind: *kind,
            taken: *taken,
            returned: *returned,
        });
        let hours = hours
            .iter()
            .map(|(hour, (orders, gross, discount, net))| RowImage {
                key: hour.clone(),
                count: *orders,
                gross: *gross,
                discount: *discount,
                net: *net,
            });
        Self {
            sales: Some(sales.into()),
            voids: Some(voids.into()),
            refunds_same_day: Some(refunds_same_day.into()),
            refunds_prior_days: Some(refunds_prior_days.into()),
            tenders: tenders.collect(),
            drawers: drawers
                .iter()
                .map(|(id, drawer)| drawer.image(id))
                .collect(),
            items: rows(items),
            categories: rows(categories),
            hours: hours.collect(),
            discounts: rows(discounts),
            carried_in: *carried_in,
            completed: *completed,
            cancelled: *cancelled,
            first_document: *first_document,
            last_document: *last_document,
        }
    }
}

impl From<FiguresImage> for DayFigures {
    fn from(image: FiguresImage) -> Self {
        let tenders = image.tenders.iter();
        let hours = image.hours.into_iter();
        Self {
            sales: image.sales.unwrap_or_default().into(),
            voids: image.voids.unwrap_or_default().into(),
            refunds_same_day: image.refunds_same_day.unwrap_or_default().into(),
            refunds_prior_days: image.refunds_prior_days.unwrap_or_default().into(),
            tenders: tenders
                .map(|tender| (tender.kind, (tender.taken, tender.returned)))
                .collect(),
            drawers: image.drawers.into_iter().map(drawer).collect(),
            items: list(image.items),
            categories: list(image.categories),
            hours: hours
                .map(|row| (row.key, (row.count, row.gross, row.discount, row.net)))
                .collect(),
            discounts: list(image.discounts),
            carried_in: image.carried_in,
            completed: image.completed,
            cancelled: image.cancelled,
            first_document: image.first_document,
            last_document: image.last_document,
        }
    }
}

impl From<&Sums> for SumsImage {
    fn from(sums: &Sums) -> Self {
        let Sums {
            count,
            gross,
            discount,
            net,
            taxes,
        } = sums;
        let taxes =
            taxes.iter().map(
                |((tax_class, rate_bp), (kind, [net, supply, vat]))| TaxImage {
                    tax_class: tax_class.clone(),
                    rate_bp: *rate_bp,
                    kind: *kind,
                    net: *net,
                    supply: *supply,
                    vat: *vat,
                },
            );
        Self {
            count: *count,
            gross: *gross,
            discount: *discount,
            net: *net,
            taxes: taxes.collect(),
        }
    }
}

impl From<SumsImage> for Sums {
    fn from(image: SumsImage) -> Self {
        let taxes = image.taxes.into_iter().map(|tax| {
            let key = (tax.tax_class, tax.rate_bp);
            (key, (tax.kind, [tax.net, tax.supply, tax.vat]))
        });
        Self {
            count: image.count,
            gross: image.gross,
            discount: image.discount,
            net: image.net,
            taxes: taxes.collect(),
        }
    }
}

impl Drawer {
    fn image(&self, drawer_id: &str) -> DrawerImage {
        let Self {
            carried,
            stated,
            tendered,
            change,
            returned,
            paid_in,
            paid_out,
            counted,
        } = self;
        DrawerImage {
            drawer_id: drawer_id.to_owned(),
            carried: *carried,
            stated: *stated,
            tendered: *tendered,
            change: *change,
            returned: *returned,
            paid_in: *paid_in,
            paid_out: *paid_out,
            counted: *counted,
        }
    }
}

fn drawer(image: DrawerImage) -> (String, Drawer) {
    let drawer = Drawer {
        carried: image.carried,
        stated: image.stated,
        tendered: image.tendered,
        change: image.change,
        returned: image.returned,
        paid_in: image.paid_in,
        paid_out: image.paid_out,
        counted: image.counted,
    };
    (image.drawer_id, drawer)
}

fn rows(list: &List) -> Vec<RowImage> {
    list.iter()
        .map(|(key, amounts)| RowImage {
            key: key.clone(),
            count: amounts.count,
            gross: amounts.gross,
            discount: amounts.discount,
            net: amounts.net,
        })
        .collect()
}

fn list(rows: Vec<RowImage>) -> List {
    rows.into_iter()
        .map(|row| {
            let amounts = ListAmounts {
                count: row.count,
                gross: row.gross,
                discount: row.discount,
                net: row.net,
            };
            (row.key, amounts)
        })
        .collect()
}
