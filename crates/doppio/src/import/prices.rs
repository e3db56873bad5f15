//! The price list: what articles are called, cost, and are taxed with.

use std::collections::BTreeMap;

use contract::{Currency, Money, Slug};
use ordering::catalog::MAX_UNIT_PRICE_MINOR;

use super::code::code;
use super::mapping::Mapping;
use super::mistake::{Mistakes, shown};
use super::number::{Rate, exact};
use super::sheet::{self, Column, Form};

/// As long as a catalog's names.
pub const MAX_NAME_BYTES: usize = 200;

pub const COLUMNS: [Column; 8] = [
    column("item", true),
    column("price_minor", false),
    column("price", false),
    column("currency", false),
    column("category", false),
    column("vat_percent", true),
    column("code", false),
    column("category_code", false),
];

pub const fn column(name: &'static str, required: bool) -> Column {
    Column { name, required }
}

/// A code and the name that it stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    pub code: Slug,
    pub name: String,
}

#[derive(Debug, Clone)]
pub struct Listed {
    pub category: Named,
    pub price: Money,
    pub rate: Rate,
}

/// Which name has which code: one each, whichever file says it.
#[derive(Debug, Default)]
pub struct Codes {
    by_name: BTreeMap<String, Slug>,
    by_code: BTreeMap<Slug, String>,
}

impl Codes {
    /// The code of a name: `given` by a file, or made from the name.
    pub fn claim(&mut self, name: &str, given: &str) -> Result<Named, String> {
        if name.is_empty() {
            return Err("is empty".to_owned());
        }
        if name.len() > MAX_NAME_BYTES {
            return Err(format!(
                "{} is longer than {MAX_NAME_BYTES} bytes",
                shown(name)
            ));
        }
        if let Some(known) = self.by_name.get(name)
            && (given.is_empty() || given == known.as_str())
        {
            return Ok(Named {
                code: known.clone(),
                name: name.to_owned(),
            });
        }
        let own = if given.is_empty() {
            code(name)
        } else {
            Slug::new(given)
        };
        let own = own.map_err(|error| format!("the code {} {error}", shown(given)))?;
        if let Some(known) = self.by_name.get(name) {
            return Err(format!("{} has the code {known}, here {own}", shown(name)));
        }
        if let Some(other) = self.by_code.get(&own) {
            return Err(format!(
                "the code {own} of {} is that of {} already",
                shown(name),
                shown(other)
            ));
        }
        self.by_name.insert(name.to_owned(), own.clone());
        self.by_code.insert(own.clone(), name.to_owned());
        Ok(Named {
            code: own,
            name: name.to_owned(),
        })
    }

    /// All of them by name.
    pub fn iter(&self) -> impl Iterator<Item = (&String, &Slug)> {
        self.by_name.iter()
    }
}

/// What both files are read with.
#[derive(Debug, Default)]
pub struct Vocabulary {
    pub items: Codes,
    pub categories: Codes,
}

/// By name of the article.
#[derive(Debug, Default)]
pub struct PriceList {
    pub items: BTreeMap<String, Listed>,
    pub currency: Option<Currency>,
}

/// An amount in its currency's own decimals, or in minor units, whichever column a row has.
pub fn amount(
    major: &str,
    minor: &str,
    currency: Currency,
    form: Form,
) -> Result<Option<Money>, String> {
    match (major, minor) {
        ("", "") => Ok(None),
        (_, "") => exact(major, currency.exponent().into(), form.decimal_comma)
            .map(Money::new)
            .map(Some)
            .map_err(|what| format!("{what} ({currency})")),
        ("", _) => exact(minor, 0, form.decimal_comma)
            .map(Money::new)
            .map(Some),
        _ => Err("is given twice, in minor units too".to_owned()),
    }
}

/// A price that an article may have.
pub fn price(price: Money) -> Result<Money, String> {
    if (0..=MAX_UNIT_PRICE_MINOR).contains(&price.minor()) {
        Ok(price)
    } else {
        Err(format!(
            "a price is from 0 to {MAX_UNIT_PRICE_MINOR} minor units"
        ))
    }
}

/// Reads a price list. `currency`: what the command line says of it.
pub fn read(
    file: &str,
    text: &str,
    form: Form,
    mapping: &Mapping,
    currency: Option<Currency>,
    vocabulary: &mut Vocabulary,
    mistakes: &mut Mistakes,
) -> PriceList {
    let mut list = PriceList {
        currency,
        ..PriceList::default()
    };
    let sheet = sheet::parse(
        file,
        text,
        form,
        &COLUMNS,
        &mapping.prices,
        mapping,
        mistakes,
    );
    let Some(sheet) = sheet else { return list };
    if sheet.has("price") == sheet.has("price_minor") {
        mistakes.note(
            file,
            1,
            "",
            "one of the columns price and price_minor has to be there",
        );
        return list;
    }
    for row in &sheet.rows {
        let cell = |column| sheet.cell(row, column);
        let mut wrong = |column: &str, what: String| mistakes.note(file, row.line, column, what);
        let stated = cell("currency");
        let own = if stated.is_empty() {
            list.currency
        } else {
            Currency::new(&stated)
                .map_err(|error| wrong("currency", format!("{}: {error}", shown(&stated))))
                .ok()
        };
        let Some(own) = own else {
            if stated.is_empty() {
                wrong(
                    "currency",
                    "is missing: add the column, or say --currency".to_owned(),
                );
            }
            continue;
        };
        let all = *list.currency.get_or_insert(own);
        if all != own {
            wrong(
                "currency",
                format!("is {own} here and {all} elsewhere: an import has one"),
            );
        }
        let item = vocabulary
            .items
            .claim(&cell("item"), &cell("code"))
            .map_err(|what| wrong("item", what))
            .ok();
        let category = category(
            &mut vocabulary.categories,
            &cell("category"),
            &cell("category_code"),
        )
        .map_err(|what| wrong("category", what))
        .ok();
        let rate = Rate::read(&cell("vat_percent"), form.decimal_comma)
            .map_err(|what| wrong("vat_percent", what))
            .ok();
        let column = if sheet.has("price") {
            "price"
        } else {
            "price_minor"
        };
        let price = amount(&cell("price"), &cell("price_minor"), own, form)
            .and_then(|price| price.ok_or_else(|| "is missing".to_owned()))
            .and_then(price)
            .map_err(|what| wrong(column, what))
            .ok();
        let (Some(item), Some(category), Some(rate), Some(price)) = (item, category, rate, price)
        else {
            continue;
        };
        let name = item.name.clone();
        let listed = Listed {
            category,
            price,
            rate,
        };
        if list.items.insert(name.clone(), listed).is_some() {
            wrong("item", format!("{} is priced twice", shown(&name)));
        }
    }
    list
}

/// A category; without one it is `none`.
pub fn category(codes: &mut Codes, name: &str, given: &str) -> Result<Named, String> {
    if name.is_empty() && given.is_empty() {
        codes.claim("none", "none")
    } else {
        codes.claim(name, given)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORM: Form = Form {
        delimiter: b',',
        decimal_comma: false,
        last_row_is_whole: false,
    };

    fn list(text: &str) -> (Vocabulary, PriceList, Vec<String>) {
        let (mut vocabulary, mut mistakes) = (Vocabulary::default(), Mistakes::default());
        let list = read(
            "p.csv",
            text,
            FORM,
            &Mapping::default(),
            None,
            &mut vocabulary,
            &mut mistakes,
        );
        let mistakes = mistakes.sorted().iter().map(ToString::to_string).collect();
        (vocabulary, list, mistakes)
    }

    #[test]
    fn codes_do_not_depend_on_the_order_of_the_list() {
        let header = "item,price_minor,currency,category,vat_percent\n";
        let (coffee, bakery) = (
            "아메리카노,4500,KRW,커피,10\n",
            "베이글,3900,KRW,베이커리,10\n",
        );
        let (one, list_of_one, mistakes) = list(&format!("{header}{coffee}{bakery}"));
        assert!(mistakes.is_empty(), "{mistakes:?}");
        let (other, list_of_other, _) = list(&format!("{header}{bakery}{coffee}"));
        assert_eq!(
            one.items.iter().collect::<Vec<_>>(),
            other.items.iter().collect::<Vec<_>>()
        );
        for (name, listed) in &list_of_one.items {
            assert_eq!(listed.category, list_of_other.items[name].category);
        }
        let codes: std::collections::BTreeSet<_> = one.items.iter().map(|(_, code)| code).collect();
        assert_eq!(codes.len(), 2);
        let (coffee, bakery) = (
            &list_of_one.items["아메리카노"],
            &list_of_one.items["베이글"],
        );
        assert_ne!(coffee.category.code, bakery.category.code);
        assert_eq!(bakery.category.name, "베이커리");
    }

    #[test]
    fn every_mistake_of_a_list_has_its_row_and_column() {
        let (_, _, mistakes) = list(
            "item,price,currency,category,vat_percent,code\nTea,2.505,GBP,drink,20,tea\nCake,3.00,EUR,food,8.875,tea\nTea,2.50,GBP,drink,20,tee\n\"\",1,GBP,food,5,x\nBun,-1,GBP,food,5,bun\nBun,1,GBP,food,5,bun\n Bun ,1,GBP,food,5,\n",
        );
        assert_eq!(
            mistakes,
            [
                "p.csv:2 price: \"2.505\" has more than 2 decimals (GBP)",
                "p.csv:3 currency: is EUR here and GBP elsewhere: an import has one",
                "p.csv:3 item: the code tea of \"Cake\" is that of \"Tea\" already",
                "p.csv:3 vat_percent: \"8.875\" has more than 2 decimals; a rate is in percent, exact to 0.01, or exempt",
                "p.csv:4 item: \"Tea\" has the code tea, here tee",
                "p.csv:5 item: is empty",
                "p.csv:6 price: a price is from 0 to 1000000000000 minor units",
                "p.csv:8 item: \"Bun\" is priced twice",
            ]
        );
    }
}
