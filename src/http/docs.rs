//! `/docs`: the description of the API for people, by Swagger UI out of this binary.
//!
//! Nothing of it comes from elsewhere, and the pages may load nothing from elsewhere: scripts and
//! styles are files of their own, so that not even inline ones need to be allowed.

use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use utoipa::OpenApi;
use utoipa_swagger_ui::{Config, serve};

use super::extract::PathName;
use super::openapi::PROBLEM;
use super::{ApiError, App};
use crate::api;
use crate::broker::Broker;

/// What the pages may load and do. Images are drawn from `data:` by its style sheet.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'";
/// The page that shows the description.
const INDEX: &str = "index.html";
/// What tells it where the description is: made here, so it may change with this program.
const SETTINGS: &str = "swagger-initializer.js";
/// The description, seen from the page: right also behind a proxy that adds a path.
const DESCRIPTION: &str = "../openapi.json";

pub(super) fn routes<B: Broker + Clone>() -> Router<App<B>> {
    Router::new()
        .route("/docs", get(to_page))
        .route("/docs/", get(page))
        .route("/docs/{file}", get(file))
}

#[derive(OpenApi)]
#[openapi(paths(to_page, page, file))]
struct Docs;

/// What this file adds to the description of the API.
pub(super) fn docs() -> utoipa::openapi::OpenApi {
    Docs::openapi()
}

#[utoipa::path(
    get,
    path = "/docs",
    tag = "service",
    summary = "Leads to this description for people",
    responses((status = 307, description = "It is at `docs/`", headers(("Location" = String)))),
    security(()),
)]
async fn to_page() -> (StatusCode, [(HeaderName, &'static str); 1]) {
    (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, "docs/")])
}

#[utoipa::path(
    get,
    path = "/docs/",
    tag = "service",
    summary = "This description for people",
    responses((status = 200, description = "A page", body = String, content_type = "text/html")),
    security(()),
)]
async fn page() -> Result<Response, ApiError> {
    found(INDEX)
}

#[utoipa::path(
    get,
    path = "/docs/{file}",
    tag = "service",
    summary = "A part of that page",
    params(("file" = String, Path, description = "The name of a file that the page loads")),
    responses(
        (status = 200, description = "The part", content(
            (String = "text/html"),
            (String = "text/css"),
            (String = "text/javascript"),
            (Vec<u8> = "image/png"),
        )),
        (status = 404, description = "There is none of that name", body = api::Problem, content_type = PROBLEM),
        (status = 422, description = "The name is no text", body = api::Problem, content_type = PROBLEM),
    ),
    security(()),
)]
async fn file(PathName(name): PathName<String>) -> Result<Response, ApiError> {
    found(&name)
}

fn found(name: &str) -> Result<Response, ApiError> {
    let config = Config::new([DESCRIPTION])
        // Others' servers are asked nothing about ours.
        .validator_url("none")
        .display_request_duration(true)
        .try_it_out_enabled(true);
    let missing = || ApiError::missing("page", name);
    let file = serve(name, Arc::new(config)).ok().flatten().ok_or_else(missing)?;
    let kept = if name == SETTINGS { "no-cache" } else { "public, max-age=86400" };
    let kind = match file.content_type.as_str() {
        kind if kind.starts_with("text/") => format!("{kind}; charset=utf-8"),
        kind => kind.to_owned(),
    };
    let headers = [
        (header::CONTENT_TYPE, kind.as_str()),
        (header::CACHE_CONTROL, kept),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    Ok((headers, file.bytes.into_owned()).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn body(name: &str) -> (String, String) {
        let response = found(name).unwrap();
        let kind = response.headers()[header::CONTENT_TYPE].to_str().unwrap().to_owned();
        let bytes = axum::body::to_bytes(response.into_body(), 8 << 20).await.unwrap();
        (kind, String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The policy allows neither; were a new version of it to need them, its page would stay empty.
    #[tokio::test]
    async fn the_page_has_no_inline_script_and_no_inline_style() {
        let (kind, page) = body(INDEX).await;
        assert_eq!(kind, "text/html; charset=utf-8");
        let scripts: Vec<&str> = page.split("<script").skip(1).collect();
        assert_eq!(scripts.len(), 3, "{page}");
        for script in scripts {
            let (tag, rest) = script.split_once('>').unwrap();
            assert!(tag.contains("src=\"./"), "{tag}");
            let (inside, _) = rest.split_once("</script>").unwrap();
            assert!(inside.trim().is_empty(), "{inside}");
            let name = tag.split("src=\"./").nth(1).unwrap().split('"').next().unwrap();
            let (kind, text) = body(name).await;
            assert_eq!(kind, "text/javascript; charset=utf-8", "{name}");
            assert!(!text.contains("createElement(\"style\")"), "{name}");
            assert!(!text.contains("setAttribute(\"style\""), "{name}");
        }
        assert!(!page.contains("<style") && !page.contains(" style="), "{page}");
        assert!(!page.contains("//cdn") && !page.contains("https://"), "{page}");
    }

    #[tokio::test]
    async fn the_page_asks_this_server_alone() {
        let (_, settings) = body(SETTINGS).await;
        assert!(settings.contains(DESCRIPTION), "{settings}");
        assert!(settings.contains("\"validatorUrl\": \"none\""), "{settings}");
        assert!(!settings.contains("petstore"), "{settings}");
        assert!(found("nothing.js").is_err());
        assert!(found("../Cargo.toml").is_err());
    }
}
