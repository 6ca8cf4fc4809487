//! What a request to send files says before its body, understood at once: what is to be done, how files
//! are read, where their rows go, how the uploads are steered.

use axum::http::request;
use axum::http::{HeaderMap, StatusCode, header};

use super::body::{Terms, malformed, too_large};
use super::params::Params;
use super::preview::Wanted;
use crate::broker::Broker;
use crate::domain::{FailureLimit, TopicName};
use crate::http::webhook::Address;
use crate::http::{ApiError, App, rules};
use crate::ingest::taken::{Destination, Repeated, TakeOptions};
use crate::store::control::Steering;
use crate::workbook::{AttributeColumns, ReadOptions};

/// The topic that rows go to unless told.
pub(super) const TOPIC: &str = "rows";

/// What a request says before its body.
pub(super) struct Asked {
    pub(super) what: What,
    pub(super) boundary: String,
}

/// What is to be done with the files.
pub(super) enum What {
    /// Take them in; `wait` for their end.
    Take { options: TakeOptions, wait: bool },
    /// Only look.
    Look(Wanted),
}

impl Asked {
    pub(super) async fn of<B: Broker + Clone>(
        app: &App<B>,
        parts: &request::Parts,
    ) -> Result<Self, ApiError> {
        let mut params = Params::of(&parts.uri)?;
        let wait = params.take("wait")?.unwrap_or(false);
        let stream = params.take("stream")?.unwrap_or(false);
        let repeated = match params.take("dedupe")? {
            Some(true) => Repeated::First,
            Some(false) | None => Repeated::Anew,
        };
        let dry_run = params.take("dry_run")?.unwrap_or(false);
        let key: Option<AttributeColumns> = params.take("key")?;
        let mut read = ReadOptions {
            dates: params.take("dates")?.unwrap_or_default(),
            on_invalid: params.take("on_invalid")?.unwrap_or_default(),
            sheet: params.take("sheet")?.unwrap_or_default(),
            header_row: params.take("header_row")?.unwrap_or_default(),
            attributes: params.take("attributes")?.unwrap_or_default(),
            key: key.clone().unwrap_or_default(),
            correction: params.take("correction")?.unwrap_or_default(),
            ..ReadOptions::default()
        };
        let steering = steering(app, &mut params)?;
        let named = params.take::<String>("topic")?;
        params.end()?;
        let topic: TopicName = named
            .as_deref()
            .unwrap_or(TOPIC)
            .parse()
            .map_err(|error| ApiError::invalid(format!("`topic`: {error}")))?;
        let boundary = boundary(&parts.headers)?;
        let most = Terms {
            limits: &app.limits,
            spool: &app.intake.settings().spool,
            stop: &app.stop,
            length: None,
        }
        .most();
        if content_length(&parts.headers).is_some_and(|length| length > most) {
            return Err(too_large(format!("the request has more than {most} bytes")));
        }
        let number = app.store.control.topic(&topic).await?;
        let to = match (named, number) {
            (None, number) => Destination::Usual(number),
            (Some(_), Some(number)) => Destination::Told(number),
            (Some(_), None) => return Err(ApiError::missing("topic", &topic)),
        };
        if let Some(topic) = to.plain() {
            read.rules = rules::of_upload(app, topic).await?;
        }
        let what = if dry_run {
            What::Look(Wanted { read, topic: to, key: key.unwrap_or_default() })
        } else {
            let options = TakeOptions { read, topic: to, stream, repeated, steering };
            What::Take { options, wait }
        };
        Ok(Self { what, boundary })
    }
}

/// How the uploads of a request are steered.
fn steering<B: Broker + Clone>(app: &App<B>, params: &mut Params) -> Result<Steering, ApiError> {
    let stop_after: Option<FailureLimit> = params.take("stop_after_failures")?;
    if stop_after.is_some() && !app.broker.holds() {
        return Err(ApiError::unsupported(
            "`stop_after_failures`",
            "what carries the messages knows queues, not uploads, and cannot pause one",
        ));
    }
    let limits = &app.limits.webhook;
    let asked: Option<Address> = params.take("webhook")?;
    let usual = || Some(limits.url.as_str()).filter(|url| !url.is_empty());
    let webhook = match asked {
        Some(_) if limits.secret.is_none() => {
            return Err(ApiError::invalid(
                "`webhook`: this server has no secret to sign with (ROWMILL_WEBHOOK_SECRET)",
            ));
        }
        Some(address) => {
            address
                .check(&limits.hosts)
                .map_err(|error| ApiError::invalid(format!("`webhook`: {error}")))?;
            Some(address.url().to_string())
        }
        None => usual().filter(|_| limits.secret.is_some()).map(str::to_owned),
    };
    Ok(Steering { stop_after, webhook })
}

pub(super) fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn boundary(headers: &HeaderMap) -> Result<String, ApiError> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    match multer::parse_boundary(kind.unwrap_or_default()) {
        Ok(boundary) if !boundary.is_empty() => Ok(boundary),
        Ok(_) | Err(multer::Error::NoBoundary) => {
            Err(malformed("the Content-Type multipart/form-data names no boundary"))
        }
        Err(_) => Err(ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "wrong-content-type",
            "The body is not of a type that is understood here",
            "send the files as multipart/form-data, in the field `files`",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_of_a_body_is_told() {
        let status = |kind: Option<&'static str>| {
            let headers = kind.map(|kind| (header::CONTENT_TYPE, kind.parse().unwrap()));
            boundary(&HeaderMap::from_iter(headers)).map_err(|error| error.status().as_u16())
        };
        assert_eq!(status(Some("multipart/form-data; boundary=x")), Ok("x".into()));
        assert_eq!(status(Some("multipart/form-data")), Err(400));
        assert_eq!(status(Some("multipart/mixed; boundary=x")), Err(415));
        assert_eq!(status(Some("application/json")), Err(415));
        assert_eq!(status(None), Err(415));
    }
}
