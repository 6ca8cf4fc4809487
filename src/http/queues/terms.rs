//! The terms of a queue, from what is asked to what is kept and back: every bound is looked at here.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::api;
use crate::domain::{Filters, QueueName, RetryPolicy};
use crate::http::ApiError;
use crate::http::limits::{Bounds, MessageLimits, QueueLimits};
use crate::http::time::rfc3339;
use crate::store::control::{QueueRecord, QueueTerms};

/// The terms that are asked for, with defaults for what is left out; 422 for what cannot be.
pub(super) fn terms_of(
    asked: api::QueueTerms,
    limits: &QueueLimits,
    messages: &MessageLimits,
) -> Result<QueueTerms, ApiError> {
    let named = |field: &str, name: Option<String>| {
        let bad = |error| ApiError::invalid(format!("`{field}`: {error}"));
        name.map(|name| name.parse::<QueueName>().map_err(bad)).transpose()
    };
    let topic = asked.topic_id.map(|name| name.parse()).transpose();
    let dead_queue = named("dead_queue_id", asked.dead_queue_id)?;
    let max_deliveries = match (asked.message_max_deliveries, &dead_queue) {
        (Some(_), None) => {
            return Err(ApiError::invalid(
                "`message_max_deliveries` needs a `dead_queue_id`: without one a message is tried \
                 until it expires",
            ));
        }
        (n, Some(_)) => {
            let n = n.unwrap_or(limits.max_deliveries_default);
            let n = within("message_max_deliveries", n, limits.max_deliveries)?;
            Some(u16::try_from(n).unwrap_or(u16::MAX))
        }
        (None, None) => None,
    };
    let deadline = asked.ack_deadline_seconds.unwrap_or(limits.ack_deadline_default);
    let retention = asked.message_retention_seconds.unwrap_or(limits.retention_default);
    let delay = asked
        .delivery_delay_seconds
        .map(|delay| within("delivery_delay_seconds", delay, limits.delivery_delay_seconds))
        .transpose()?;
    Ok(QueueTerms {
        topic: topic.map_err(|error| ApiError::invalid(format!("`topic_id`: {error}")))?,
        dead_queue,
        filters: filters(asked.message_filters.unwrap_or_default(), limits, messages)?,
        deadline: seconds(within("ack_deadline_seconds", deadline, limits.ack_deadline_seconds)?),
        max_deliveries,
        retry: retry(asked.retry_backoff.unwrap_or_default(), limits)?,
        delay: seconds(delay.unwrap_or(0)),
        retention: Some(seconds(within(
            "message_retention_seconds",
            retention,
            limits.retention_seconds,
        )?)),
        record_outcomes: asked.record_outcomes.unwrap_or(true),
    })
}

fn seconds(n: u32) -> Duration {
    Duration::from_secs(u64::from(n))
}

fn within(field: &str, n: u32, bounds: Bounds) -> Result<u32, ApiError> {
    if bounds.hold(n) {
        return Ok(n);
    }
    Err(ApiError::invalid(format!("`{field}` is {bounds}, not {n}")))
}

fn filters(
    asked: BTreeMap<String, Vec<String>>,
    limits: &QueueLimits,
    messages: &MessageLimits,
) -> Result<Filters, ApiError> {
    let refused = |detail| Err(ApiError::invalid(format!("`message_filters`: {detail}")));
    let (most, n) = (limits.filters, asked.len());
    if n > most {
        return refused(format!("a queue filters by {most} attributes at most, not {n}"));
    }
    for (name, values) in &asked {
        let fault = messages.name_fault(name);
        if let Some(fault) = fault {
            return refused(fault);
        }
        let (most, n) = (limits.filter_values, values.len());
        if !(1..=most).contains(&n) {
            return refused(format!("`{name}` has 1 to {most} values, not {n}"));
        }
        if let Some(fault) = values.iter().find_map(|value| messages.value_fault(name, value)) {
            return refused(fault);
        }
    }
    Ok(Filters(asked))
}

fn retry(asked: api::NewRetryBackoff, limits: &QueueLimits) -> Result<RetryPolicy, ApiError> {
    let between = |field: &str, n: f64, least: f64, most: f64| {
        if (least..=most).contains(&n) {
            return Ok(n);
        }
        Err(ApiError::invalid(format!("`retry_backoff.{field}` is {least} to {most}, not {n}")))
    };
    let defaults = RetryPolicy::default();
    let longest = f64::from(limits.backoff_most_seconds);
    let first = asked.first_seconds.unwrap_or(defaults.first.as_secs_f64());
    let first = between("first_seconds", first, 0.0, f64::from(limits.backoff_first_seconds))?;
    let factor = asked.factor.unwrap_or(defaults.factor);
    let factor = between("factor", factor, 1.0, f64::from(limits.backoff_factor))?;
    let most = asked.most_seconds.unwrap_or(defaults.most.as_secs_f64().max(first));
    let most = between("most_seconds", most, first, longest)?;
    Ok(RetryPolicy {
        first: Duration::from_secs_f64(first),
        factor,
        most: Duration::from_secs_f64(most),
    })
}

/// A queue as it is answered. Part of a second counts as a whole one.
pub(super) fn shown(queue: QueueRecord) -> api::Queue {
    let terms = queue.terms;
    let whole = |time: Duration| time.as_secs() + u64::from(time.subsec_nanos() > 0);
    api::Queue {
        id: queue.name.to_string(),
        topic_id: terms.topic.map(|name| name.to_string()),
        dead_queue_id: terms.dead_queue.map(|name| name.to_string()),
        ack_deadline_seconds: whole(terms.deadline),
        message_retention_seconds: terms.retention.map(whole),
        message_filters: (!terms.filters.is_empty()).then_some(terms.filters.0),
        message_max_deliveries: terms.max_deliveries.map(u32::from),
        delivery_delay_seconds: (!terms.delay.is_zero()).then(|| whole(terms.delay)),
        retry_backoff: api::RetryBackoff {
            first_seconds: terms.retry.first.as_secs_f64(),
            factor: terms.retry.factor,
            most_seconds: terms.retry.most.as_secs_f64(),
        },
        record_outcomes: terms.record_outcomes,
        created_at: rfc3339(queue.created_at),
        updated_at: rfc3339(queue.updated_at),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn asked(terms: Value) -> Result<QueueTerms, ApiError> {
        let terms = serde_json::from_value(terms).unwrap();
        terms_of(terms, &QueueLimits::default(), &MessageLimits::default())
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        for nothing in [json!({}), json!({"ack_deadline_seconds": null, "topic_id": null})] {
            let terms = asked(nothing).unwrap();
            assert_eq!(terms.deadline, Duration::from_secs(60));
            assert_eq!(terms.retention, Some(Duration::from_secs(1_209_600)));
            assert_eq!((terms.max_deliveries, terms.delay), (None, Duration::ZERO));
            assert_eq!(terms.retry, RetryPolicy::default());
            assert!(terms.record_outcomes && terms.filters.is_empty());
        }
        assert_eq!(asked(json!({"dead_queue_id": "d"})).unwrap().max_deliveries, Some(5));
    }

    #[test]
    fn every_bound_holds_on_both_sides() {
        let wide = |n: usize| -> BTreeMap<String, Vec<&str>> {
            (0..n).map(|n| (format!("a{n}"), vec!["x"])).collect()
        };
        for (field, good, bad) in [
            ("ack_deadline_seconds", vec![json!(1), json!(600)], vec![json!(0), json!(601)]),
            (
                "message_retention_seconds",
                vec![json!(600), json!(1_209_600)],
                vec![json!(599), json!(1_209_601)],
            ),
            ("message_max_deliveries", vec![json!(1), json!(1_000)], vec![json!(0), json!(1_001)]),
            ("delivery_delay_seconds", vec![json!(1), json!(900)], vec![json!(0), json!(901)]),
            (
                "message_filters",
                vec![
                    json!(wide(32)),
                    json!({"a": vec!["x"; 100]}),
                    json!({"n".repeat(128): ["v".repeat(1_024)]}),
                ],
                vec![
                    json!(wide(33)),
                    json!({"a": []}),
                    json!({"a": vec!["x"; 101]}),
                    json!({"": ["x"]}),
                    json!({"n".repeat(129): ["x"]}),
                    json!({"a": ["v".repeat(1_025)]}),
                ],
            ),
            (
                "retry_backoff",
                vec![
                    json!({}),
                    json!({"first_seconds": 0, "factor": 1, "most_seconds": 0}),
                    json!({"first_seconds": 3_600, "factor": 100, "most_seconds": 86_400}),
                    json!({"first_seconds": 3_600}),
                ],
                vec![
                    json!({"first_seconds": -0.1}),
                    json!({"first_seconds": 3_600.1}),
                    json!({"factor": 0.9}),
                    json!({"factor": 100.1}),
                    json!({"first_seconds": 2, "most_seconds": 1}),
                    json!({"most_seconds": 86_400.1}),
                ],
            ),
        ] {
            let of = |value: &Value| asked(json!({"dead_queue_id": "d", field: value}));
            for value in &good {
                assert!(of(value).is_ok(), "{field}: {value} was refused");
            }
            for value in &bad {
                let problem = of(value).unwrap_err().problem;
                assert_eq!(problem.status, 422, "{field}: {value}");
                assert!(problem.detail.contains(field), "{}", problem.detail);
            }
        }
    }

    #[test]
    fn deliveries_are_counted_only_where_the_dead_go_somewhere() {
        let problem = asked(json!({"message_max_deliveries": 3})).unwrap_err().problem;
        assert_eq!(problem.status, 422);
        assert!(problem.detail.contains("dead_queue_id"), "{}", problem.detail);
    }
}
