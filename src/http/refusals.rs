//! Refusals that many operations share, as the description tells them.

use std::collections::BTreeMap;

use utoipa::IntoResponses;
use utoipa::openapi::response::{Response, ResponseBuilder, ResponsesBuilder};
use utoipa::openapi::{Content, Ref, RefOr};

use super::openapi::PROBLEM;

/// What can be wrong with any body, before it is understood.
pub(super) struct OfBody;

impl IntoResponses for OfBody {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let told = [
            ("400", "The body is not JSON, or it broke off"),
            ("408", "The client stopped sending"),
            ("413", "The body passes a limit"),
            ("415", "The body is not said to be JSON"),
        ];
        let all = told.into_iter().fold(ResponsesBuilder::new(), |all, (status, meaning)| {
            let problem = Content::new(Some(Ref::from_schema_name("Problem")));
            all.response(
                status,
                ResponseBuilder::new().description(meaning).content(PROBLEM, problem),
            )
        });
        all.build().into()
    }
}
