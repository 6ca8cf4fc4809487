//! The description of the API, OpenAPI 3.1, gathered from what stands beside each handler.
//!
//! It is more than documentation: what an operation says of its security is what is asked of who
//! calls it, and a route that is not described here is answered to nobody (see [`super::guard`]).
//! What every operation can answer, whatever it is about, is added here once and for all.

use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Extension, Router};
use bytes::Bytes;
use utoipa::OpenApi;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{Operation, Parameter, ParameterIn};
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::openapi::{Content, PathItem, Ref, RefOr};

use super::App;
use crate::api;
use crate::broker::Broker;

/// What problems are answered as.
pub(super) const PROBLEM: &str = "application/problem+json";
/// What a topic or a queue may be called.
const NAME: &str = "^[A-Za-z0-9._-]{1,128}$";

/// What every operation can answer: its status, its name among the components, what it means.
const ALWAYS: [(&str, &str, &str); 2] = [
    ("500", "Internal", "The server met a fault of its own; its log says more"),
    ("503", "Unavailable", "Not now: the database does not answer, the server is busy or stopping"),
];
/// What those can answer besides that ask for a key.
const GUARDED: [(&str, &str, &str); 3] = [
    ("401", "NoKey", "There is no key, or none that is known"),
    ("403", "NotAllowed", "The key does not have the scope"),
    ("429", "TooManyTries", "Too many wrong keys were tried"),
];

pub(super) fn routes<B: Broker + Clone>() -> Router<App<B>> {
    let text = serde_json::to_vec(&document()).unwrap_or_default();
    Router::new().route("/openapi.json", get(openapi)).layer(Extension(Text(text.into())))
}

/// The description as it is answered.
#[derive(Debug, Clone)]
struct Text(Bytes);

#[derive(OpenApi)]
#[openapi(
    info(
        title = "rowmill",
        description = "A spreadsheet goes in, every row becomes a durable message, workers process \
            the messages concurrently, and the spreadsheet comes back with results. It is a message \
            service too: topics, queues with filters, deadlines, dead queues.\n\n\
            What goes wrong is answered as `application/problem+json` (RFC 9457). Times are RFC 3339 \
            in UTC, durations are seconds. Requests must not have parameters or fields that are not \
            described; answers may grow new ones. Bounds are those of a server as it comes; its \
            configuration may set others.",
        license(name = "MIT", identifier = "MIT"),
    ),
    servers((url = "/", description = "This server")),
    tags(
        (name = "uploads", description = "Files in; their rows, progress and end"),
        (name = "topics", description = "What messages are published to"),
        (name = "queues", description = "What messages are received from, settled and counted in"),
        (name = "messages", description = "Single messages"),
        (name = "results", description = "What became of messages"),
        (name = "service", description = "The server itself"),
    ),
    components(schemas(api::Problem)),
    paths(openapi),
)]
struct Docs;

/// The whole description.
pub fn document() -> utoipa::openapi::OpenApi {
    let mut all = Docs::openapi();
    let parts = [
        super::docs::docs(),
        super::events::docs(),
        super::health::docs(),
        super::messages::docs(),
        super::observe::docs(),
        super::page::docs(),
        super::publish::docs(),
        super::queues::docs(),
        super::results::docs(),
        super::session::docs(),
        super::topics::docs(),
        super::uploads::docs(),
        super::workers::docs(),
        super::ws::docs(),
    ];
    for part in parts {
        all.merge(part);
    }
    let components = all.components.get_or_insert_default();
    for (status, name, meaning) in ALWAYS.into_iter().chain(GUARDED) {
        components.responses.insert(name.to_owned(), problem(status, meaning).into());
    }
    for operation in all.paths.paths.values_mut().flat_map(operations) {
        name(operation);
        bound_names(operation);
        add(operation, &ALWAYS);
        if is_guarded(operation) {
            add(operation, &GUARDED);
        }
    }
    super::guard::declare(&mut all);
    all
}

/// An operation is called as its handler is; handlers of two resources may share a name.
fn name(operation: &mut Operation) {
    let tag = operation.tags.iter().flatten().next();
    if let (Some(tag), Some(handler)) = (tag, &operation.operation_id) {
        operation.operation_id = Some(format!("{tag}_{handler}"));
    }
}

/// Names in a path are what names are, whatever is said beside the handler.
fn bound_names(operation: &mut Operation) {
    for parameter in operation.parameters.iter_mut().flatten() {
        if let RefOr::T(Parameter { name, parameter_in: ParameterIn::Path, schema, .. }) = parameter
            && matches!(name.as_str(), "topic" | "queue")
            && let Some(RefOr::T(Schema::Object(text))) = schema
        {
            text.pattern.get_or_insert_with(|| NAME.to_owned());
        }
    }
}

/// A problem with a status.
fn problem(status: &str, meaning: &str) -> Response {
    let content = Content::new(Some(Ref::from_schema_name("Problem")));
    let answer = ResponseBuilder::new().description(meaning).content(PROBLEM, content);
    if status != "503" {
        return answer.build();
    }
    let seconds = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0));
    let header = HeaderBuilder::new()
        .schema(Some(seconds))
        .description(Some("Seconds after which to ask again"))
        .build();
    answer.header("Retry-After", header).build()
}

/// What an operation says of an answer itself stays as it is.
fn add(operation: &mut Operation, answers: &[(&str, &str, &str)]) {
    for (status, name, _) in answers {
        let there = operation.responses.responses.entry((*status).to_owned());
        there.or_insert_with(|| RefOr::Ref(Ref::from_response_name(*name)));
    }
}

/// Whether an operation is done for nobody without a key. An empty requirement asks for nothing.
fn is_guarded(operation: &Operation) -> bool {
    let asked = operation.security.iter().flatten();
    let mut asked = asked.map(|one| serde_json::to_value(one).unwrap_or_default()).peekable();
    asked.peek().is_some() && asked.all(|one| one.as_object().is_none_or(|one| !one.is_empty()))
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    let PathItem { get, put, post, delete, patch, .. } = item;
    [get, put, post, delete, patch].into_iter().flatten()
}

#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "service",
    summary = "This description",
    responses((status = 200, description = "OpenAPI 3.1", body = Object)),
    security(()),
)]
async fn openapi(Extension(Text(text)): Extension<Text>) -> impl IntoResponse {
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-cache")];
    (headers, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_guarded_can_refuse_a_key_and_what_is_open_cannot() {
        let mut all = document();
        let guarded: Vec<(String, bool, bool)> = all
            .paths
            .paths
            .iter_mut()
            .flat_map(|(path, item)| operations(item).map(move |one| (path.clone(), one)))
            .map(|(path, one)| {
                let refuses = one.responses.responses.contains_key("401");
                (path, is_guarded(one), refuses)
            })
            .collect();
        // A session is begun by a key, which may be none.
        let others = || guarded.iter().filter(|(path, ..)| path != "/session");
        assert!(others().all(|(_, guarded, refuses)| guarded == refuses), "{guarded:?}");
        assert!(guarded.contains(&("/file/upload".into(), true, true)));
        assert!(guarded.contains(&("/health".into(), false, false)));
    }
}
