use std::collections::BTreeSet;

use contract::event::TenderKind;
use contract::{BusinessDate, Money};
use sha2::{Digest, Sha256};

use super::command::{
    AttachMember, CancelOrder, CarryOver, ChangeStatus, CloseBusinessDay, Command, CountDrawer,
    Draft, DraftLine, DraftTender, ManualClose, ManualDiscount, MemberKey, NewStatus, PlaceOrder,
    RecordCashMovement, RefundOrder, RequestedReturn,
};
use super::tenders::{MAIN_DRAWER, face_value};
use crate::catalog::DiscountValue;

/// Version of the canonical form by which the content of new commands is recorded.
pub const CONTENT_HASH_VERSION: u32 = 1;
/// A form that no command was ever recorded by, so that tests have another one than today's.
#[cfg(test)]
pub(crate) const FORM_OF_TESTS: u32 = u32::MAX;

/// The forms that this code knows, today's first. What was recorded by a form is compared by it for ever, so none is ever taken away or changed:
/// another form is another version beside it.
#[cfg(not(test))]
const FORMS: [u32; 1] = [CONTENT_HASH_VERSION];
#[cfg(test)]
const FORMS: [u32; 2] = [CONTENT_HASH_VERSION, FORM_OF_TESTS];

/// The content was hashed by a form that a later version of this code knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the content hash is of form {0}, which this build does not know")]
pub struct UnknownForm(pub u32);

/// Tells a repeat of a command from another command under the same id. SHA-256 over the command's domain fields, each with its length,
/// never over protobuf bytes, by each form that this code knows.
///
/// The same content written otherwise is the same content:
/// - what is left out is its default: a line's service mode the order's, one of an option, a cash tender's drawer the main one;
/// - what was handed over is content; a tender's amount and change follow from it and the price, so that stating them is a condition, as
///   the expected total is. So is the drawer of a tender that is not cash: it has none;
/// - a discount of nothing is none;
/// - lists whose order has no meaning are sorted: options of a line, lines of a refund, returned tenders, counts, orders carried over.
///   The order of an order's lines, discounts, coupons and tenders has: it decides about the last won, and what is returned first.
///
/// A default that depends on what is in the log or in the catalog cannot be resolved, because it is another one later. Left out and
/// spelled out are then different contents: the tenders that a cancellation or a refund returns, `carry_over_all` and the names of all
/// open orders, the name, category and tax class that a till states and those of the menu.
///
/// Conditions (expected total, quote) and circumstances (clocks, trace) are no content. A card is content only in that there is one: the
/// hash of its token changes with the key, and the content of a command never does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentHash([[u8; 32]; FORMS.len()]);

impl ContentHash {
    /// `None` for commands of the system, which have no id either.
    #[must_use]
    pub fn of(command: &Command) -> Option<Self> {
        let mut hashes = [[0; 32]; FORMS.len()];
        for (hash, version) in hashes.iter_mut().zip(FORMS) {
            let mut canonical = Canonical::of_version(version);
            match command {
                Command::PlaceOrder(command) => canonical.place_order(command),
                Command::ChangeStatus(command) => canonical.change_status(command),
                Command::CancelOrder(command) => canonical.cancel_order(command),
                Command::AttachMember(command) => canonical.attach_member(command),
                Command::RefundOrder(command) => canonical.refund_order(command),
                Command::RecordCashMovement(command) => canonical.cash_movement(command),
                Command::CloseBusinessDay(CloseBusinessDay {
                    business_date,
                    manual: Some(manual),
                }) => canonical.close(*business_date, manual),
                Command::CountDrawer(command) => canonical.count_drawer(command),
                Command::ResolveMembership(_) | Command::CloseBusinessDay(_) => return None,
            }
            *hash = canonical.finish();
        }
        Some(Self(hashes))
    }

    /// By the form of [`CONTENT_HASH_VERSION`]: what is recorded with a new command.
    #[must_use]
    pub fn current(&self) -> [u8; 32] {
        self.0[0]
    }

    /// Whether a command whose content was recorded as this hash of this form has the same content.
    pub fn is(&self, version: u32, recorded: &[u8; 32]) -> Result<bool, UnknownForm> {
        FORMS
            .iter()
            .position(|known| *known == version)
            .map(|form| self.0[form] == *recorded)
            .ok_or(UnknownForm(version))
    }

    #[cfg(test)]
    pub(crate) fn by_form_of_tests(&self) -> [u8; 32] {
        self.0[1]
    }
}

/// What a quote is bound to, besides the card that it was priced for. Lives as long as a quote and is nowhere recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DraftHash(pub [u8; 32]);

impl DraftHash {
    #[must_use]
    pub fn of(draft: &Draft) -> Self {
        let mut canonical = Canonical::of_version(CONTENT_HASH_VERSION);
        canonical.text("draft");
        canonical.draft(draft);
        Self(canonical.finish())
    }
}

struct Canonical(Sha256);

impl Canonical {
    /// Each form begins with its version.
    fn of_version(version: u32) -> Self {
        let mut canonical = Self(Sha256::new());
        canonical.number(version.into());
        canonical
    }

    fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.0
            .update(u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_be_bytes());
        self.0.update(bytes);
    }

    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    fn number(&mut self, number: i64) {
        self.0.update(number.to_be_bytes());
    }

    fn code(&mut self, code: impl Into<i32>) {
        self.number(code.into().into());
    }

    /// Absent and empty are different things.
    fn optional<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        match value {
            None => self.0.update([0]),
            Some(value) => {
                self.0.update([1]);
                write(self, value);
            }
        }
    }

    fn list<T>(&mut self, items: &[T], mut write: impl FnMut(&mut Self, &T)) {
        self.number(i64::try_from(items.len()).unwrap_or(i64::MAX));
        for item in items {
            write(self, item);
        }
    }

    /// A list whose order has no meaning.
    fn set<T: Ord>(
        &mut self,
        items: impl IntoIterator<Item = T>,
        write: impl FnMut(&mut Self, &T),
    ) {
        let mut items: Vec<T> = items.into_iter().collect();
        items.sort_unstable();
        self.list(&items, write);
    }

    fn place_order(&mut self, command: &PlaceOrder) {
        self.text("place-order");
        self.bytes(command.order_id.uuid().as_bytes());
        self.draft(&command.draft);
        self.list(&command.tenders, Self::tender);
    }

    fn tender(&mut self, tender: &DraftTender) {
        self.text(tender.tender_id.as_str());
        self.code(tender.kind);
        self.text(&tender.scheme);
        self.number(face_value(tender).map_or(i64::MAX, Money::minor));
        self.text(&tender.external_reference);
        if tender.kind == TenderKind::Cash {
            let drawer = tender.drawer_id.as_ref();
            self.text(drawer.map_or(MAIN_DRAWER, |drawer| drawer.as_str()));
        }
    }

    fn draft(&mut self, draft: &Draft) {
        self.text(draft.store_id.as_str());
        self.text(draft.terminal_id.as_str());
        self.number(draft.terminal_seq);
        self.optional(draft.staff_id.as_ref(), |this, staff| {
            this.text(staff.as_str());
        });
        self.code(draft.channel);
        self.code(draft.service_mode);
        self.list(&draft.lines, |this, line| this.line(draft, line));
        self.discounts(&draft.order_discounts);
        self.list(&draft.promotion_codes, |this, code| {
            this.text(code.as_str());
        });
        self.optional(draft.member.as_ref(), Self::member);
        self.code(draft.pricing);
    }

    fn line(&mut self, draft: &Draft, line: &DraftLine) {
        self.text(line.line_id.as_str());
        self.text(line.sku.as_str());
        self.number(line.quantity.into());
        let options = line.options.iter();
        self.set(
            options.map(|option| (&option.option_id, option.quantity.max(1))),
            |this, (option, quantity)| {
                this.text(option.as_str());
                this.number((*quantity).into());
            },
        );
        self.code(line.service_mode.unwrap_or(draft.service_mode));
        self.discounts(&line.discounts);
        self.optional(line.till_unit_price, |this, price| {
            this.number(price.minor());
        });
        let own = line.till_item.clone().unwrap_or_default();
        self.set(own.name, |this, (language, name)| {
            this.text(language);
            this.text(name);
        });
        for slug in [own.category, own.tax_class] {
            self.optional(slug, |this, slug| this.text(slug.as_str()));
        }
    }

    /// In their order; those of nothing leave no trace.
    fn discounts(&mut self, discounts: &[ManualDiscount]) {
        let some: Vec<&ManualDiscount> = discounts
            .iter()
            .filter(|discount| !matches!(discount.value, DiscountValue::Fixed(Money::ZERO)))
            .collect();
        self.list(&some, |this, discount| this.manual_discount(discount));
    }

    fn manual_discount(&mut self, discount: &ManualDiscount) {
        self.text(discount.discount_id.as_str());
        match discount.value {
            DiscountValue::Percent(percent_bp) => {
                self.number(1);
                self.number(percent_bp.into());
            }
            DiscountValue::Fixed(amount) => {
                self.number(2);
                self.number(amount.minor());
            }
        }
        self.text(discount.reason_code.as_str());
        self.text(discount.approver_id.as_str());
    }

    fn member(&mut self, key: &MemberKey) {
        match key {
            MemberKey::MemberId(id) => {
                self.number(1);
                self.bytes(id.as_bytes());
            }
            // That a card was presented, and not which: keys change, and a repeat has to match for ever.
            MemberKey::Card(_) => self.number(2),
        }
    }

    fn change_status(&mut self, command: &ChangeStatus) {
        self.text(match command.to {
            NewStatus::Preparing => "start-preparation",
            NewStatus::Ready => "mark-ready",
            NewStatus::Completed => "complete-order",
        });
        self.bytes(command.order_id.uuid().as_bytes());
    }

    fn cancel_order(&mut self, command: &CancelOrder) {
        self.text("cancel-order");
        self.bytes(command.order_id.uuid().as_bytes());
        self.optional(command.approver_id.as_ref(), |this, approver| {
            this.text(approver.as_str());
        });
        self.text(command.reason_code.as_str());
        self.returns(&command.tenders);
    }

    fn returns(&mut self, tenders: &[RequestedReturn]) {
        let sorted = tenders.iter().map(|tender| {
            (
                &tender.tender_id,
                tender.amount,
                &tender.drawer_id,
                &tender.external_reference,
            )
        });
        self.set(sorted, |this, (tender, amount, drawer, reference)| {
            this.text(tender.as_str());
            this.number(amount.minor());
            this.optional(drawer.as_ref(), |this, drawer| this.text(drawer.as_str()));
            this.text(reference);
        });
    }

    fn refund_order(&mut self, command: &RefundOrder) {
        self.text("refund-order");
        self.bytes(command.order_id.uuid().as_bytes());
        self.optional(command.approver_id.as_ref(), |this, approver| {
            this.text(approver.as_str());
        });
        self.text(command.reason_code.as_str());
        self.set(&command.lines, |this, line| {
            this.text(line.line_id.as_str());
            this.number(line.quantity.into());
        });
        self.returns(&command.tenders);
    }

    fn cash_movement(&mut self, command: &RecordCashMovement) {
        self.text("record-cash-movement");
        self.text(&command.business_date.to_string());
        self.text(command.drawer_id.as_str());
        self.code(command.kind);
        self.number(command.amount.minor());
        self.text(command.reason_code.as_str());
        self.optional(command.approver_id.as_ref(), |this, approver| {
            this.text(approver.as_str());
        });
    }

    fn close(&mut self, date: BusinessDate, manual: &ManualClose) {
        self.text("close-business-day");
        self.text(&date.to_string());
        self.set(&manual.counts, |this, count| {
            this.text(count.drawer_id.as_str());
            this.number(count.counted.minor());
        });
        match &manual.carry_over {
            CarryOver::All => self.number(1),
            CarryOver::Named(orders) => {
                self.number(2);
                let orders: BTreeSet<_> = orders.iter().collect();
                self.set(orders, |this, order| this.bytes(order.uuid().as_bytes()));
            }
        }
    }

    fn count_drawer(&mut self, command: &CountDrawer) {
        self.text("count-drawer");
        self.text(&command.business_date.to_string());
        self.text(command.drawer_id.as_str());
        self.number(command.counted.minor());
    }

    fn attach_member(&mut self, command: &AttachMember) {
        self.text("attach-member");
        self.bytes(command.order_id.uuid().as_bytes());
        self.bytes(command.member_id.as_bytes());
    }
}

#[cfg(test)]
mod tests;
