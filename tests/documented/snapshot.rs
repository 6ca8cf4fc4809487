//! The description as it is committed is what this program says, and is valid OpenAPI 3.1.

use rowmill::http::openapi;

use crate::python;

const SNAPSHOT: &str = "docs/openapi.json";

#[test]
fn the_committed_description_is_the_programs() {
    let now = serde_json::to_string_pretty(&openapi::document()).unwrap() + "\n";
    let kept = std::fs::read_to_string(python::file(SNAPSHOT)).unwrap_or_default();
    let differ = now.lines().zip(kept.lines()).position(|(now, kept)| now != kept);
    let line = differ.unwrap_or(now.lines().count().min(kept.lines().count()));
    let at = |text: &str| text.lines().nth(line).unwrap_or("(nothing more)").to_owned();
    assert!(
        now == kept,
        "the API is described otherwise than in {SNAPSHOT}, first in line {}:\n  kept: {}\n   now: {}\n\
         If that is meant, say so in CHANGELOG.md and renew it:\n  \
         cargo run --quiet -- openapi > {SNAPSHOT}",
        line + 1,
        at(&kept),
        at(&now),
    );
}

#[tokio::test]
async fn the_description_is_valid() {
    let mut validate = python::program("openapi-spec-validator").await;
    validate.args(["--schema", "3.1"]).arg(python::file(SNAPSHOT));
    python::run(validate).await;
}
