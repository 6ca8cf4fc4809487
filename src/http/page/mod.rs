//! The page at `/`: what a person sees of the service, out of this binary.
//!
//! It is a client of the API like any other and holds no data, so anybody may load it; what it then
//! asks for is guarded as for everybody. Its files have addresses that change with what is in them
//! (`/assets/VERSION/FILE`), so a browser keeps them for good and asks only whether the page itself
//! is still the one that it knows.
//!
//! The policy allows scripts and styles of these files alone, none in the page, and no text that
//! becomes markup (trusted types): what stands in a cell or a name stays what it is.

mod assets;
mod trim;

use std::sync::Arc;

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use utoipa::OpenApi;

use super::openapi::PROBLEM;
use super::{ApiError, App};
use crate::api;
use crate::broker::Broker;
use assets::{Assets, File};

/// What the page may load and do.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
     connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'; \
     require-trusted-types-for 'script'; trusted-types 'none'",
);
/// A window that another page opened, or opens, is of no concern to this one.
const OPENER: (HeaderName, HeaderValue) = (
    HeaderName::from_static("cross-origin-opener-policy"),
    HeaderValue::from_static("same-origin"),
);
/// An address that names what is in the file.
const FOR_GOOD: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
/// The page, whose address stays: asked for each time, and answered 304 most often.
const ASK: HeaderValue = HeaderValue::from_static("no-cache");
/// Of another version than is asked for: two servers of different age stand behind one address.
const NEVER: HeaderValue = HeaderValue::from_static("no-store");

pub(super) fn routes<B: Broker + Clone>() -> Router<App<B>> {
    Router::new()
        .route("/", get(home))
        .route("/assets/{version}/{file}", get(asset))
        .layer(Extension(Arc::new(Assets::new())))
}

#[derive(OpenApi)]
#[openapi(paths(home, asset))]
struct Docs;

/// What these files add to the description of the API.
pub(super) fn docs() -> utoipa::openapi::OpenApi {
    Docs::openapi()
}

#[utoipa::path(
    get,
    path = "/",
    tag = "service",
    summary = "The page for people",
    responses(
        (status = 200, description = "A page", body = String, content_type = "text/html"),
        (status = 304, description = "It is the one that `If-None-Match` names"),
    ),
    security(()),
)]
async fn home(Extension(assets): Extension<Arc<Assets>>, headers: HeaderMap) -> Response {
    let tag = format!("W/\"{}\"", assets.version());
    let known = is_known(&headers, &tag);
    let mut answer = match known {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => shown(assets.index(), &headers),
    };
    let kept = answer.headers_mut();
    // Of a 304 too: a browser puts its headers in the place of those that it knows.
    kept.insert(header::CONTENT_SECURITY_POLICY, POLICY);
    kept.insert(header::CACHE_CONTROL, ASK);
    kept.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if let Ok(tag) = HeaderValue::try_from(tag) {
        kept.insert(header::ETAG, tag);
    }
    kept.extend([OPENER]);
    answer
}

#[utoipa::path(
    get,
    path = "/assets/{version}/{file}",
    tag = "service",
    summary = "A part of that page",
    params(
        ("version" = String, Path, description = "What the page was made of"),
        ("file" = String, Path, description = "The name of a file that the page loads"),
    ),
    responses(
        (status = 200, description = "The part", content(
            (String = "text/css"),
            (String = "text/javascript"),
            (String = "image/svg+xml"),
        )),
        (status = 404, description = "There is none of that name", body = api::Problem, content_type = PROBLEM),
        (status = 422, description = "The name is no text", body = api::Problem, content_type = PROBLEM),
    ),
    security(()),
)]
async fn asset(
    Extension(assets): Extension<Arc<Assets>>,
    headers: HeaderMap,
    asked: Result<Path<(String, String)>, PathRejection>,
) -> Result<Response, ApiError> {
    let Path((version, name)) = asked.map_err(|error| ApiError::invalid(error.body_text()))?;
    let missing = || ApiError::missing("part", name.chars().take(64).collect::<String>());
    let mut answer = shown(assets.file(&name).ok_or_else(missing)?, &headers);
    let kept = if version == assets.version() { FOR_GOOD } else { NEVER };
    answer.headers_mut().insert(header::CACHE_CONTROL, kept);
    Ok(answer)
}

fn shown(file: &File, headers: &HeaderMap) -> Response {
    let packed = takes_gzip(headers);
    let body = if packed { file.packed() } else { file.plain() };
    let mut answer = body.into_response();
    let said = answer.headers_mut();
    said.insert(header::CONTENT_TYPE, HeaderValue::from_static(file.kind()));
    said.insert(header::CONTENT_SECURITY_POLICY, POLICY);
    said.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if packed {
        said.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    answer
}

/// The members of a header that is a list.
fn members(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}

fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    let plain = |tag: &str| tag.trim_start_matches("W/").to_owned();
    members(headers, header::IF_NONE_MATCH).any(|one| one == "*" || plain(one) == plain(tag))
}

fn takes_gzip(headers: &HeaderMap) -> bool {
    members(headers, header::ACCEPT_ENCODING).any(|one| {
        let (name, quality) = one.split_once(';').unwrap_or((one, ""));
        let quality = quality.trim().strip_prefix("q=").and_then(|q| q.parse::<f32>().ok());
        name.trim().eq_ignore_ascii_case("gzip") && quality.is_none_or(|q| q > 0.0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[test]
    fn it_is_packed_for_those_who_can_unpack() {
        let takes = |value| takes_gzip(&with(header::ACCEPT_ENCODING, value));
        assert!(takes("gzip") && takes("br, GZip;q=0.5") && takes("deflate,gzip ; q=1"));
        assert!(!takes("br") && !takes("gzip;q=0") && !takes("br, gzip;q=0.0") && !takes(""));
        assert!(!takes_gzip(&HeaderMap::new()));
    }

    #[tokio::test]
    async fn the_page_is_sent_once() {
        let assets = Arc::new(Assets::new());
        let first = home(Extension(Arc::clone(&assets)), HeaderMap::new()).await;
        assert_eq!(first.status(), StatusCode::OK);
        let tag = first.headers()[header::ETAG].clone();
        let again = HeaderMap::from_iter([(header::IF_NONE_MATCH, tag)]);
        let second = home(Extension(Arc::clone(&assets)), again).await;
        assert_eq!(second.status(), StatusCode::NOT_MODIFIED);
        assert_eq!(second.headers()[header::CONTENT_SECURITY_POLICY], POLICY);
        let other = with(header::IF_NONE_MATCH, "\"another\"");
        assert_eq!(home(Extension(assets), other).await.status(), StatusCode::OK);
    }

    #[tokio::test]
    async fn only_what_the_address_names_is_kept_for_good() {
        let assets = Arc::new(Assets::new());
        let of = async |version: &str, file: &str| {
            let asked = Ok(Path((version.to_owned(), file.to_owned())));
            let answer = asset(Extension(Arc::clone(&assets)), HeaderMap::new(), asked).await;
            answer.map(|answer| answer.headers()[header::CACHE_CONTROL].clone())
        };
        assert_eq!(of(assets.version(), "app.js").await.unwrap(), FOR_GOOD);
        assert_eq!(of("another", "app.js").await.unwrap(), NEVER);
        for none in ["", "index.html", "../mod.rs", "app.js/"] {
            assert!(of(assets.version(), none).await.is_err(), "{none}");
        }
    }
}
