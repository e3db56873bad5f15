//! Which call is where: the option `google.api.http` of each method.

use http::Method;
use prost_reflect::{DescriptorPool, DynamicMessage, FieldDescriptor, MethodDescriptor, Value};

use crate::field_path::{FieldPath, is_one_word};
use crate::template::Template;

/// The descriptors cannot be served over HTTP. That is a mistake in the protos, found by any test that starts a service.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    #[error("the descriptors cannot be read: {0}")]
    Descriptors(String),
    #[error("{0} is not in the descriptors")]
    Unknown(String),
    #[error("{0} has no option google.api.http")]
    NoRule(String),
    #[error("{0} streams requests, which HTTP cannot carry")]
    StreamsRequests(String),
    #[error("{method}: {problem}")]
    Rule { method: String, problem: String },
    #[error("{0} and {1} have one address")]
    SameAddress(String, String),
    #[error("the reference page cannot be written: {0}")]
    Page(#[from] askama::Error),
}

/// One address of a call.
#[derive(Debug, Clone)]
pub(crate) struct Binding {
    pub verb: Method,
    pub template: Template,
    /// The fields that the template's variables are, in order.
    pub variables: Vec<FieldPath>,
    pub body: Body,
    pub method: MethodDescriptor,
}

/// What a request's body is.
#[derive(Debug, Clone)]
pub(crate) enum Body {
    None,
    /// The whole message, but what the path says of it.
    Whole,
    /// A message in this field; all others are in path and query.
    Field(FieldDescriptor),
}

/// All addresses of the services named. A method's main address comes before its others.
pub(crate) fn bindings(pool: &DescriptorPool, services: &[&str]) -> Result<Vec<Binding>, ApiError> {
    let option = pool
        .get_extension_by_name("google.api.http")
        .ok_or_else(|| ApiError::Unknown("google.api.http".to_owned()))?;
    let mut all: Vec<Binding> = Vec::new();
    for name in services {
        let service = pool
            .get_service_by_name(name)
            .ok_or_else(|| ApiError::Unknown((*name).to_owned()))?;
        for method in service.methods() {
            let full_name = || method.full_name().to_owned();
            if method.is_client_streaming() {
                return Err(ApiError::StreamsRequests(full_name()));
            }
            let options = method.options();
            if !options.has_extension(&option) {
                return Err(ApiError::NoRule(full_name()));
            }
            let rule = options.get_extension(&option);
            let rule = rule
                .as_message()
                .ok_or_else(|| ApiError::NoRule(full_name()))?;
            let read = |rule: &DynamicMessage| {
                binding(&method, rule).map_err(|problem| ApiError::Rule {
                    method: full_name(),
                    problem,
                })
            };
            let mut found = vec![read(rule)?];
            if let Some(Value::List(others)) =
                rule.get_field_by_name("additional_bindings").as_deref()
            {
                for other in others.iter().filter_map(Value::as_message) {
                    found.push(read(other)?);
                }
            }
            for new in found {
                let same =
                    |own: &&Binding| own.verb == new.verb && own.template.overlaps(&new.template);
                if let Some(own) = all.iter().find(same) {
                    return Err(ApiError::SameAddress(
                        own.method.full_name().to_owned(),
                        full_name(),
                    ));
                }
                all.push(new);
            }
        }
    }
    Ok(all)
}

fn binding(method: &MethodDescriptor, rule: &DynamicMessage) -> Result<Binding, String> {
    let text = |field: &str| {
        rule.get_field_by_name(field)
            .and_then(|value| value.as_str().map(str::to_owned))
            .filter(|text| !text.is_empty())
    };
    let (verb, path) = [
        (Method::GET, "get"),
        (Method::POST, "post"),
        (Method::PUT, "put"),
        (Method::PATCH, "patch"),
        (Method::DELETE, "delete"),
    ]
    .into_iter()
    .find_map(|(verb, field)| Some((verb, text(field)?)))
    .ok_or("the option names no path")?;
    if text("response_body").is_some() {
        return Err("response_body is not understood".to_owned());
    }
    let template =
        Template::parse(&path).ok_or_else(|| format!("{path:?} is no path of plain segments"))?;
    let input = method.input();
    let variables = template
        .variables()
        .map(|name| {
            let path = FieldPath::resolve(&input, name)
                .ok_or_else(|| format!("{} has no field {name}", input.full_name()))?;
            let leaf = path.leaf();
            if leaf.is_list() || leaf.is_map() || !is_one_word(&leaf.kind()) {
                return Err(format!("{name} cannot stand in a path"));
            }
            Ok(path)
        })
        .collect::<Result<_, String>>()?;
    let body = match text("body").as_deref() {
        None => Body::None,
        Some("*") => Body::Whole,
        Some(name) => {
            let field = input
                .get_field_by_name(name)
                .filter(|field| !field.is_list() && field.kind().as_message().is_some())
                .ok_or_else(|| format!("the body {name} is no field that holds a message"))?;
            Body::Field(field)
        }
    };
    if verb == Method::GET && !matches!(body, Body::None) {
        return Err("GET has no body".to_owned());
    }
    Ok(Binding {
        verb,
        template,
        variables,
        body,
        method: method.clone(),
    })
}
