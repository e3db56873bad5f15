//! The way from a message to one of its fields: `draft.store_id`.

use std::fmt;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use prost_reflect::{
    DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor, Value,
};
use serde::de::value::{Error as ValueError, StrDeserializer};

/// Base64 as proto3's JSON takes it: either alphabet, with or without padding.
const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// Fields from the outermost inwards; never none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FieldPath {
    outer: Vec<FieldDescriptor>,
    leaf: FieldDescriptor,
}

impl FieldPath {
    /// A path by the fields' names in the proto or in JSON. `None`: the message has no such field.
    pub(crate) fn resolve(message: &MessageDescriptor, path: &str) -> Option<Self> {
        let named = |message: &MessageDescriptor, name: &str| {
            message
                .get_field_by_name(name)
                .or_else(|| message.get_field_by_json_name(name))
        };
        let Some((outer, leaf)) = path.rsplit_once('.') else {
            let leaf = named(message, path)?;
            return Some(Self {
                outer: Vec::new(),
                leaf,
            });
        };
        let (mut fields, mut within) = (Vec::new(), message.clone());
        for name in outer.split('.') {
            let field = named(&within, name).filter(|field| !field.is_list() && !field.is_map())?;
            within = field.kind().as_message()?.clone();
            fields.push(field);
        }
        Some(Self {
            leaf: named(&within, leaf)?,
            outer: fields,
        })
    }

    /// The field that it leads to.
    pub(crate) fn leaf(&self) -> &FieldDescriptor {
        &self.leaf
    }

    /// Its name in JSON: `draft.storeId`.
    pub(crate) fn json_name(&self) -> String {
        let names = self.outer.iter().chain([&self.leaf]);
        names
            .map(FieldDescriptor::json_name)
            .collect::<Vec<_>>()
            .join(".")
    }

    /// The field's place in a message; messages on the way come into being.
    pub(crate) fn place<'m>(&self, message: &'m mut DynamicMessage) -> Option<&'m mut Value> {
        let mut within = message;
        for field in &self.outer {
            within = within.get_field_mut(field).as_message_mut()?;
        }
        Some(within.get_field_mut(&self.leaf))
    }

    /// What the field holds, where it is set.
    pub(crate) fn value(&self, message: &DynamicMessage) -> Option<Value> {
        let mut within = message.clone();
        for field in &self.outer {
            if !within.has_field(field) {
                return None;
            }
            within = within.get_field(field).as_message()?.clone();
        }
        within
            .has_field(&self.leaf)
            .then(|| within.get_field(&self.leaf).into_owned())
    }
}

/// As the proto spells it.
impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for field in &self.outer {
            write!(f, "{}.", field.name())?;
        }
        f.write_str(self.leaf.name())
    }
}

/// Whether a field of this kind can be written as one word of a path or query.
pub(crate) fn is_one_word(kind: &Kind) -> bool {
    match kind {
        Kind::Message(message) => is_text_in_json(message),
        _ => true,
    }
}

/// Messages that JSON writes as a string.
fn is_text_in_json(message: &MessageDescriptor) -> bool {
    matches!(
        message.full_name(),
        "google.protobuf.Timestamp" | "google.protobuf.Duration" | "google.protobuf.FieldMask"
    )
}

/// Reads a word of a path or query as a value of a field, or says what it should be.
pub(crate) fn read_word(kind: &Kind, text: &str) -> Result<Value, String> {
    let expected = |what: &str| format!("{text:?} is not {what}");
    match kind {
        Kind::String => Ok(Value::String(text.to_owned())),
        Kind::Bool => text
            .parse()
            .map(Value::Bool)
            .map_err(|_| expected("true or false")),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => text
            .parse()
            .map(Value::I32)
            .map_err(|_| expected("a whole number of 32 bits")),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => text
            .parse()
            .map(Value::I64)
            .map_err(|_| expected("a whole number of 64 bits")),
        Kind::Uint32 | Kind::Fixed32 => text
            .parse()
            .map(Value::U32)
            .map_err(|_| expected("a whole number of 32 bits, 0 or more")),
        Kind::Uint64 | Kind::Fixed64 => text
            .parse()
            .map(Value::U64)
            .map_err(|_| expected("a whole number of 64 bits, 0 or more")),
        Kind::Float => text
            .parse()
            .map(Value::F32)
            .map_err(|_| expected("a number")),
        Kind::Double => text
            .parse()
            .map(Value::F64)
            .map_err(|_| expected("a number")),
        Kind::Bytes => STANDARD
            .decode(text)
            .or_else(|_| URL_SAFE.decode(text))
            .map(|bytes| Value::Bytes(bytes.into()))
            .map_err(|_| expected("base64")),
        Kind::Enum(names) => read_enum(names, text),
        Kind::Message(message) if is_text_in_json(message) => {
            let word = StrDeserializer::<ValueError>::new(text);
            DynamicMessage::deserialize(message.clone(), word)
                .map(Value::Message)
                .map_err(|error| format!("{text:?}: {error}"))
        }
        Kind::Message(_) => {
            Err("is a message: name one of its fields, with a dot between".to_owned())
        }
    }
}

/// By name, or by number as JSON may have it too.
fn read_enum(names: &EnumDescriptor, text: &str) -> Result<Value, String> {
    if let Some(value) = names.get_value_by_name(text) {
        return Ok(Value::EnumNumber(value.number()));
    }
    text.parse().map(Value::EnumNumber).map_err(|_| {
        let known: Vec<_> = names
            .values()
            .map(|value| value.name().to_owned())
            .collect();
        format!("{text:?} is none of {}", known.join(", "))
    })
}
