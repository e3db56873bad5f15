//! The bytes of every event type, for ever: what these tests print must never change for a field that has been stored once. A new field
//! or event type has to be added to the values below, which the tests notice.

mod values;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use prost::Message as _;
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, ReflectMessage as _,
    Value,
};

use crate::event::{Event, RecordPayload};

const BYTES_PER_LINE: usize = 64;

fn pool() -> DescriptorPool {
    DescriptorPool::decode(crate::DESCRIPTORS).unwrap()
}

fn payload_descriptor() -> MessageDescriptor {
    pool()
        .get_message_by_name("doppio.event.v1.RecordPayload")
        .unwrap()
}

/// Bytes for the machine, JSON for people.
fn golden<M: prost::Message + prost::Name>(message: &M) -> String {
    let mut text = String::new();
    for line in message.encode_to_vec().chunks(BYTES_PER_LINE) {
        for byte in line {
            write!(text, "{byte:02x}").unwrap();
        }
        text.push('\n');
    }
    let json: serde_json::Value =
        serde_json::from_str(&crate::json::to_json(message).unwrap()).unwrap();
    format!("{text}\n{}", serde_json::to_string_pretty(&json).unwrap())
}

/// The field of the oneof that an event fills, such as `order_placed`.
fn case_of(event: &Event) -> String {
    let descriptor = pool().get_message_by_name("doppio.event.v1.Event").unwrap();
    let dynamic = DynamicMessage::decode(descriptor, event.encode_to_vec().as_slice()).unwrap();
    dynamic.fields().next().unwrap().0.name().to_owned()
}

#[test]
fn every_event_keeps_its_bytes() {
    for event in values::every_event() {
        insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
            insta::assert_snapshot!(format!("event_{}", case_of(&event)), golden(&event));
        });
    }
}

#[test]
fn a_record_keeps_its_bytes() {
    insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!("record_payload", golden(&values::record()));
    });
}

#[test]
fn every_event_is_read_back_as_it_was_written() {
    for event in values::every_event() {
        let mut record = values::record();
        record.commands[0].events = vec![event];
        let bytes = crate::encode_payload(&record);
        assert_eq!(crate::decode_payload(bytes.into()).unwrap(), record);
    }
}

#[test]
fn every_event_type_has_golden_bytes() {
    let event = pool().get_message_by_name("doppio.event.v1.Event").unwrap();
    let known: BTreeSet<String> = event
        .fields()
        .map(|field| field.name().to_owned())
        .collect();
    let cases: Vec<String> = values::every_event().iter().map(case_of).collect();
    assert_eq!(cases.len(), known.len(), "one instance each");
    assert_eq!(cases.into_iter().collect::<BTreeSet<_>>(), known);
}

/// Fields that are filled somewhere, as "message.field"; and where a field that must be filled is not.
#[derive(Default)]
struct Coverage {
    filled: BTreeSet<String>,
    empty: BTreeSet<String>,
}

impl Coverage {
    fn visit(&mut self, message: &DynamicMessage) {
        for field in message.descriptor().fields() {
            if message.has_field(&field) {
                self.filled.insert(field.full_name().to_owned());
                self.visit_value(&message.get_field(&field));
            } else if field
                .containing_oneof()
                .is_none_or(|oneof| oneof.fields().count() == 1)
            {
                self.empty.insert(field.full_name().to_owned());
            }
        }
    }

    fn visit_value(&mut self, value: &Value) {
        match value {
            Value::Message(message) => self.visit(message),
            Value::List(items) => items.iter().for_each(|item| self.visit_value(item)),
            Value::Map(entries) => entries.values().for_each(|item| self.visit_value(item)),
            _ => {}
        }
    }
}

fn message_of(field: &FieldDescriptor) -> Option<MessageDescriptor> {
    match field.kind() {
        Kind::Message(message) if message.is_map_entry() => {
            message_of(&message.map_entry_value_field())
        }
        Kind::Message(message) => Some(message),
        _ => None,
    }
}

/// Every field of ours that a record can hold.
fn reachable(message: &MessageDescriptor, fields: &mut BTreeSet<String>) {
    if message.package_name() != "doppio.event.v1" {
        return;
    }
    for field in message.fields() {
        if fields.insert(field.full_name().to_owned())
            && let Some(inner) = message_of(&field)
        {
            reachable(&inner, fields);
        }
    }
}

#[test]
fn every_field_of_every_message_is_filled() {
    let record = RecordPayload {
        commands: values::record().commands,
        ..values::record()
    };
    let mut coverage = Coverage::default();
    for event in values::every_event() {
        let mut record = record.clone();
        record.commands[0].events = vec![event];
        coverage.visit(
            &DynamicMessage::decode(payload_descriptor(), record.encode_to_vec().as_slice())
                .unwrap(),
        );
    }
    // Well-known types keep their own zero values.
    coverage.empty.retain(|field| field.starts_with("doppio."));
    assert!(
        coverage.empty.is_empty(),
        "left at their default in golden_tests/values.rs: {:#?}",
        coverage.empty
    );
    let mut fields = BTreeSet::new();
    reachable(&payload_descriptor(), &mut fields);
    let missing: Vec<_> = fields.difference(&coverage.filled).collect();
    assert!(
        missing.is_empty(),
        "never filled in golden_tests/values.rs: {missing:#?}"
    );
}

/// A stored enum value is a number: its name may be corrected, what it means may not.
#[test]
fn every_enum_keeps_its_numbers() {
    let pool = pool();
    let mut text = String::new();
    let mut enums: Vec<_> = pool
        .all_enums()
        .filter(|one| one.package_name() == "doppio.event.v1")
        .collect();
    enums.sort_by_key(|one| one.full_name().to_owned());
    for one in enums {
        for value in one.values() {
            writeln!(text, "{} {} {}", one.name(), value.number(), value.name()).unwrap();
        }
    }
    insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!("enums", text);
    });
}
