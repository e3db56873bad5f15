//! The description that tools read: [OpenAPI 3.1](https://spec.openapis.org/oas/v3.1.1.html).

use serde_json::{Map, Value, json};

use crate::document::{Content, Document, Operation, Schema, Shape};
use crate::pool::STATUS;

const RULES: &str = "Fields have their JSON names (lowerCamelCase; the protos' names are taken too), and those at their default are left out of \
    answers. Numbers of 64 bits are written as strings; a request may have them as numbers. A refusal is a `google.rpc.Status`: decide by the \
    `reason` of its `google.rpc.ErrorInfo`.";

pub(crate) fn write(document: &Document) -> Value {
    let mut paths = Map::new();
    for operation in document.groups.iter().flat_map(|group| {
        let named = group.operations.iter();
        named.map(|operation| (group.name.as_str(), operation))
    }) {
        let (group, operation) = operation;
        let verb = operation.verb.to_lowercase();
        let item = paths
            .entry(operation.path.clone())
            .or_insert_with(|| json!({}));
        item[verb] = write_operation(group, operation);
    }
    for (path, words) in document.others {
        paths.insert((*path).to_owned(), json!({ "get": other(path, words) }));
    }
    let schemas: Map<String, Value> = document
        .schemas
        .iter()
        .map(|schema| (schema.name.clone(), write_schema(schema)))
        .collect();
    let tags: Vec<_> = document
        .groups
        .iter()
        .map(|group| with_words(json!({ "name": group.name }), &group.words))
        .collect();
    json!({
        "openapi": "3.1.1",
        "info": {
            "title": format!("Doppio: {}", document.name),
            "version": document.version,
            "description": format!("{}\n\n{RULES}", document.summary),
        },
        "servers": [{ "url": "/" }],
        "tags": tags,
        "paths": paths,
        "components": {
            "schemas": schemas,
            "parameters": { "timeout": timeout() },
            "responses": { "refusal": refusal() },
        },
    })
}

fn write_operation(group: &str, operation: &Operation) -> Value {
    let mut parameters: Vec<_> = operation
        .parameters
        .iter()
        .map(|parameter| {
            let written = json!({
                "name": parameter.name,
                "in": if parameter.in_path { "path" } else { "query" },
                "required": parameter.in_path,
                "schema": shape(&parameter.shape),
            });
            with_words(written, &parameter.words)
        })
        .collect();
    if operation.goes_on {
        parameters.push(json!({
            "name": "Last-Event-ID",
            "in": "header",
            "description": "The id of the last event that was received: the stream goes on after it.",
            "schema": { "type": "string" },
        }));
    }
    parameters.push(json!({ "$ref": "#/components/parameters/timeout" }));
    let answer = named(&operation.answer);
    let (kind, schema, words) = if operation.streams {
        let events = json!({ "type": "string", "contentMediaType": "application/json", "contentSchema": answer });
        let words = "Server-sent events: the data of each is one message, and that of the last, `status`, a `google.rpc.Status`.";
        ("text/event-stream", events, words)
    } else {
        ("application/json", answer, "The answer.")
    };
    let mut written = json!({
        "operationId": operation.id,
        "tags": [group],
        "parameters": parameters,
        "responses": {
            "200": { "description": words, "content": { kind: { "schema": schema } } },
            "default": { "$ref": "#/components/responses/refusal" },
        },
    });
    if let Some(body) = &operation.body {
        let content = json!({ "application/json": { "schema": named(body) } });
        written["requestBody"] = json!({
            "required": true,
            "description": "What the path says may be left out.",
            "content": content,
        });
    }
    with_words(written, &operation.words)
}

/// An address beside those of the calls.
fn other(path: &str, words: &str) -> Value {
    let parameters: Vec<_> = path
        .split('/')
        .filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }))
        .collect();
    json!({
        "description": words,
        "parameters": parameters,
        "responses": {
            "200": { "description": "The answer." },
            "default": { "$ref": "#/components/responses/refusal" },
        },
    })
}

fn write_schema(schema: &Schema) -> Value {
    let written = match &schema.content {
        Content::Message(fields) => {
            let properties: Map<_, _> = fields
                .iter()
                .map(|field| {
                    let written = with_words(shape(&field.shape), &field.words);
                    (field.name.clone(), written)
                })
                .collect();
            json!({ "type": "object", "properties": properties })
        }
        Content::Enum(choices) => {
            let names: Vec<_> = choices.iter().map(|choice| &choice.name).collect();
            let words: Vec<_> = choices
                .iter()
                .filter(|choice| !choice.words.is_empty())
                .map(|choice| format!("- `{}`: {}", choice.name, choice.words))
                .collect();
            let words = [schema.words.clone(), words.join("\n")];
            let words = words.join("\n\n").trim().to_owned();
            return with_words(json!({ "type": "string", "enum": names }), &words);
        }
    };
    with_words(written, &schema.words)
}

fn shape(shape_of: &Shape) -> Value {
    match shape_of {
        Shape::Text => json!({ "type": "string" }),
        Shape::Bool => json!({ "type": "boolean" }),
        Shape::Whole32 => json!({ "type": "integer", "format": "int32" }),
        Shape::Count32 => json!({ "type": "integer", "format": "int64", "minimum": 0 }),
        Shape::Whole64 => json!({ "type": "string", "format": "int64" }),
        Shape::Count64 => json!({ "type": "string", "format": "uint64" }),
        Shape::Number => json!({ "type": "number", "format": "double" }),
        Shape::Bytes => json!({ "type": "string", "contentEncoding": "base64" }),
        Shape::Instant => json!({ "type": "string", "format": "date-time" }),
        Shape::Duration => {
            json!({ "type": "string", "description": "Seconds, such as 1.5s." })
        }
        Shape::Any => json!({
            "type": "object",
            "properties": { "@type": { "type": "string" } },
            "required": ["@type"],
            "additionalProperties": true,
        }),
        Shape::Named(name) => named(name),
        Shape::List(item) => json!({ "type": "array", "items": shape(item) }),
        Shape::Map(value) => json!({ "type": "object", "additionalProperties": shape(value) }),
    }
}

fn named(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}

fn timeout() -> Value {
    json!({
        "name": "grpc-timeout",
        "in": "header",
        "description": "How long the caller waits: at most eight digits and a unit, H, M, S, m (milliseconds), u or n.",
        "schema": { "type": "string", "pattern": "^[0-9]{1,8}[HMSmun]$" },
        "example": "2500m",
    })
}

fn refusal() -> Value {
    json!({
        "description": "A refusal or failure.",
        "content": { "application/json": { "schema": named(STATUS) } },
    })
}

fn with_words(mut value: Value, words: &str) -> Value {
    if !words.is_empty() {
        value["description"] = Value::from(words);
    }
    value
}
