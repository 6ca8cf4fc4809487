//! The description of the API, OpenAPI 3.1, gathered from what stands beside each handler.
//!
//! It is more than documentation: what an operation says of its security is what is asked of who
//! calls it, and a route that is not described here is answered to nobody (see [`super::guard`]).

use axum::routing::get;
use axum::{Json, Router};
use utoipa::OpenApi;

use super::App;
use crate::broker::Broker;

pub(super) fn routes<B: Broker + Clone>() -> Router<App<B>> {
    Router::new().route("/openapi.json", get(openapi))
}

#[derive(OpenApi)]
#[openapi(paths(openapi))]
struct Docs;

/// The whole description.
pub fn document() -> utoipa::openapi::OpenApi {
    let mut all = Docs::openapi();
    for part in [super::health::docs(), super::observe::docs()] {
        all.merge(part);
    }
    all
}

#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "service",
    summary = "This description",
    responses((status = 200, description = "OpenAPI 3.1")),
    security(()),
)]
async fn openapi() -> Json<utoipa::openapi::OpenApi> {
    Json(document())
}
