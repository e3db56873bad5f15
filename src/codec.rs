use bytes::Bytes;
use prost::Message as _;

use crate::event::{RecordPayload, event};

#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    #[error("the record's payload is not a RecordPayload: {0}")]
    Malformed(#[from] prost::DecodeError),
    /// An event type that this build does not know; guessing would be wrong.
    #[error("event {index} is of a type that this build does not know")]
    UnknownEvent { index: usize },
    #[error("the record's payload holds no event")]
    Empty,
    #[error("event {index} has a value that this build does not know in {field}")]
    UnknownValue { index: usize, field: &'static str },
}

#[must_use]
pub fn encode_payload(payload: &RecordPayload) -> Vec<u8> {
    payload.encode_to_vec()
}

/// Decodes a payload and refuses what this build cannot know the meaning of.
pub fn decode_payload(bytes: Bytes) -> Result<RecordPayload, CodecError> {
    let payload = RecordPayload::decode(bytes)?;
    let mut index = 0;
    for event in payload.commands.iter().flat_map(|command| &command.events) {
        match &event.event {
            None => return Err(CodecError::UnknownEvent { index }),
            Some(event) => check_values(index, event)?,
        }
        index += 1;
    }
    if index == 0 {
        return Err(CodecError::Empty);
    }
    Ok(payload)
}

fn check_values(index: usize, event: &event::Event) -> Result<(), CodecError> {
    use crate::event as e;
    let known = |valid: bool, field| {
        if valid {
            Ok(())
        } else {
            Err(CodecError::UnknownValue { index, field })
        }
    };
    let taxes = |taxes: &[e::TaxAmount]| {
        known(
            taxes
                .iter()
                .all(|tax| e::TaxKind::try_from(tax.kind).is_ok()),
            "taxes.kind",
        )
    };
    let returned = |tenders: &[e::ReturnedTender]| {
        known(
            tenders
                .iter()
                .all(|tender| e::TenderKind::try_from(tender.kind).is_ok()),
            "tenders.kind",
        )
    };
    match event {
        event::Event::OrderPlaced(placed) => {
            known(e::Channel::try_from(placed.channel).is_ok(), "channel")?;
            known(
                e::ServiceMode::try_from(placed.service_mode).is_ok(),
                "service_mode",
            )?;
            known(e::Pricing::try_from(placed.pricing).is_ok(), "pricing")?;
            known(
                placed
                    .tenders
                    .iter()
                    .all(|tender| e::TenderKind::try_from(tender.kind).is_ok()),
                "tenders.kind",
            )?;
            known(
                placed
                    .discounts
                    .iter()
                    .all(|discount| e::DiscountSource::try_from(discount.source).is_ok()),
                "discounts.source",
            )?;
            known(
                placed.lines.iter().all(|line| {
                    e::ServiceMode::try_from(line.service_mode).is_ok()
                        && e::TaxKind::try_from(line.tax_kind).is_ok()
                }),
                "lines",
            )?;
            if let Some(membership) = &placed.membership {
                known(
                    e::MembershipOutcome::try_from(membership.outcome).is_ok(),
                    "membership.outcome",
                )?;
            }
            taxes(&placed.taxes)
        }
        event::Event::OrderCancelled(cancelled) => {
            taxes(&cancelled.taxes).and_then(|()| returned(&cancelled.tenders))
        }
        event::Event::OrderRefunded(refunded) => {
            taxes(&refunded.taxes).and_then(|()| returned(&refunded.tenders))
        }
        event::Event::MembershipResolved(resolved) => known(
            e::MembershipOutcome::try_from(resolved.outcome).is_ok(),
            "outcome",
        ),
        event::Event::CashMoved(moved) => {
            known(e::CashMovementKind::try_from(moved.kind).is_ok(), "kind")
        }
        _ => Ok(()),
    }
}
