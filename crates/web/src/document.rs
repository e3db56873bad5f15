//! What there is to say of an API, for the description (OpenAPI) and for the page alike.

use std::collections::BTreeMap;

use prost_reflect::{
    DescriptorPool, EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor, ServiceDescriptor,
};

use crate::about::About;
use crate::binding::{ApiError, Binding, Body};
use crate::comments::Comments;
use crate::field_path::{FieldPath, is_one_word};
use crate::pool;
use crate::request::AFTER;

/// How deep a query's fields are looked for.
const DEPTH: usize = 4;
/// What the details of a refusal may be.
const DETAILS: [&str; 3] = [
    "google.rpc.ErrorInfo",
    "google.rpc.BadRequest",
    "google.rpc.RetryInfo",
];

pub(crate) struct Document {
    pub name: &'static str,
    pub summary: &'static str,
    pub version: &'static str,
    pub groups: Vec<Group>,
    pub schemas: Vec<Schema>,
    pub others: &'static [(&'static str, &'static str)],
}

/// The calls of one service.
pub(crate) struct Group {
    pub name: String,
    pub words: String,
    pub operations: Vec<Operation>,
}

/// A call at one of its addresses.
pub(crate) struct Operation {
    pub id: String,
    pub name: String,
    /// Whether the call has another address before this one.
    pub again: bool,
    pub verb: String,
    pub path: String,
    pub words: String,
    pub parameters: Vec<Parameter>,
    /// The message in the body.
    pub body: Option<String>,
    /// The message that is answered.
    pub answer: String,
    pub streams: bool,
    /// Whether a stream goes on where a listener left it.
    pub goes_on: bool,
}

pub(crate) struct Parameter {
    pub name: String,
    pub in_path: bool,
    pub shape: Shape,
    pub words: String,
}

/// A message or an enum, by its full name.
pub(crate) struct Schema {
    pub name: String,
    pub words: String,
    pub content: Content,
}

pub(crate) enum Content {
    Message(Vec<Field>),
    Enum(Vec<Choice>),
}

pub(crate) struct Field {
    pub name: String,
    pub shape: Shape,
    pub words: String,
}

pub(crate) struct Choice {
    pub name: String,
    pub words: String,
}

/// What a value looks like in JSON.
pub(crate) enum Shape {
    Text,
    Bool,
    Whole32,
    Count32,
    Whole64,
    Count64,
    Number,
    Bytes,
    Instant,
    Duration,
    /// A message that says its type.
    Any,
    Named(String),
    List(Box<Shape>),
    Map(Box<Shape>),
}

impl Document {
    pub(crate) fn of(
        pool: &DescriptorPool,
        about: &About,
        bindings: &[Binding],
    ) -> Result<Self, ApiError> {
        let mut writer = Writer {
            comments: Comments::of(pool),
            schemas: BTreeMap::new(),
        };
        let mut groups: Vec<(ServiceDescriptor, Vec<Operation>)> = Vec::new();
        for binding in bindings {
            let service = binding.method.parent_service();
            let operations = match groups.last_mut() {
                Some((last, operations)) if *last == *service => operations,
                _ => {
                    groups.push((service.clone(), Vec::new()));
                    &mut groups.last_mut().ok_or_else(|| unknown("a service"))?.1
                }
            };
            let earlier = operations
                .iter()
                .filter(|own| own.name == binding.method.name())
                .count();
            operations.push(writer.operation(binding, earlier));
        }
        for name in DETAILS.into_iter().chain([pool::STATUS]) {
            let message = pool.get_message_by_name(name);
            writer.message(&message.ok_or_else(|| unknown(name))?);
        }
        let group = |(service, operations): (ServiceDescriptor, Vec<Operation>)| Group {
            name: service.name().to_owned(),
            words: writer.comments.at(&service.parent_file(), service.path()),
            operations,
        };
        Ok(Self {
            name: about.name,
            summary: about.summary,
            version: env!("CARGO_PKG_VERSION"),
            groups: groups.into_iter().map(group).collect(),
            schemas: writer.schemas.into_values().flatten().collect(),
            others: about.others,
        })
    }
}

fn unknown(name: &str) -> ApiError {
    ApiError::Unknown(name.to_owned())
}

struct Writer {
    comments: Comments,
    /// `None` while one is being written.
    schemas: BTreeMap<String, Option<Schema>>,
}

impl Writer {
    /// `earlier`: how many addresses the call has before this one.
    fn operation(&mut self, binding: &Binding, earlier: usize) -> Operation {
        let method = &binding.method;
        let (input, output) = (method.input(), method.output());
        let path = binding.template.with_names(|name| {
            let named = binding
                .variables
                .iter()
                .find(|path| path.to_string() == name);
            named.map_or_else(|| name.to_owned(), FieldPath::json_name)
        });
        let mut parameters: Vec<_> = binding
            .variables
            .iter()
            .map(|variable| Parameter {
                name: variable.json_name(),
                in_path: true,
                shape: self.value(&variable.leaf().kind()),
                words: self.said_of(variable.leaf()),
            })
            .collect();
        let in_body = match &binding.body {
            Body::Whole => None,
            Body::None => Some(None),
            Body::Field(field) => Some(Some(field)),
        };
        if let Some(in_body) = in_body {
            let mut query = Vec::new();
            self.query(&input, "", DEPTH, &mut query);
            query.retain(|own| {
                let first = own.name.split('.').next();
                !parameters.iter().any(|path| path.name == own.name)
                    && in_body.is_none_or(|body| first != Some(body.json_name()))
            });
            parameters.extend(query);
        }
        let body = match &binding.body {
            Body::None => None,
            Body::Whole => Some(self.message(&input)),
            Body::Field(field) => match field.kind() {
                Kind::Message(message) => Some(self.message(&message)),
                _ => None,
            },
        };
        let service = method.parent_service();
        let words = self.comments.at(&service.parent_file(), method.path());
        let id = match earlier {
            0 => format!("{}_{}", service.name(), method.name()),
            _ => format!("{}_{}_{}", service.name(), method.name(), earlier + 1),
        };
        Operation {
            id,
            again: earlier > 0,
            name: method.name().to_owned(),
            verb: binding.verb.to_string(),
            path: path.to_string(),
            words,
            parameters,
            body,
            answer: self.message(&output),
            streams: method.is_server_streaming(),
            goes_on: input.get_field_by_name(AFTER).is_some(),
        }
    }

    /// The fields of a message as a query names them.
    fn query(
        &mut self,
        message: &MessageDescriptor,
        outer: &str,
        depth: usize,
        found: &mut Vec<Parameter>,
    ) {
        for field in message.fields().filter(|field| !field.is_map()) {
            let name = format!("{outer}{}", field.json_name());
            let kind = field.kind();
            match &kind {
                Kind::Message(within) if !is_one_word(&kind) => {
                    if depth > 0 && !field.is_list() {
                        self.query(within, &format!("{name}."), depth - 1, found);
                    }
                }
                _ => found.push(Parameter {
                    name,
                    in_path: false,
                    shape: self.shape(&field),
                    words: self.said_of(&field),
                }),
            }
        }
    }

    fn said_of(&self, field: &FieldDescriptor) -> String {
        let message = field.parent_message();
        let mut words = self.comments.at(&message.parent_file(), field.path());
        if let Some(one_of) = field.containing_oneof()
            && !one_of.is_synthetic()
        {
            let names: Vec<_> = one_of
                .fields()
                .map(|field| field.json_name().to_owned())
                .collect();
            let one_of = format!("At most one of {}.", names.join(", "));
            words = if words.is_empty() {
                one_of
            } else {
                format!("{words} {one_of}")
            };
        }
        words
    }

    fn shape(&mut self, field: &FieldDescriptor) -> Shape {
        let kind = field.kind();
        if let (true, Some(entry)) = (field.is_map(), kind.as_message()) {
            let value = self.value(&entry.map_entry_value_field().kind());
            return Shape::Map(Box::new(value));
        }
        let value = self.value(&kind);
        if field.is_list() {
            Shape::List(Box::new(value))
        } else {
            value
        }
    }

    fn value(&mut self, kind: &Kind) -> Shape {
        match kind {
            Kind::String => Shape::Text,
            Kind::Bool => Shape::Bool,
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Shape::Whole32,
            Kind::Uint32 | Kind::Fixed32 => Shape::Count32,
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Shape::Whole64,
            Kind::Uint64 | Kind::Fixed64 => Shape::Count64,
            Kind::Float | Kind::Double => Shape::Number,
            Kind::Bytes => Shape::Bytes,
            Kind::Enum(names) => Shape::Named(self.choices(names)),
            Kind::Message(message) => match message.full_name() {
                "google.protobuf.Timestamp" => Shape::Instant,
                "google.protobuf.Duration" => Shape::Duration,
                "google.protobuf.FieldMask" => Shape::Text,
                "google.protobuf.Any" => Shape::Any,
                _ => Shape::Named(self.message(message)),
            },
        }
    }

    /// The name of a message, once it is described.
    fn message(&mut self, message: &MessageDescriptor) -> String {
        let name = message.full_name().to_owned();
        if self.schemas.contains_key(&name) {
            return name;
        }
        // Before its fields, one of which may be of its own kind.
        self.schemas.insert(name.clone(), None);
        let fields = message
            .fields()
            .map(|field| Field {
                name: field.json_name().to_owned(),
                shape: self.shape(&field),
                words: self.said_of(&field),
            })
            .collect();
        let schema = Schema {
            name: name.clone(),
            words: self.comments.at(&message.parent_file(), message.path()),
            content: Content::Message(fields),
        };
        self.schemas.insert(name.clone(), Some(schema));
        name
    }

    fn choices(&mut self, names: &EnumDescriptor) -> String {
        let name = names.full_name().to_owned();
        let file = names.parent_file();
        let choices = names
            .values()
            .map(|value| Choice {
                name: value.name().to_owned(),
                words: self.comments.at(&file, value.path()),
            })
            .collect();
        let schema = Schema {
            name: name.clone(),
            words: self.comments.at(&file, names.path()),
            content: Content::Enum(choices),
        };
        self.schemas.insert(name.clone(), Some(schema));
        name
    }
}
