//! What every request and every answer carries: the request's id, by which its lines in the log are
//! found, and the headers that tell a browser to trust an answer no further than it must.

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use uuid::Uuid;

use super::guard::is_docs;

/// The header of a request's id.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Characters of an id that is taken over.
const ID: std::ops::RangeInclusive<usize> = 1..=128;

/// What an answer may do in a browser, unless its handler says: nothing.
const NOTHING: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
/// What the pages that show the description of the API may do: they bring their own scripts, and
/// style by attribute.
const DOCS: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
     frame-ancestors 'none'",
);

/// On every answer.
const HEADERS: [(HeaderName, HeaderValue); 4] = [
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        HeaderValue::from_static("same-origin"),
    ),
];

/// The routes, their requests and answers marked.
pub(super) fn over(routes: Router) -> Router {
    routes.layer(from_fn(mark))
}

async fn mark(mut request: Request, next: Next) -> Response {
    let given = request.headers().get(REQUEST_ID).filter(|id| is_sane(id)).cloned();
    let id = given.unwrap_or_else(fresh);
    let policy = if is_docs(request.uri().path()) { DOCS } else { NOTHING };
    // In the request, where the log looks for it.
    request.headers_mut().insert(REQUEST_ID, id.clone());
    let mut answer = next.run(request).await;
    let headers = answer.headers_mut();
    headers.insert(REQUEST_ID, id);
    for (name, value) in HEADERS {
        headers.insert(name, value);
    }
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(policy);
    answer
}

/// An id from outside is written into our log: only what cannot be mistaken for anything else.
fn is_sane(id: &HeaderValue) -> bool {
    let id = id.as_bytes();
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    ID.contains(&id.len()) && id.iter().all(plain)
}

fn fresh() -> HeaderValue {
    let id = Uuid::new_v4().simple().to_string();
    // Digits and letters always make a header.
    HeaderValue::try_from(id).unwrap_or(HeaderValue::from_static("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_taken_over_when_it_is_one() {
        let sane = |id: &'static str| is_sane(&HeaderValue::from_static(id));
        assert!(sane("7f1e-A_b.9"));
        for bad in ["", "two words", "a=b", "\u{1b}[31m"] {
            let value = HeaderValue::from_bytes(bad.as_bytes());
            assert!(!value.is_ok_and(|value| is_sane(&value)), "{bad:?}");
        }
        assert!(!is_sane(&HeaderValue::from_str(&"x".repeat(129)).unwrap()));
        assert!(is_sane(&fresh()));
    }
}
