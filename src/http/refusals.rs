//! Refusals that many operations share, as the description tells them.

use std::collections::BTreeMap;

use utoipa::IntoResponses;
use utoipa::openapi::response::{Response, ResponseBuilder, ResponsesBuilder};
use utoipa::openapi::{Content, Ref, RefOr};

use super::openapi::PROBLEM;

/// What is said of 501.
pub(super) const UNSUPPORTED: &str = "What carries the messages cannot do that";

/// What can be wrong with any body, before it is understood.
pub(super) struct OfBody;

impl IntoResponses for OfBody {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems(&[
            ("400", "The body is not JSON, or it broke off"),
            ("408", "The client stopped sending"),
            ("413", "The body passes a limit"),
            ("415", "The body is not said to be JSON"),
        ])
    }
}

/// Why a message's delivery cannot be ended, or lengthened, by the message's id.
pub(super) struct OfHands;

impl IntoResponses for OfHands {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems(&[
            ("404", "There is no such message, or it is gone"),
            ("409", "It waits: nobody has it in hands"),
            ("410", "It has ended, and not as was asked"),
            ("422", "The request says something that cannot be"),
            ("501", UNSUPPORTED),
        ])
    }
}

fn problems(told: &[(&str, &str)]) -> BTreeMap<String, RefOr<Response>> {
    let all = told.iter().fold(ResponsesBuilder::new(), |all, (status, meaning)| {
        let problem = Content::new(Some(Ref::from_schema_name("Problem")));
        all.response(
            *status,
            ResponseBuilder::new().description(*meaning).content(PROBLEM, problem),
        )
    });
    all.build().into()
}
