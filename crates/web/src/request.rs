//! From a request over HTTP to the message that the call takes.

use contract::{Fields, Rejection};
use prost_reflect::{DeserializeOptions, DynamicMessage, MessageDescriptor, Value};

use crate::binding::{Binding, Body};
use crate::field_path::{FieldPath, read_word};

/// The field of a request for a stream that names the token to go on after, by convention.
pub(crate) const AFTER: &str = "after";

/// What a request says.
pub(crate) struct Asked<'a> {
    /// What stands in the path for the binding's variables.
    pub captured: &'a [String],
    /// What follows the question mark.
    pub query: &'a str,
    pub body: &'a [u8],
    /// The id of the last event that a listener got, which it says when it comes back.
    pub last_event_id: Option<&'a str>,
}

/// The message that a request is, or all that is wrong with it.
pub(crate) fn read(binding: &Binding, asked: &Asked<'_>) -> Result<DynamicMessage, Rejection> {
    Fields::read(|fields| {
        let mut message = body(fields, binding, asked.body)?;
        for (path, text) in binding.variables.iter().zip(asked.captured) {
            from_path(fields, &mut message, path, text);
        }
        from_query(fields, binding, &mut message, asked.query);
        if let Some(id) = asked.last_event_id {
            go_on_after(binding, &mut message, id);
        }
        Some(message)
    })
}

/// What the body says; nothing is read on where it cannot be read.
fn body(fields: &mut Fields, binding: &Binding, bytes: &[u8]) -> Option<DynamicMessage> {
    let input = binding.method.input();
    match &binding.body {
        Body::None => {
            if !bytes.is_empty() {
                let verb = &binding.verb;
                fields.note(
                    "body",
                    format_args!("{verb} takes none here: fields are in the query"),
                );
            }
            Some(DynamicMessage::new(input))
        }
        Body::Whole => from_json(fields, input, "", bytes),
        Body::Field(field) => {
            let kind = field.kind();
            let within = from_json(fields, kind.as_message()?.clone(), field.name(), bytes)?;
            let mut message = DynamicMessage::new(input);
            *message.get_field_mut(field) = Value::Message(within);
            Some(message)
        }
    }
}

/// `at`: the field that the message stands in; empty for the whole request.
fn from_json(
    fields: &mut Fields,
    descriptor: MessageDescriptor,
    at: &str,
    bytes: &[u8],
) -> Option<DynamicMessage> {
    if bytes.is_empty() {
        fields.note("body", "is missing: a JSON object is expected");
        return None;
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(&mut json, &mut track);
    let read =
        DynamicMessage::deserialize_with_options(descriptor, tracked, &DeserializeOptions::new());
    let read = read.and_then(|message| json.end().map(|()| message));
    read.map_err(|error: serde_json::Error| {
        let path = track.path().to_string();
        let field = match (at, path.as_str()) {
            ("", "." | "?") => "body".to_owned(),
            (at, "." | "?") => at.to_owned(),
            ("", path) => path.to_owned(),
            (at, path) => format!("{at}.{path}"),
        };
        fields.note(field, error);
    })
    .ok()
}

fn from_path(fields: &mut Fields, message: &mut DynamicMessage, path: &FieldPath, text: &str) {
    let Some(value) = fields.take(path, read_word(&path.leaf().kind(), text)) else {
        return;
    };
    // A body may repeat what the path says, so that a request for gRPC can be sent as it is, but not say otherwise.
    if path.value(message).is_some_and(|own| own != value) {
        fields.note(
            path,
            format_args!("is {text:?} in the path and not so in the body"),
        );
    } else if let Some(place) = path.place(message) {
        *place = value;
    }
}

fn from_query(fields: &mut Fields, binding: &Binding, message: &mut DynamicMessage, query: &str) {
    let input = binding.method.input();
    let mut seen: Vec<FieldPath> = binding.variables.clone();
    for (name, text) in form_urlencoded::parse(query.as_bytes()) {
        let Some(path) = FieldPath::resolve(&input, &name) else {
            fields.note(&name, format_args!("is no field of {}", input.name()));
            continue;
        };
        let leaf = path.leaf();
        match &binding.body {
            Body::Whole => {
                fields.note(&name, "is in the query; this call's fields are in the body");
                continue;
            }
            Body::Field(body) if path.to_string().split('.').next() == Some(body.name()) => {
                fields.note(&name, "is in the query, and belongs into the body");
                continue;
            }
            _ => {}
        }
        if leaf.is_map() {
            fields.note(&name, "is a map, which a query cannot hold");
            continue;
        }
        if seen.contains(&path) && !leaf.is_list() {
            fields.note(&name, "is said twice");
            continue;
        }
        let one_of = leaf.containing_oneof();
        let other = seen
            .iter()
            .find(|other| **other != path && other.leaf().containing_oneof() == one_of);
        if let (Some(_), Some(other)) = (&one_of, other) {
            fields.note(&name, format_args!("and {other} exclude each other"));
            continue;
        }
        let Some(value) = fields.take(&name, read_word(&leaf.kind(), &text)) else {
            continue;
        };
        match path.place(message) {
            Some(Value::List(list)) => list.push(value),
            Some(place) => *place = value,
            None => {}
        }
        seen.push(path);
    }
}

/// A listener that comes back asks as it did at first, and says separately what it got last: that is newer than what its address says.
fn go_on_after(binding: &Binding, message: &mut DynamicMessage, id: &str) {
    if !binding.method.is_server_streaming() || id.is_empty() {
        return;
    }
    if let Some(after) = FieldPath::resolve(&binding.method.input(), AFTER)
        && let Some(place @ Value::String(_)) = after.place(message)
    {
        *place = Value::String(id.to_owned());
    }
}
