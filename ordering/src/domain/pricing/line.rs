//! One line of a draft: what the menu says of it, and what of it a till says itself.

use std::collections::BTreeSet;

use contract::event::{LineOption, OrderLine, Pricing, ServiceMode};
use contract::{Money, MoneyError, Reason, Rejection, Slug};
use jiff::civil::Date;

use super::out_of_range;
use crate::catalog::{Item, Store, Text};
use crate::domain::command::{Draft, DraftLine};
use crate::domain::{Flag, tax};

/// Category of an item that the menu does not have, where the till states none either.
const UNKNOWN_CATEGORY: &str = "unknown";
/// Language of a name that is only a code, as BCP 47 calls it: undetermined.
const UNDETERMINED: &str = "und";

/// Prices draft line `index`, before discounts. What a till has sold is never refused for what the menu says: it is flagged.
pub(super) fn price<'s>(
    draft: &Draft,
    index: usize,
    store: &'s Store,
    on: Date,
    flags: &mut BTreeSet<Flag>,
) -> Result<(OrderLine, Option<&'s Item>), Rejection> {
    let line = &draft.lines[index];
    let at_till = draft.pricing == Pricing::Till;
    let item = store.menu.items.get(&line.sku);
    match item {
        None if at_till => {
            flags.insert(Flag::UnknownItem);
        }
        None => {
            return Err(Rejection::field(
                Reason::UnknownItem,
                format!("draft.lines[{index}].sku"),
                format!("the menu has no item {}", line.sku),
            )
            .with("sku", &line.sku));
        }
        Some(item) if item.sold_out && !at_till => {
            return Err(Rejection::field(
                Reason::SoldOut,
                format!("draft.lines[{index}].sku"),
                format!("{} is sold out", line.sku),
            )
            .with("sku", &line.sku));
        }
        Some(_) => {}
    }
    let options = options(index, line, item, at_till, flags)?;
    let unit_price = unit_price(index, line, item, &options, flags)?;
    let mode = match line.service_mode.unwrap_or(draft.service_mode) {
        ServiceMode::Unspecified => ServiceMode::EatIn,
        mode => mode,
    };
    let own = line.till_item.as_ref();
    let stated = own.and_then(|own| own.tax_class.as_ref());
    let class = tax_class(store, item, stated, mode, flags);
    let tax = tax::of_class(&store.menu, class, on, draft.pricing)
        .map_err(|refusal| refusal.with("sku", &line.sku))?;

    let gross = unit_price
        .times(line.quantity.into())
        .map_err(out_of_range)?;
    let (name, category) = match item {
        Some(item) => (item.name.clone(), item.category.to_string()),
        None => (
            own.map(|own| own.name.clone())
                .filter(|name| !name.is_empty())
                .unwrap_or_else(|| unnamed(&line.sku)),
            own.and_then(|own| own.category.as_ref())
                .map_or_else(|| UNKNOWN_CATEGORY.to_owned(), ToString::to_string),
        ),
    };
    let priced = OrderLine {
        line_id: line.line_id.to_string(),
        sku: line.sku.to_string(),
        name,
        category,
        quantity: line.quantity,
        options,
        service_mode: mode.into(),
        unit_price: unit_price.minor(),
        gross: gross.minor(),
        discount: 0,
        net: gross.minor(),
        tax_class: tax.class,
        tax_kind: tax.kind.into(),
        tax_rate_bp: tax.rate_bp,
        supply: 0,
    };
    Ok((priced, item))
}

fn unnamed(id: &Slug) -> Text {
    Text::from([(UNDETERMINED.to_owned(), id.to_string())])
}

fn options(
    index: usize,
    line: &DraftLine,
    item: Option<&Item>,
    at_till: bool,
    flags: &mut BTreeSet<Flag>,
) -> Result<Vec<LineOption>, Rejection> {
    let mut options: Vec<LineOption> = Vec::with_capacity(line.options.len());
    for (option_index, wanted) in line.options.iter().enumerate() {
        let field = format!("draft.lines[{index}].options[{option_index}]");
        let id = &wanted.option_id;
        if options
            .iter()
            .any(|earlier| earlier.option_id == id.as_str())
        {
            return Err(Rejection::field(
                Reason::OptionNotAllowed,
                format!("{field}.option_id"),
                format!("{id} is named twice"),
            ));
        }
        let known = item.and_then(|item| item.options.iter().find(|option| option.id == *id));
        match known {
            Some(option) if wanted.quantity > option.max_quantity => {
                if !at_till {
                    let description = format!(
                        "at most {} of {id} on one {}",
                        option.max_quantity, line.sku
                    );
                    return Err(Rejection::field(
                        Reason::OptionNotAllowed,
                        format!("{field}.quantity"),
                        description,
                    ));
                }
                flags.insert(Flag::QuantityOdd);
            }
            Some(_) => {}
            None if at_till => {
                flags.insert(Flag::UnknownOption);
            }
            None => {
                return Err(Rejection::field(
                    Reason::UnknownOption,
                    format!("{field}.option_id"),
                    format!("{} has no option {id}", line.sku),
                )
                .with("sku", &line.sku)
                .with("option_id", id));
            }
        }
        options.push(LineOption {
            option_id: id.to_string(),
            name: known.map_or_else(|| unnamed(id), |option| option.name.clone()),
            quantity: wanted.quantity,
            // The menu does not know what this option costs; the till's price of the unit includes it.
            unit_price: known.map_or(0, |option| option.price_delta.minor()),
        });
    }
    Ok(options)
}

/// Price of one unit with its options: the till's where it gives one, else the menu's.
fn unit_price(
    index: usize,
    line: &DraftLine,
    item: Option<&Item>,
    options: &[LineOption],
    flags: &mut BTreeSet<Flag>,
) -> Result<Money, Rejection> {
    // Without the item, or one of its options, the menu has no price to compare with the till's.
    let known = item.filter(|item| {
        line.options
            .iter()
            .all(|wanted| item.options.iter().any(|own| own.id == wanted.option_id))
    });
    let of_menu = known
        .map(|item| menu_price(item, options))
        .transpose()
        .map_err(out_of_range)?;
    let price = match (line.till_unit_price, of_menu) {
        (Some(price), of_menu) => {
            if of_menu.is_some_and(|of_menu| of_menu != price) {
                flags.insert(Flag::TillPriceDiffers);
            }
            price
        }
        (None, Some(price)) => price,
        (None, None) => {
            return Err(Rejection::field(
                Reason::InvalidArgument,
                format!("draft.lines[{index}].till_unit_price"),
                "is required with PRICING_TILL",
            ));
        }
    };
    if price < Money::ZERO {
        return Err(Rejection::field(
            Reason::OptionNotAllowed,
            format!("draft.lines[{index}].options"),
            "with these options the price would be negative",
        ));
    }
    Ok(price)
}

fn menu_price(item: &Item, options: &[LineOption]) -> Result<Money, MoneyError> {
    options.iter().try_fold(item.price, |price, option| {
        price.plus(Money::new(option.unit_price).times(option.quantity.into())?)
    })
}

/// The class that the till states, if the catalog has it; else the item's; else the one that the menu names for what it does not have.
fn tax_class<'a>(
    store: &'a Store,
    item: Option<&'a Item>,
    stated: Option<&'a Slug>,
    mode: ServiceMode,
    flags: &mut BTreeSet<Flag>,
) -> &'a Slug {
    let of_menu = item.map_or(&store.menu.fallback_tax, |item| item.tax_class(mode));
    match stated {
        Some(stated) if store.menu.tax_classes.contains_key(stated) => {
            if item.is_some() && stated != of_menu {
                flags.insert(Flag::TillTaxDiffers);
            }
            stated
        }
        Some(_) => {
            flags.insert(Flag::UnknownTaxClass);
            of_menu
        }
        None => of_menu,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use contract::event::{OrderLine, TaxKind};

    use super::*;
    use crate::domain::fixture::{
        draft, line, morning, option, percent, shop, slug, sold, till_draft, till_item,
    };
    use crate::domain::pricing::{self, Priced};

    fn price_one(draft: &Draft) -> Result<(OrderLine, BTreeSet<Flag>), Rejection> {
        let Priced { lines, flags, .. } = pricing::price(draft, &shop(""), morning(), false)?;
        Ok((lines[0].clone(), flags))
    }

    fn refusal(draft: &Draft) -> Reason {
        price_one(draft).unwrap_err().reason
    }

    fn with(line: DraftLine, options: &[(&str, i32)]) -> DraftLine {
        let options = options.iter().map(|(id, quantity)| option(id, *quantity));
        DraftLine {
            options: options.collect(),
            ..line
        }
    }

    #[test]
    fn options_change_the_price_of_each_unit() {
        let two = draft(vec![with(
            line("americano", 2),
            &[("shot", 2), ("small", 1)],
        )]);
        let (line, flags) = price_one(&two).unwrap();
        assert_eq!(
            (line.unit_price, line.gross),
            (4_500 + 2 * 500 - 300, 10_400)
        );
        assert_eq!(flags, BTreeSet::new());
    }

    #[test]
    fn what_the_menu_does_not_have_or_allow_is_refused() {
        let server = |line| refusal(&draft(vec![line]));
        assert_eq!(server(line("tea", 1)), Reason::UnknownItem);
        assert_eq!(server(line("cake", 1)), Reason::SoldOut);
        assert_eq!(
            server(with(line("latte", 1), &[("shot", 1)])),
            Reason::UnknownOption
        );
        assert_eq!(
            server(with(line("americano", 1), &[("shot", 3)])),
            Reason::OptionNotAllowed
        );
        assert_eq!(
            server(with(line("americano", 1), &[("shot", 1), ("shot", 1)])),
            Reason::OptionNotAllowed
        );
    }

    #[test]
    fn an_offline_sale_of_what_the_catalog_no_longer_has_is_recorded_and_flagged() {
        // Given nothing but the sku, then all that a till knows.
        let tea = sold("tea", 2, 4_800);
        let (line, flags) =
            price_one(&till_draft(vec![with(tea.clone(), &[("honey", 2)])])).unwrap();
        assert_eq!(
            flags,
            BTreeSet::from([Flag::UnknownItem, Flag::UnknownOption])
        );
        assert_eq!((line.unit_price, line.gross), (4_800, 9_600));
        assert_eq!(line.name, Text::from([("und".into(), "tea".into())]));
        assert_eq!(line.category, "unknown");
        // The first standard class of the catalog, although an exempt one stands before it.
        assert_eq!((line.tax_class.as_str(), line.tax_rate_bp), ("std", 1_000));
        assert_eq!(
            (line.options[0].quantity, line.options[0].unit_price),
            (2, 0)
        );
        assert_eq!(line.options[0].name["und"], "honey");

        let known = DraftLine {
            till_item: Some(till_item("차", "tea", "red")),
            ..tea.clone()
        };
        let (line, flags) = price_one(&till_draft(vec![known])).unwrap();
        assert_eq!(flags, BTreeSet::from([Flag::UnknownItem]));
        assert_eq!(
            (line.name["ko"].as_str(), line.category.as_str()),
            ("차", "tea")
        );
        assert_eq!(
            (line.tax_class.as_str(), line.tax_kind()),
            ("red", TaxKind::Reduced)
        );

        let strange = DraftLine {
            till_item: Some(till_item("차", "tea", "luxury")),
            ..tea
        };
        let (line, flags) = price_one(&till_draft(vec![strange])).unwrap();
        assert_eq!(
            flags,
            BTreeSet::from([Flag::UnknownItem, Flag::UnknownTaxClass])
        );
        assert_eq!(line.tax_class, "std");
    }

    #[test]
    fn an_offline_sale_is_never_refused_for_what_the_menu_says() {
        let odd = |line| price_one(&till_draft(vec![line])).unwrap().1;
        let none = BTreeSet::new();
        assert_eq!(odd(sold("cake", 1, 6_500)), none, "sold out by now");
        assert_eq!(odd(sold("latte", 1, 5_000)), none);
        assert_eq!(
            odd(sold("latte", 1, 4_000)),
            BTreeSet::from([Flag::TillPriceDiffers])
        );
        assert_eq!(
            odd(with(sold("americano", 1, 6_000), &[("shot", 3)])),
            BTreeSet::from([Flag::QuantityOdd])
        );
        // The menu has no price of this option, so the till's cannot differ from it.
        assert_eq!(
            odd(with(sold("latte", 1, 5_500), &[("shot", 1)])),
            BTreeSet::from([Flag::UnknownOption])
        );
        let taxed = DraftLine {
            till_item: Some(till_item("Latte of the till", "tea", "ex")),
            ..sold("latte", 1, 5_000)
        };
        let (line, flags) = price_one(&till_draft(vec![taxed])).unwrap();
        assert_eq!(flags, BTreeSet::from([Flag::TillTaxDiffers]));
        assert_eq!(
            line.tax_class, "ex",
            "as the receipt that the customer holds"
        );
        assert_eq!(
            (line.name["en"].as_str(), line.category.as_str()),
            ("Latte", "coffee")
        );
    }

    #[test]
    fn promotions_of_an_offline_sale_are_what_the_till_states() {
        let promotions = r#"
            { id = "now", name = { en = "N" }, kind = "line", percent_bp = 1000 },
            { id = "known", name = { en = "K" }, kind = "coupon", amount = 1000 },
        "#;
        let mut sale = till_draft(vec![sold("latte", 1, 5_000)]);
        sale.order_discounts.push(percent("then", 2_000));
        for (code, flags) in [
            ("known", BTreeSet::new()),
            ("gone", BTreeSet::from([Flag::UnknownPromotion])),
        ] {
            sale.promotion_codes = vec![slug(code)];
            let priced = pricing::price(&sale, &shop(promotions), morning(), false).unwrap();
            assert_eq!((priced.net.minor(), priced.flags), (4_000, flags));
        }
    }

    #[test]
    fn a_lines_service_mode_decides_its_tax_class() {
        let class = |own: Option<ServiceMode>, of_order: ServiceMode| {
            let line = DraftLine {
                service_mode: own,
                ..line("sandwich", 1)
            };
            let draft = Draft {
                service_mode: of_order,
                ..draft(vec![line])
            };
            price_one(&draft).unwrap().0.tax_class
        };
        let (eat_in, take_away) = (ServiceMode::EatIn, ServiceMode::TakeAway);
        assert_eq!(class(None, eat_in), "std");
        assert_eq!(class(None, take_away), "red");
        assert_eq!(class(Some(eat_in), take_away), "std");
        assert_eq!(class(Some(take_away), eat_in), "red");
    }
}
