//! The canonical protobuf JSON of any message of the contract, with the field names of the proto files.

use std::sync::LazyLock;

use prost::{Message, Name};
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};

#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    #[error("{0} is not a message of the contract")]
    UnknownMessage(String),
    #[error("the message cannot be written as JSON: {0}")]
    Unwritable(String),
}

static POOL: LazyLock<Option<DescriptorPool>> =
    LazyLock::new(|| DescriptorPool::decode(crate::DESCRIPTORS).ok());

/// One line of JSON; fields at their default are written too, so that scripts find every key.
pub fn to_json<M: Message + Name>(message: &M) -> Result<String, JsonError> {
    let name = M::full_name();
    let descriptor = POOL
        .as_ref()
        .and_then(|pool| pool.get_message_by_name(&name))
        .ok_or(JsonError::UnknownMessage(name))?;
    let unwritable = |error: &dyn std::fmt::Display| JsonError::Unwritable(error.to_string());
    let dynamic = DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice())
        .map_err(|error| unwritable(&error))?;
    let options = SerializeOptions::new()
        .use_proto_field_name(true)
        .skip_default_fields(false);
    let mut out = Vec::new();
    let mut serializer = serde_json::Serializer::new(&mut out);
    dynamic
        .serialize_with_options(&mut serializer, &options)
        .map_err(|error| unwritable(&error))?;
    String::from_utf8(out).map_err(|error| unwritable(&error))
}
