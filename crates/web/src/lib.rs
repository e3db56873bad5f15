//! What a service says over gRPC, said over HTTP on the same port: JSON, server-sent events, a description of it all, and a page to read.
//!
//! Nothing here knows a call by name. Where each is, says the option `google.api.http` in the protos; what goes in and out is the
//! canonical JSON of its messages, by their descriptors; and the call itself is made of the gRPC service beside ([`runtime::InProcess`]), so
//! that limits, deadlines, traces and refusals are its own. `docs/HTTP.md` tells callers the rules.

mod about;
mod answer;
mod api;
mod binding;
mod call;
mod comments;
mod document;
mod events;
mod field_path;
mod openapi;
mod pool;
mod reference;
mod request;
mod template;
#[cfg(test)]
mod tests;

pub use about::About;
pub use answer::refusal;
pub use api::Api;
pub use binding::ApiError;
