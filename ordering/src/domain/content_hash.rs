use contract::BusinessDate;
use sha2::{Digest, Sha256};

use super::command::{
    AttachMember, CancelOrder, CarryOver, ChangeStatus, CloseBusinessDay, Command, CountDrawer,
    Draft, ManualClose, ManualDiscount, MemberKey, NewStatus, PlaceOrder, RecordCashMovement,
    RefundOrder, RequestedReturn,
};
use crate::catalog::DiscountValue;

/// Version of the canonical form that is hashed.
pub const CONTENT_HASH_VERSION: u32 = 1;

/// Tells a repeat of a command from another command under the same id. SHA-256 over the command's domain fields, each with its length,
/// never over protobuf bytes. Conditions (expected total) and circumstances (client time, trace) are no content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentHash(pub [u8; 32]);

impl ContentHash {
    /// `None` for commands of the system, which have no id either.
    #[must_use]
    pub fn of(command: &Command) -> Option<Self> {
        let mut canonical = Canonical::default();
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
        Some(Self(canonical.0.finalize().into()))
    }

    /// Of a draft alone: what a quote is bound to.
    #[must_use]
    pub fn of_draft(draft: &Draft) -> Self {
        let mut canonical = Canonical::default();
        canonical.text("draft");
        canonical.draft(draft);
        Self(canonical.0.finalize().into())
    }
}

#[derive(Default)]
struct Canonical(Sha256);

impl Canonical {
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

    fn place_order(&mut self, command: &PlaceOrder) {
        self.text("place-order");
        self.bytes(command.order_id.uuid().as_bytes());
        self.draft(&command.draft);
        self.list(&command.tenders, |this, tender| {
            this.text(tender.tender_id.as_str());
            this.code(tender.kind);
            this.text(&tender.scheme);
            for amount in [tender.amount, tender.tendered, tender.change] {
                this.optional(amount, |this, amount| this.number(amount.minor()));
            }
            this.text(&tender.external_reference);
            this.optional(tender.drawer_id.as_ref(), |this, drawer| {
                this.text(drawer.as_str());
            });
        });
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
        self.list(&draft.lines, |this, line| {
            this.text(line.line_id.as_str());
            this.text(line.sku.as_str());
            this.number(line.quantity.into());
            this.list(&line.options, |this, option| {
                this.text(option.option_id.as_str());
                this.number(option.quantity.into());
            });
            this.optional(line.service_mode, Canonical::code);
            this.list(&line.discounts, Self::manual_discount);
            this.optional(line.till_unit_price, |this, price| {
                this.number(price.minor());
            });
        });
        self.list(&draft.order_discounts, Self::manual_discount);
        self.list(&draft.promotion_codes, |this, code| {
            this.text(code.as_str());
        });
        self.optional(draft.member.as_ref(), Self::member);
        self.code(draft.pricing);
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
            MemberKey::CardSha256(hash) => {
                self.number(2);
                self.bytes(hash);
            }
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
        self.list(tenders, |this, tender| {
            this.text(tender.tender_id.as_str());
            this.number(tender.amount.minor());
            this.optional(tender.drawer_id.as_ref(), |this, drawer| {
                this.text(drawer.as_str());
            });
            this.text(&tender.external_reference);
        });
    }

    fn refund_order(&mut self, command: &RefundOrder) {
        self.text("refund-order");
        self.bytes(command.order_id.uuid().as_bytes());
        self.optional(command.approver_id.as_ref(), |this, approver| {
            this.text(approver.as_str());
        });
        self.text(command.reason_code.as_str());
        self.list(&command.lines, |this, (line, units)| {
            this.text(line.as_str());
            this.number((*units).into());
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
        self.list(&manual.counts, |this, (drawer, counted)| {
            this.text(drawer.as_str());
            this.number(counted.minor());
        });
        match &manual.carry_over {
            CarryOver::All => self.number(1),
            CarryOver::Named(orders) => {
                self.number(2);
                self.list(orders, |this, order| this.bytes(order.uuid().as_bytes()));
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
