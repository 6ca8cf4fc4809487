//! A browser's session: a key is put in once and becomes a cookie that no script can read. Event
//! streams and sockets, which cannot send a header, are opened by it.

use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, ORIGIN, SET_COOKIE};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::routing::post;
use axum::{Extension, Json, Router};
use cookie::{Cookie, SameSite};
use utoipa::OpenApi;

use super::extract::JsonBody;
use super::guard::{Guard, session_cookie};
use super::{ApiError, App};
use crate::api;
use crate::broker::Broker;
use crate::domain::{Scope, Scopes};

/// What a proxy says of how it was asked.
const FORWARDED_PROTO: &str = "x-forwarded-proto";

pub(super) fn routes<B: Broker + Clone>() -> Router<App<B>> {
    Router::new().route("/session", post(begin::<B>).get(show::<B>).delete(end))
}

#[derive(OpenApi)]
#[openapi(paths(begin, show, end))]
struct Docs;

/// What this file adds to the description of the API.
pub(super) fn docs() -> utoipa::openapi::OpenApi {
    Docs::openapi()
}

type SetCookie = (StatusCode, [(HeaderName, String); 2]);

#[utoipa::path(
    post,
    path = "/session",
    tag = "session",
    summary = "Begin a browser's session with a key",
    description = "The answer sets a cookie that stands for the key for 12 hours, or until the key is revoked.",
    request_body = api::NewSession,
    responses(
        (status = 204, description = "It has begun", headers(("set-cookie" = String))),
        (status = 400, description = "The body is no JSON", body = api::Problem, content_type = "application/problem+json"),
        (status = 401, description = "The key is none", body = api::Problem, content_type = "application/problem+json"),
        (status = 403, description = "A page of another server sent it", body = api::Problem, content_type = "application/problem+json"),
        (status = 408, description = "The client stopped sending", body = api::Problem, content_type = "application/problem+json"),
        (status = 413, description = "The body is too large", body = api::Problem, content_type = "application/problem+json"),
        (status = 415, description = "The body is not said to be JSON", body = api::Problem, content_type = "application/problem+json"),
        (status = 422, description = "The body says something else than it should", body = api::Problem, content_type = "application/problem+json"),
        (status = 429, description = "Too many keys that are none were tried", body = api::Problem, content_type = "application/problem+json"),
        (status = 503, description = "Not now", body = api::Problem, content_type = "application/problem+json"),
    ),
    security(()),
)]
async fn begin<B: Broker + Clone>(
    Extension(guard): Extension<Guard>,
    headers: HeaderMap,
    State(_): State<App<B>>,
    JsonBody(asked, _room): JsonBody<api::NewSession>,
) -> Result<SetCookie, ApiError> {
    let (ticket, lasts) = guard.begin(asked.key.trim()).await?;
    let lasts = i64::try_from(lasts.as_secs()).unwrap_or(i64::MAX);
    let cookie = kept(ticket, &headers).max_age(cookie::time::Duration::seconds(lasts));
    Ok(answer(cookie.build()))
}

#[utoipa::path(
    get,
    path = "/session",
    tag = "session",
    summary = "Who asks, and what they may do",
    responses(
        (status = 200, description = "The key, by session or in the header", body = api::Session),
        (status = 401, description = "Neither, or it is good no more", body = api::Problem, content_type = "application/problem+json"),
        (status = 429, description = "Too many keys that are none were tried", body = api::Problem, content_type = "application/problem+json"),
        (status = 503, description = "Not now", body = api::Problem, content_type = "application/problem+json"),
    ),
    security(()),
)]
async fn show<B: Broker + Clone>(
    Extension(guard): Extension<Guard>,
    headers: HeaderMap,
    State(_): State<App<B>>,
) -> Result<([(HeaderName, &'static str); 1], Json<api::Session>), ApiError> {
    let (name, scopes) = match guard.who(&headers).await? {
        Some(key) => (Some(key.name.clone()), key.scopes),
        None => (None, Scopes::from_iter(Scope::ALL)),
    };
    let scopes = scopes.iter().map(|scope| scope.to_string()).collect();
    Ok(([(CACHE_CONTROL, "no-store")], Json(api::Session { name, scopes })))
}

#[utoipa::path(
    delete,
    path = "/session",
    tag = "session",
    summary = "End the session in this browser",
    responses(
        (status = 204, description = "The cookie is gone", headers(("set-cookie" = String))),
        (status = 403, description = "A page of another server sent it", body = api::Problem, content_type = "application/problem+json"),
    ),
    security(()),
)]
async fn end(headers: HeaderMap) -> SetCookie {
    answer(kept(String::new(), &headers).removal().build())
}

/// A cookie for this server alone, that no script reads and no foreign page sends; over https it
/// stays there. That is known from the proxy, or from the page.
fn kept(ticket: String, headers: &HeaderMap) -> cookie::CookieBuilder<'static> {
    let says = |name: &str, begins: &[u8]| {
        headers.get(name).is_some_and(|value| {
            value.as_bytes().get(..begins.len()).is_some_and(|b| b.eq_ignore_ascii_case(begins))
        })
    };
    let https = says(FORWARDED_PROTO, b"https") || says(ORIGIN.as_str(), b"https://");
    session_cookie(ticket).http_only(true).same_site(SameSite::Strict).path("/").secure(https)
}

fn answer(cookie: Cookie<'static>) -> SetCookie {
    let headers = [(SET_COOKIE, cookie.to_string()), (CACHE_CONTROL, "no-store".to_owned())];
    (StatusCode::NO_CONTENT, headers)
}
