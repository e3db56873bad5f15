use std::fmt;

use crate::reason::Reason;
use crate::rejection::{Rejection, Violation};
use crate::{BusinessDate, OrderId, RequestId, StoreId};

/// Gathers what is wrong with a request's fields, so that all of it is said at once. Every service reads its requests with it.
///
/// A field that is read gives a value, or a note and `None`. Its path in the request ("draft.lines[3].quantity") is written out only for a
/// note: give it as `format_args!`. A request is read by [`Fields::read`]: what its closure makes of the values, or
/// a refusal with all that was noted meanwhile.
#[derive(Debug, Default)]
pub struct Fields {
    violations: Vec<Violation>,
    /// The first problem that has a reason of its own.
    refusal: Option<Rejection>,
}

impl Fields {
    /// What `read` makes of a request, unless something in it is wrong.
    pub fn read<T>(read: impl FnOnce(&mut Self) -> Option<T>) -> Result<T, Rejection> {
        let mut fields = Self::default();
        let value = read(&mut fields);
        fields.finish(value)
    }

    /// `value`, unless something is wrong. Malformed fields come first: what has a reason of its own often follows from them, and is told
    /// once they are right.
    pub fn finish<T>(self, value: Option<T>) -> Result<T, Rejection> {
        match (Rejection::invalid(self.violations), self.refusal, value) {
            (Some(rejection), _, _) | (None, Some(rejection), _) => Err(rejection),
            (None, None, Some(value)) => Ok(value),
            // A mistake of the reader: it gave nothing and noted nothing.
            (None, None, None) => Err(Rejection::new(
                Reason::Internal,
                "a malformed request was not refused",
            )),
        }
    }

    /// Says what is wrong with a field.
    pub fn note(&mut self, field: impl fmt::Display, description: impl fmt::Display) {
        self.violations.push(Violation {
            field: field.to_string(),
            description: description.to_string(),
        });
    }

    /// Says what is wrong with a field and has a reason of its own. Of several the first is told.
    pub fn refuse(
        &mut self,
        reason: Reason,
        field: impl fmt::Display,
        description: impl Into<String>,
    ) {
        if self.refusal.is_none() {
            self.refusal = Some(Rejection::field(reason, field.to_string(), description));
        }
    }

    /// What was read of a field, or a note of why it could not be.
    pub fn take<T, E: fmt::Display>(
        &mut self,
        field: impl fmt::Display,
        read: Result<T, E>,
    ) -> Option<T> {
        read.map_err(|error| self.note(field, error)).ok()
    }

    /// Notes a list that is longer than `most`.
    pub fn at_most(&mut self, field: impl fmt::Display, count: usize, most: usize) {
        if count > most {
            self.note(field, format_args!("at most {most}, not {count}"));
        }
    }

    pub fn store_id(&mut self, text: &str) -> Option<StoreId> {
        self.take("store_id", StoreId::new(text))
    }

    pub fn order_id(&mut self, text: &str) -> Option<OrderId> {
        self.take("order_id", OrderId::parse(text))
    }

    pub fn request_id(&mut self, text: &str) -> Option<RequestId> {
        self.take("request_id", RequestId::parse(text))
    }

    pub fn business_date(&mut self, text: &str) -> Option<BusinessDate> {
        self.take("business_date", BusinessDate::parse(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_is_wrong_is_said_at_once() {
        let refused = Fields::read(|fields| {
            let store = fields.store_id("Nowhere!");
            let date = fields.business_date("2026-02-30");
            fields.at_most("lines", 3, 2);
            store.zip(date)
        })
        .unwrap_err();
        let named: Vec<_> = refused
            .violations
            .iter()
            .map(|violation| violation.field.as_str())
            .collect();
        assert_eq!(named, ["store_id", "business_date", "lines"]);
        assert_eq!(refused.reason, Reason::InvalidArgument);
        assert!(refused.message.ends_with("(and 2 more)"), "{refused}");
    }

    #[test]
    fn what_has_its_own_reason_is_told_once_the_fields_are_right() {
        let read = |store: &str| {
            Fields::read(|fields| {
                fields.refuse(Reason::WrongCurrency, "a", "first");
                fields.refuse(Reason::TooManyLines, "b", "second");
                fields.store_id(store)
            })
            .unwrap_err()
        };
        assert_eq!(read("").reason, Reason::InvalidArgument);
        let refused = read("seoul");
        assert_eq!(refused.reason, Reason::WrongCurrency);
        assert_eq!(refused.violations[0].field, "a");
    }

    #[test]
    fn nothing_noted_and_nothing_read_is_a_mistake_of_the_reader() {
        let nothing = Fields::read(|_| None::<()>).unwrap_err();
        assert_eq!(nothing.reason, Reason::Internal);
        assert_eq!(Fields::read(|_| Some(7)), Ok(7));
    }
}
