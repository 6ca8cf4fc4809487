//! Who may ask for what.
//!
//! It stands before every route and knows what each asks for from the description of the API. A route
//! that is not described is answered to nobody, so that nobody forgets to describe one. A key is
//! asked for from the moment the first one was made. Whoever holds one shows it with each request,
//! or, in a browser, as a session that a key began.

mod keys;
mod origin;
mod rules;
mod scheme;
mod ticket;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{ALLOW, AUTHORIZATION, COOKIE};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use cookie::Cookie;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use super::refuse::refuse;
use super::uploads::linger::Linger;
use super::{ApiError, App, no_such_method};
use crate::broker::Broker;
use crate::domain::{ApiKey, KeyHash};
use crate::store::Clock;
use keys::{Keys, Known};
use origin::{Origin, does_something, origin};
use rules::{Found, Need, Rules};
use ticket::Tickets;

pub(super) use rules::is_docs;
pub(super) use scheme::declare;

/// What the name of the scheme is, before a key.
const BEARER: &str = "bearer";

/// Stands before the routes. Clones are the same one.
#[derive(Debug, Clone)]
pub(super) struct Guard(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    rules: Rules,
    keys: Keys,
    tickets: Tickets,
    tries: DefaultDirectRateLimiter,
    session: Duration,
    clock: Clock,
    linger: Linger,
}

/// What a request shows of who sent it.
enum Shown {
    /// A key.
    Key(String),
    /// A session's ticket.
    Ticket(String),
    Nothing,
}

impl Shown {
    fn by(headers: &HeaderMap) -> Self {
        let said = headers.get(AUTHORIZATION).and_then(|said| said.to_str().ok());
        if let Some((scheme, key)) = said.and_then(|said| said.split_once(' '))
            && scheme.eq_ignore_ascii_case(BEARER)
        {
            return Self::Key(key.trim().to_owned());
        }
        let ticket = headers
            .get_all(COOKIE)
            .iter()
            .filter_map(|cookies| cookies.to_str().ok())
            .flat_map(Cookie::split_parse)
            .flatten()
            .find(|cookie| cookie.name() == scheme::COOKIE);
        ticket.map_or(Self::Nothing, |ticket| Self::Ticket(ticket.value().to_owned()))
    }
}

/// Stands before a request.
pub(super) async fn stand(
    State(guard): State<Guard>,
    mut request: Request,
    next: Next,
) -> Response {
    let Some(template) = request.extensions().get::<MatchedPath>().cloned() else {
        // No route is there to be guarded: it is answered 404.
        return next.run(request).await;
    };
    let need = match guard.0.rules.find(request.method(), template.as_str()) {
        Found::Operation(need) => need,
        Found::OtherMethods(methods) => {
            let allow = HeaderValue::from_str(methods).ok();
            let refused = no_such_method(request.method().clone(), request.uri().clone()).await;
            let mut answer = refuse(request, refused, &guard.0.linger);
            answer.headers_mut().extend(allow.map(|allow| (ALLOW, allow)));
            return answer;
        }
        Found::Undescribed => {
            let (method, template) = (request.method(), template.as_str());
            tracing::error!(%method, template, "a route is not described, and so answered to nobody");
            let refused = ApiError::missing("path", request.uri().path());
            return refuse(request, refused, &guard.0.linger);
        }
    };
    if let Err(refused) = guard.admit(need, request.method(), request.headers()).await {
        return refuse(request, refused, &guard.0.linger);
    }
    if need == Need::Open {
        // Those who come in without a key may ask for a session.
        request.extensions_mut().insert(guard);
    }
    next.run(request).await
}

impl Guard {
    /// The guard of an app's routes.
    pub(super) fn new<B: Broker + Clone>(app: &App<B>) -> Self {
        let limits = &app.limits.safety;
        let tries = NonZeroU32::new(limits.key_tries_per_second).unwrap_or(NonZeroU32::MIN);
        Self(Arc::new(Inner {
            rules: Rules::of(&super::openapi::document()),
            keys: Keys::new(app.store.clone(), limits.key_trust),
            tickets: Tickets::new(&app.key),
            tries: RateLimiter::direct(Quota::per_second(tries)),
            session: limits.session,
            clock: app.store.clock.clone(),
            linger: Linger::new(&app.limits, app.stop.clone()),
        }))
    }

    async fn admit(
        &self,
        need: Need,
        method: &Method,
        headers: &HeaderMap,
    ) -> Result<(), ApiError> {
        let shown = Shown::by(headers);
        if !matches!(shown, Shown::Key(_)) && does_something(method, headers) {
            match (origin(headers), &shown) {
                (Origin::Foreign, _) | (Origin::Untold, Shown::Ticket(_)) => return Err(foreign()),
                (Origin::Own | Origin::Untold, _) => {}
            }
        }
        let Need::Scope(scope) = need else { return Ok(()) };
        let known = self.0.keys.now().await?;
        if !known.on {
            return Ok(());
        }
        let key = self.holder(&known, &shown)?;
        if key.scopes.allow(scope) {
            return Ok(());
        }
        Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "not-allowed",
            "The key does not allow that",
            format!("it takes a key with the scope `{scope}`; this one has {}", key.scopes),
        ))
    }

    /// The good key behind what was shown.
    fn holder(&self, known: &Known, shown: &Shown) -> Result<Arc<ApiKey>, ApiError> {
        let key = match shown {
            Shown::Nothing => return Err(no_key("a key is needed here")),
            Shown::Key(text) => return self.try_key(known, text),
            Shown::Ticket(ticket) => self.0.tickets.read(ticket, self.0.clock.now_ms()),
        };
        let key = key.and_then(|number| known.numbered(number).cloned());
        key.ok_or_else(|| no_key("the session is over"))
    }

    fn try_key(&self, known: &Known, text: &str) -> Result<Arc<ApiKey>, ApiError> {
        if let Some(key) = known.key(&KeyHash::of(text)) {
            return Ok(Arc::clone(key));
        }
        if self.0.tries.check().is_err() {
            let title = "Too many keys that are none were tried";
            let detail = "try again in a second";
            let mut error =
                ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too-many-tries", title, detail);
            error.retry_after = Some(1);
            return Err(error);
        }
        Err(no_key("the key is none of this server's, or was revoked"))
    }

    /// Begins a session: its ticket, and how long it lasts.
    ///
    /// # Errors
    /// 401, 429, 503.
    pub(super) async fn begin(&self, key: &str) -> Result<(String, Duration), ApiError> {
        let known = self.0.keys.now().await?;
        let key = self.try_key(&known, key)?;
        let lasts = i64::try_from(self.0.session.as_millis()).unwrap_or(i64::MAX);
        let until = self.0.clock.now_ms().saturating_add(lasts);
        Ok((self.0.tickets.write(key.number, until), self.0.session))
    }

    /// Who sent a request; `None` where no key is asked for.
    ///
    /// # Errors
    /// 401, 429, 503.
    pub(super) async fn who(&self, headers: &HeaderMap) -> Result<Option<Arc<ApiKey>>, ApiError> {
        let known = self.0.keys.now().await?;
        if !known.on {
            return Ok(None);
        }
        self.holder(&known, &Shown::by(headers)).map(Some)
    }
}

/// The cookie of a session, with nothing said of it yet.
pub(super) fn session_cookie(ticket: String) -> cookie::CookieBuilder<'static> {
    Cookie::build((scheme::COOKIE, ticket))
}

fn no_key(why: &str) -> ApiError {
    ApiError::new(
        StatusCode::UNAUTHORIZED,
        "no-key",
        "Nobody is known who asks this",
        format!(
            "{why}: send an API key as `Authorization: Bearer KEY` (rowmill's own commands take it \
             from ROWMILL_API_KEY)"
        ),
    )
}

fn foreign() -> ApiError {
    ApiError::new(
        StatusCode::FORBIDDEN,
        "foreign-page",
        "A page of another server sent this",
        "without a key, only pages of this server may do more than look: neither `Sec-Fetch-Site` \
         nor `Origin` says that it was one",
    )
}
