//! The same as a page to read: one file, without a script, that needs nothing from anywhere else.

use askama::Template;

use crate::document::{Content, Document, Schema, Shape};

#[derive(Template)]
#[template(path = "reference.html")]
struct Page<'a> {
    document: &'a Document,
}

pub(crate) fn write(document: &Document) -> Result<String, askama::Error> {
    Page { document }.render()
}

impl Shape {
    /// The words that stand for it in a table.
    fn label(&self) -> String {
        match self {
            Self::Text => "string".to_owned(),
            Self::Bool => "boolean".to_owned(),
            Self::Whole32 => "integer".to_owned(),
            Self::Count32 => "integer, 0 or more".to_owned(),
            Self::Whole64 => "integer as string".to_owned(),
            Self::Count64 => "integer as string, 0 or more".to_owned(),
            Self::Number => "number".to_owned(),
            Self::Bytes => "base64".to_owned(),
            Self::Instant => "instant, RFC 3339".to_owned(),
            Self::Duration => "seconds, as 1.5s".to_owned(),
            Self::Any => "object that says its @type".to_owned(),
            Self::Named(name) => short(name).to_owned(),
            Self::List(item) => format!("list of {}", item.label()),
            Self::Map(value) => format!("object of {}", value.label()),
        }
    }

    /// The schema that it names.
    fn schema(&self) -> Option<&str> {
        match self {
            Self::Named(name) => Some(name),
            Self::List(inner) | Self::Map(inner) => inner.schema(),
            _ => None,
        }
    }
}

impl Schema {
    fn short(&self) -> &str {
        short(&self.name)
    }
}

/// A full name's last part.
fn short(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}
