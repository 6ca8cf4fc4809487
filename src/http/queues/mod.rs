//! Queues: their terms (`manage`, by the rules in `terms`), how they stand and what is done with
//! all that they hold (`standing`), and what consumers do (`receive`, `settle`). Messages by their
//! ids alone are a resource of their own.

mod manage;
mod receive;
mod settle;
mod standing;
mod terms;

use axum::Router;
use axum::routing::{get, post, put};
use utoipa::OpenApi;

use super::App;
use crate::broker::Broker;

pub(super) fn routes<B: Broker + Clone>() -> Router<App<B>> {
    Router::new()
        .route("/queues", get(manage::list::<B>).post(manage::create::<B>))
        .route(
            "/queues/{queue}",
            get(manage::show::<B>).put(manage::replace::<B>).delete(manage::delete::<B>),
        )
        .route("/queues/{queue}/stats", get(standing::stats::<B>))
        .route("/queues/{queue}/purge", put(standing::purge::<B>))
        .route("/queues/{queue}/redrive", put(standing::redrive::<B>))
        .route("/queues/{queue}/messages", get(receive::receive::<B>))
        .route("/queues/{queue}/messages/peek", get(receive::peek::<B>))
        .route("/queues/{queue}/settle", post(settle::settle::<B>))
        .route("/queues/{queue}/extend", post(settle::extend::<B>))
}

#[derive(OpenApi)]
#[openapi(paths(
    manage::list,
    manage::create,
    manage::show,
    manage::replace,
    manage::delete,
    standing::stats,
    standing::purge,
    standing::redrive,
    receive::receive,
    receive::peek,
    settle::settle,
    settle::extend,
))]
struct Docs;

/// What these files add to the description of the API.
pub(super) fn docs() -> utoipa::openapi::OpenApi {
    Docs::openapi()
}
