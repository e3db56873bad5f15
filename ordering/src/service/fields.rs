use std::fmt::Display;

use contract::api::types;
use contract::text::{first_deceptive, is_card_number};
use contract::{
    BusinessDate, Currency, Fields, Money, OrderId, Reason, Rejection, RequestId, Slug, StoreId,
    timestamp_from_proto,
};
use jiff::Timestamp;
use uuid::Uuid;

use crate::domain::MAX_AMOUNT_MINOR;
use crate::ledger::Stated;

const MAX_REFERENCE_BYTES: usize = 64;
const MAX_LANGUAGE_BYTES: usize = 35;
const MAX_NAME_BYTES: usize = 200;

/// The fields of a till's request. What is read of them stays in the log for ever, so a payment card's number is refused in every text;
/// and all amounts of a request are in one currency.
#[derive(Default)]
pub struct TillFields {
    fields: Fields,
    /// The currency of the request's amounts.
    stated: Option<Stated>,
}

/// Where a command comes from, by what it says itself.
#[derive(Debug, Clone, Default)]
pub struct Sender {
    pub terminal_id: Option<Slug>,
    pub staff_id: Option<Slug>,
    pub client_time: Option<Timestamp>,
    /// When it happened, if that was earlier.
    pub occurred_at: Option<Timestamp>,
}

/// What a request says, once all of it is well-formed.
#[derive(Debug)]
pub struct Said<T> {
    pub value: T,
    /// A currency that the ledger may not be in: refused once it is known that the command is not recorded.
    pub stated: Option<Stated>,
}

impl TillFields {
    /// What `read` makes of a request, unless something in it is wrong.
    pub fn read<T>(read: impl FnOnce(&mut Self) -> Option<T>) -> Result<Said<T>, Rejection> {
        let mut fields = Self::default();
        let value = read(&mut fields);
        Ok(Said {
            value: fields.fields.finish(value)?,
            stated: fields.stated,
        })
    }

    pub fn note(&mut self, field: impl Display, description: impl Display) {
        self.fields.note(field, description);
    }

    pub fn refuse(&mut self, reason: Reason, field: impl Display, description: impl Into<String>) {
        self.fields.refuse(reason, field, description);
    }

    pub fn take<T, E: Display>(&mut self, field: impl Display, read: Result<T, E>) -> Option<T> {
        self.fields.take(field, read)
    }

    pub fn at_most(&mut self, field: impl Display, count: usize, most: usize) {
        self.fields.at_most(field, count, most);
    }

    /// Notes the field if it is empty though it is needed.
    pub fn require(&mut self, field: impl Display, is_there: bool) {
        if !is_there {
            self.note(field, "is missing");
        }
    }

    pub fn store_id(&mut self, field: impl Display, text: &str) -> Option<StoreId> {
        self.no_card_number(&field, text);
        self.take(field, StoreId::new(text))
    }

    pub fn order_id(&mut self, text: &str) -> Option<OrderId> {
        self.fields.order_id(text)
    }

    pub fn request_id(&mut self, text: &str) -> Option<RequestId> {
        self.fields.request_id(text)
    }

    pub fn member_id(&mut self, field: impl Display, text: &str) -> Option<Uuid> {
        self.take(field, RequestId::parse(text))
            .map(RequestId::uuid)
    }

    pub fn business_date(&mut self, text: &str) -> Option<BusinessDate> {
        self.fields.business_date(text)
    }

    pub fn slug(&mut self, field: impl Display, text: &str) -> Option<Slug> {
        self.no_card_number(&field, text);
        self.take(field, Slug::new(text))
    }

    pub fn optional_slug(&mut self, field: impl Display, text: &str) -> Option<Slug> {
        if text.is_empty() {
            None
        } else {
            self.slug(field, text)
        }
    }

    /// Who calls from where, and when by their clock.
    pub fn sender(
        &mut self,
        terminal_id: &str,
        staff_id: &str,
        client_time: Option<&prost_types::Timestamp>,
    ) -> Sender {
        Sender {
            terminal_id: self.optional_slug("terminal_id", terminal_id),
            staff_id: self.optional_slug("staff_id", staff_id),
            client_time: self.time("client_time", client_time),
            occurred_at: None,
        }
    }

    pub fn time(
        &mut self,
        field: impl Display,
        time: Option<&prost_types::Timestamp>,
    ) -> Option<Timestamp> {
        let time = time?;
        let instant = timestamp_from_proto(time);
        if instant.is_none() {
            self.note(field, "is not a legal timestamp");
        }
        instant
    }

    /// An amount that is not negative, in the currency that all of the request's amounts are in.
    pub fn amount(&mut self, field: impl Display, money: &types::Money) -> Option<Money> {
        let other = match (Currency::new(&money.currency_code), &self.stated) {
            (Ok(currency), None) => {
                self.stated = Some(Stated {
                    field: field.to_string(),
                    currency,
                });
                None
            }
            (Ok(currency), Some(stated)) if stated.currency == currency => None,
            (_, Some(stated)) => Some(format!("other amounts are in {}", stated.currency)),
            (Err(error), None) => Some(error.to_string()),
        };
        if let Some(description) = other {
            self.refuse(Reason::WrongCurrency, field, description);
            return None;
        }
        if money.amount_minor > MAX_AMOUNT_MINOR {
            let description = format!("at most {MAX_AMOUNT_MINOR} minor units");
            self.refuse(Reason::AmountOutOfRange, field, description);
            return None;
        }
        self.take(field, Money::non_negative(money.amount_minor))
    }

    pub fn optional_amount(
        &mut self,
        field: impl Display,
        money: Option<&types::Money>,
    ) -> Option<Money> {
        money.and_then(|money| self.amount(field, money))
    }

    /// An amount that has to be there.
    pub fn required_amount(
        &mut self,
        field: impl Display,
        money: Option<&types::Money>,
    ) -> Option<Money> {
        self.require(&field, money.is_some());
        self.optional_amount(field, money)
    }

    /// A value of an enum, by its number. `None` where it is left open, or unknown, which is noted.
    pub fn chosen<T: TryFrom<i32> + PartialEq>(
        &mut self,
        field: impl Display,
        number: i32,
        unspecified: &T,
    ) -> Option<T> {
        let known = T::try_from(number).map_err(|_| "is not a known value");
        self.take(field, known).filter(|value| value != unspecified)
    }

    /// A value of an enum that may not be left open.
    pub fn named<T: TryFrom<i32> + PartialEq>(
        &mut self,
        field: impl Display,
        number: i32,
        unspecified: &T,
    ) -> Option<T> {
        let known = T::try_from(number)
            .ok()
            .filter(|value| value != unspecified);
        self.take(field, known.ok_or("is not a known value"))
    }

    /// A name in one language, as a catalog has them.
    pub fn name(&mut self, field: impl Display, language: &str, name: &str) {
        let is_tag = (1..=MAX_LANGUAGE_BYTES).contains(&language.len())
            && language
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if !is_tag {
            self.note(&field, "a name's language is a BCP 47 tag");
        }
        if name.trim().is_empty() || name.len() > MAX_NAME_BYTES || first_deceptive(name).is_some()
        {
            self.note(
                &field,
                format_args!(
                    "a name has 1 to {MAX_NAME_BYTES} bytes, without control or direction characters"
                ),
            );
        }
        self.no_card_number(&field, language);
        self.no_card_number(field, name);
    }

    pub fn reference(&mut self, field: impl Display, text: &str) {
        if text.len() > MAX_REFERENCE_BYTES
            || !text.bytes().all(|byte| (0x20..0x7f).contains(&byte))
        {
            self.note(
                &field,
                format_args!("at most {MAX_REFERENCE_BYTES} printable ASCII characters"),
            );
        }
        self.no_card_number(field, text);
    }

    fn no_card_number(&mut self, field: impl Display, text: &str) {
        if is_card_number(text) {
            self.note(
                field,
                "looks like a payment card's number, which is never recorded; for a payment use its approval number",
            );
        }
    }
}

/// Whether one of the items before has the same key.
pub fn is_repeated<T>(items: &[T], index: usize, key: impl Fn(&T) -> &str) -> bool {
    let (before, rest) = items.split_at(index);
    rest.first()
        .is_some_and(|item| before.iter().any(|earlier| key(earlier) == key(item)))
}
