//! What a cancellation and a refund give back.

use contract::api::ordering as api;

use super::place_order::MAX_TENDERS;
use crate::domain::RequestedReturn;
use crate::service::fields::TillFields;

pub(super) fn returned_tenders(
    fields: &mut TillFields,
    tenders: &[api::ReturnedTender],
) -> Vec<RequestedReturn> {
    fields.at_most("tenders", tenders.len(), MAX_TENDERS);
    let mut parsed = Vec::with_capacity(tenders.len());
    for (index, tender) in tenders.iter().take(MAX_TENDERS).enumerate() {
        let field = format_args!("tenders[{index}]");
        fields.reference(
            format_args!("{field}.external_reference"),
            &tender.external_reference,
        );
        match &tender.amount {
            None => fields.note(format_args!("{field}.amount"), "is missing"),
            Some(money) if money.amount_minor == 0 => {
                fields.note(
                    format_args!("{field}.amount"),
                    "a tender is more than nothing",
                );
            }
            Some(_) => {}
        }
        let amount = fields.optional_amount(format_args!("{field}.amount"), tender.amount.as_ref());
        let drawer_id = fields.optional_slug(format_args!("{field}.drawer_id"), &tender.drawer_id);
        let tender_id = fields.slug(format_args!("{field}.tender_id"), &tender.tender_id);
        if let (Some(tender_id), Some(amount)) = (tender_id, amount) {
            parsed.push(RequestedReturn {
                tender_id,
                amount,
                drawer_id,
                external_reference: tender.external_reference.clone(),
            });
        }
    }
    parsed
}

#[cfg(test)]
mod tests {
    use contract::{Currency, Money};

    use super::*;

    #[test]
    fn a_returned_tender_is_more_than_nothing() {
        let currency = Currency::new("KRW").unwrap();
        let nothing = api::ReturnedTender {
            tender_id: "t1".into(),
            amount: Some(currency.amount(Money::ZERO)),
            ..api::ReturnedTender::default()
        };
        let read = TillFields::read(|fields| Some(returned_tenders(fields, &[nothing])));
        assert_eq!(read.unwrap_err().violations[0].field, "tenders[0].amount");
    }
}
