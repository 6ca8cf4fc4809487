//! Requests, counted by method, route and class of status, as they are answered. The body of an
//! answer may still be on its way then: of a stream of events only its beginning is measured.

use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::telemetry::exposition::request_seconds;

/// The route of what has none: a path is the client's word, and there is no end of those.
const NO_ROUTE: &str = "none";
/// The status of a request whose client went away before it was answered.
const GONE: &str = "gone";

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    method: &'static str,
    route: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    method: &'static str,
    route: String,
    status: &'static str,
}

/// The counters. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct Requests {
    answered: Family<Answered, Counter>,
    seconds: Family<Route, Histogram, fn() -> Histogram>,
    in_flight: Gauge,
}

impl Requests {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let requests = Self {
            answered: Family::default(),
            seconds: Family::new_with_constructor(request_seconds),
            in_flight: Gauge::default(),
        };
        registry.register(
            "http_requests",
            "Requests, by class of status; gone: the client did not wait",
            requests.answered.clone(),
        );
        registry.register_with_unit(
            "http_request_duration",
            "How long requests took until their answer began",
            Unit::Seconds,
            requests.seconds.clone(),
        );
        let in_flight = requests.in_flight.clone();
        registry.register("http_requests_in_flight", "Requests not answered yet", in_flight);
        requests
    }
}

/// Counts one request.
pub(super) async fn count(
    State(requests): State<Requests>,
    request: Request,
    next: Next,
) -> Response {
    let route = request.extensions().get::<MatchedPath>();
    let route = Route {
        method: method(request.method()),
        route: route.map_or(NO_ROUTE, MatchedPath::as_str).to_owned(),
    };
    let mut one = UnderWay::begin(requests, route);
    let response = next.run(request).await;
    one.status = class(response.status());
    response
}

/// A request that is counted when this goes, however it ends.
struct UnderWay {
    requests: Requests,
    route: Route,
    status: &'static str,
    begun: Instant,
}

impl UnderWay {
    fn begin(requests: Requests, route: Route) -> Self {
        requests.in_flight.inc();
        Self { requests, route, status: GONE, begun: Instant::now() }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.requests.in_flight.dec();
        let seconds = self.begun.elapsed().as_secs_f64();
        self.requests.seconds.get_or_create(&self.route).observe(seconds);
        let Route { method, route } = self.route.clone();
        let answered = Answered { method, route, status: self.status };
        self.requests.answered.get_or_create(&answered).inc();
    }
}

/// A client may invent methods; there is one word for all of those.
fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        Method::PATCH => "PATCH",
        _ => "other",
    }
}

fn class(status: StatusCode) -> &'static str {
    match status.as_u16() {
        100..=199 => "1xx",
        200..=299 => "2xx",
        300..=399 => "3xx",
        400..=499 => "4xx",
        _ => "5xx",
    }
}
