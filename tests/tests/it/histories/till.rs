//! What tills come up with, by chance.

use anyhow::{Context as _, Result, ensure};
use contract::card::{CardDigest, CardKeys};
use contract::event::{Channel, OrderPlaced, Pricing, ServiceMode, TenderKind};
use contract::{Money, OrderId, Reason, RequestId, Slug};
use jiff::{SignedDuration, Timestamp};
use ordering::catalog::{DiscountValue, Store};
use ordering::domain::{
    Draft, DraftLine, DraftOption, DraftTender, ManualDiscount, MemberKey, MemberStanding,
    PlaceOrder, TillItem, place_order,
};
use ordering::service::QuoteKey;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use uuid::Uuid;

use super::menus::SKUS;

/// How long a quote is to hold.
const QUOTE_VALIDITY: SignedDuration = SignedDuration::from_mins(15);
const CARD_KEYS: &str = "k2:ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=,k1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

pub fn slug(text: &str) -> Result<Slug> {
    Ok(Slug::new(text)?)
}

/// The member by its number.
pub fn member(number: u8) -> Uuid {
    uuid::Builder::from_unix_timestamp_millis(1_400_000_000_000, &[number; 10]).into_uuid()
}

/// A quote as a till holds it.
pub struct Quote {
    draft: Draft,
    token: String,
    promised: OrderPlaced,
    expires: Timestamp,
}

pub struct Till {
    pub random: StdRng,
    cards: CardKeys,
    quotes: QuoteKey,
}

impl Till {
    pub fn new(seed: u64) -> Result<Self> {
        Ok(Self {
            random: StdRng::seed_from_u64(seed),
            cards: CardKeys::parse(CARD_KEYS)?,
            quotes: QuoteKey::new(b"a key that two instances share".to_vec()),
        })
    }

    pub fn chance(&mut self, probability: f64) -> bool {
        self.random.random_bool(probability)
    }

    /// Any of them.
    pub fn one_of<T: Clone>(&mut self, choices: &[T]) -> Result<T> {
        choices
            .choose(&mut self.random)
            .cloned()
            .context("a choice")
    }

    /// An id made then, of the history's own chance, so that a seed is the same history again.
    pub fn id(&mut self, made: Timestamp) -> Uuid {
        let millis = u64::try_from(made.as_millisecond()).unwrap_or_default();
        uuid::Builder::from_unix_timestamp_millis(millis, &self.random.random()).into_uuid()
    }

    pub fn request(&mut self, now: Timestamp) -> RequestId {
        RequestId::from_uuid(self.id(now))
    }

    /// A sale at the menu's prices. What it costs is asked first, as a till does; prices and rates may change between asking and placing,
    /// and then it is refused.
    pub fn sale(&mut self, store: &Store, now: Timestamp) -> Result<PlaceOrder> {
        let mut draft = self.draft(store, Pricing::Server)?;
        let (member, membership) = self.membership()?.unzip();
        draft.member = member;
        let due = place_order::price(&draft, store, now, membership.as_ref())
            .map_or(0, |priced| priced.net);
        let expected_total = self.chance(0.3).then_some(Money::new(due));
        Ok(PlaceOrder {
            order_id: OrderId::from_uuid(self.id(now)),
            draft,
            tenders: self.tenders(due)?,
            expected_total,
            membership,
            quoted: None,
        })
    }

    /// A sale that happened at `made` while the till was alone: at its own prices, of what it knew.
    pub fn offline_sale(
        &mut self,
        store: &Store,
        now: Timestamp,
        made: Timestamp,
    ) -> Result<PlaceOrder> {
        let draft = self.draft(store, Pricing::Till)?;
        // Whatever it sold is never refused for what the menu says.
        let due = place_order::price(&draft, store, now, None)?.net;
        Ok(PlaceOrder {
            order_id: OrderId::from_uuid(self.id(made)),
            draft,
            tenders: self.tenders(due)?,
            expected_total: None,
            membership: None,
            quoted: None,
        })
    }

    /// A quote by this menu, unless what is asked for cannot be sold.
    pub fn quote(&mut self, store: &Store, now: Timestamp) -> Result<Option<Quote>> {
        let mut draft = self.draft(store, Pricing::Server)?;
        let (member, standing) = self.membership()?.unzip();
        draft.member = member;
        let Ok(promised) = place_order::price(&draft, store, now, standing.as_ref()) else {
            return Ok(None);
        };
        let expires = now + QUOTE_VALIDITY;
        let token = self
            .quotes
            .seal(&draft, &promised, expires)
            .context("a token")?;
        Ok(Some(Quote {
            draft,
            token,
            promised,
            expires,
        }))
    }

    /// The order as quoted; `None` once the quote has expired.
    pub fn quoted_sale(&mut self, quote: Quote, now: Timestamp) -> Result<Option<PlaceOrder>> {
        let quoted = match self.quotes.open(&quote.token, &quote.draft, now) {
            Ok(quoted) => quoted,
            Err(refusal) => {
                ensure!(
                    refusal.reason == Reason::QuoteExpired && now >= quote.expires,
                    "{refusal}"
                );
                return Ok(None);
            }
        };
        ensure!(now < quote.expires, "a quote held for longer than it may");
        ensure!(quoted == quote.promised, "a token holds another promise");
        Ok(Some(PlaceOrder {
            order_id: OrderId::from_uuid(self.id(now)),
            tenders: self.tenders(quoted.net)?,
            draft: quote.draft,
            expected_total: None,
            membership: None,
            quoted: Some(Box::new(quoted)),
        }))
    }

    /// A member who was named, and what the member service said.
    fn membership(&mut self) -> Result<Option<(MemberKey, MemberStanding)>> {
        let number = self.random.random_range(1..=9);
        let key = if self.chance(0.5) {
            MemberKey::MemberId(member(number))
        } else {
            let card = CardDigest::of_token(&format!("card-of-{number}"))?;
            MemberKey::Card(self.cards.hashes(card))
        };
        Ok(match self.random.random_range(0..10) {
            0..=1 => Some((key, self.known(number))),
            2 => Some((key, MemberStanding::NotMember)),
            3..=4 => Some((key.clone(), MemberStanding::Unverified(key))),
            _ => None,
        })
    }

    fn known(&mut self, number: u8) -> MemberStanding {
        MemberStanding::Member {
            member_id: member(number),
            tier: "gold".to_owned(),
            points_rate_bp: self.random.random_range(0..=1_000),
            member_prices: self.chance(0.8),
        }
    }

    /// What the member service says of an order that it could not answer for in time.
    pub fn late_answer(&mut self) -> Result<MemberStanding> {
        let number = self.random.random_range(1..=9);
        Ok(match self.random.random_range(0..10) {
            0..=4 => self.known(number),
            5..=8 => MemberStanding::NotMember,
            _ => MemberStanding::Unverified(MemberKey::MemberId(member(number))),
        })
    }

    fn draft(&mut self, store: &Store, pricing: Pricing) -> Result<Draft> {
        let count = self.random.random_range(1..=4);
        let lines = (0..count)
            .map(|index| match pricing {
                Pricing::Till => self.sold_line(index),
                _ => self.line(index, store),
            })
            .collect::<Result<_>>()?;
        let mut promotion_codes = match self.random.random_range(0..10) {
            0 => vec![slug("ten")?],
            1 => vec![slug("free")?],
            2 => vec![slug("free")?, slug("ten")?],
            _ => vec![],
        };
        if pricing == Pricing::Till && self.chance(0.2) {
            promotion_codes.push(slug("of-last-year")?);
        }
        Ok(Draft {
            store_id: store.id.clone(),
            terminal_id: slug("till-1")?,
            terminal_seq: 0,
            staff_id: None,
            channel: Channel::Counter,
            service_mode: self.one_of(&[ServiceMode::EatIn, ServiceMode::TakeAway])?,
            lines,
            order_discounts: self.discounts()?,
            promotion_codes,
            member: None,
            pricing,
        })
    }

    /// Rather of what the menu has.
    fn line(&mut self, index: i32, store: &Store) -> Result<DraftLine> {
        let on_sale: Vec<Slug> = store.menu.items.keys().cloned().collect();
        let sku = if self.chance(0.93) {
            self.one_of(&on_sale)?
        } else {
            slug(self.one_of(&SKUS)?)?
        };
        let mut options = Vec::new();
        if sku.as_str() == "coffee" && self.chance(0.4) {
            options.push(DraftOption {
                option_id: slug("shot")?,
                quantity: self.random.random_range(1..=3),
            });
        }
        if matches!(sku.as_str(), "coffee" | "tea") && self.chance(0.2) {
            options.push(DraftOption {
                option_id: slug("small")?,
                quantity: 1,
            });
        }
        Ok(DraftLine {
            line_id: slug(&format!("l{index}"))?,
            sku,
            quantity: self.random.random_range(1..=7),
            options,
            service_mode: None,
            discounts: self.discounts()?,
            till_unit_price: None,
            till_item: None,
        })
    }

    /// Of anything that was ever sold, by a till that knows better than any menu.
    fn sold_line(&mut self, index: i32) -> Result<DraftLine> {
        let sku = if self.chance(0.2) {
            "scone"
        } else {
            self.one_of(&SKUS)?
        };
        let mut options = Vec::new();
        for option in ["shot", "syrup"] {
            if self.chance(0.2) {
                options.push(DraftOption {
                    option_id: slug(option)?,
                    quantity: self.random.random_range(1..=9),
                });
            }
        }
        let till_item = if self.chance(0.5) {
            let tax_class =
                self.one_of(&[None, Some("std"), Some("red"), Some("zero"), Some("luxury")])?;
            let category = self.one_of(&[None, Some("drink"), Some("snack")])?;
            Some(TillItem {
                name: [("en".to_owned(), format!("{sku} of the till"))].into(),
                category: category.map(slug).transpose()?,
                tax_class: tax_class.map(slug).transpose()?,
            })
        } else {
            None
        };
        Ok(DraftLine {
            line_id: slug(&format!("l{index}"))?,
            sku: slug(sku)?,
            quantity: self.random.random_range(1..=7),
            options,
            service_mode: None,
            discounts: self.discounts()?,
            till_unit_price: Some(Money::new(self.random.random_range(0..700))),
            till_item,
        })
    }

    fn discounts(&mut self) -> Result<Vec<ManualDiscount>> {
        if !self.chance(0.1) {
            return Ok(vec![]);
        }
        let value = if self.chance(0.5) {
            DiscountValue::Percent(self.random.random_range(1..=10_000))
        } else {
            DiscountValue::Fixed(Money::new(self.random.random_range(1..=900)))
        };
        Ok(vec![ManualDiscount {
            discount_id: slug("goodwill")?,
            value,
            reason_code: slug("late")?,
            approver_id: slug("chief")?,
        }])
    }

    fn tenders(&mut self, due: i64) -> Result<Vec<DraftTender>> {
        let tender = |id: &str, kind, tendered: i64, drawer: Option<&str>| -> Result<DraftTender> {
            Ok(DraftTender {
                tender_id: slug(id)?,
                kind,
                scheme: String::new(),
                amount: None,
                tendered: Some(Money::new(tendered)),
                change: None,
                external_reference: String::new(),
                drawer_id: drawer.map(slug).transpose()?,
            })
        };
        if due == 0 {
            return Ok(vec![]);
        }
        let drawer = self.chance(0.3).then_some("second");
        Ok(match self.random.random_range(0..4) {
            0 => {
                let tendered = due + self.random.random_range(0..500);
                vec![tender("cash", TenderKind::Cash, tendered, drawer)?]
            }
            1 if due > 1 => {
                let card = self.random.random_range(1..due);
                let cash = due - card + self.random.random_range(0..300);
                vec![
                    tender("card", TenderKind::Card, card, None)?,
                    tender("cash", TenderKind::Cash, cash, drawer)?,
                ]
            }
            2 => vec![tender("mobile", TenderKind::Mobile, due, None)?],
            _ => vec![tender("card", TenderKind::Card, due, None)?],
        })
    }
}
