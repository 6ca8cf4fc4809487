//! The rules of topics: understood when they are given, read when a file comes, and asked about
//! messages.
//!
//! Messages are checked in this process. What a schema may cost was bounded when it was taken
//! (`workbook::rules`), and a check runs where it keeps no request waiting. What was found of a topic
//! is trusted for [`FRESH`], as its name is; the process in which rules are changed forgets them.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::http::StatusCode;
use bytes::Bytes;
use tokio::time::Instant;

use super::{ApiError, App};
use crate::api;
use crate::broker::{Broker, MessageBody};
use crate::domain::TopicName;
use crate::store::StoreError;
use crate::store::log::TopicId;
use crate::workbook::rules::{Rules, Schema};

/// How long what was found of a topic's rules is trusted.
const FRESH: Duration = Duration::from_secs(1);
/// Topics whose schemas are kept ready at most.
const KNOWN: usize = 1_000;
/// Problems that a refusal tells.
const TOLD: usize = 20;

/// Rules as they are kept, once they are understood; `None` when they demand nothing.
pub(super) fn taken(rules: Option<api::Rules>, most: usize) -> Result<Option<String>, ApiError> {
    let Some(rules) = rules else { return Ok(None) };
    let invalid = |error: &dyn std::fmt::Display| ApiError::invalid(format!("`rules`: {error}"));
    let json = serde_json::to_string(&rules).map_err(|error| invalid(&error))?;
    if json.len() > most {
        let sent = json.len();
        return Err(invalid(&format!("they have {most} bytes at most as JSON, not {sent}")));
    }
    let rules: Rules = serde_json::from_str(&json).map_err(|error| invalid(&error))?;
    rules.check().map_err(|error| invalid(&error))?;
    Ok((!rules.is_empty()).then_some(json))
}

/// Rules as they are shown.
pub(super) fn shown(json: Option<String>) -> Result<Option<api::Rules>, ApiError> {
    Ok(json.map(|json| serde_json::from_str(&json)).transpose().map_err(damaged)?)
}

/// The rules for the rows of a file that is about to be read.
pub(super) async fn of_upload<B: Broker + Clone>(
    app: &App<B>,
    topic: TopicId,
) -> Result<Option<Box<Rules>>, ApiError> {
    let json = app.store.control.topic_rules(topic).await?;
    Ok(json.map(|json| serde_json::from_str(&json)).transpose().map_err(damaged)?)
}

fn damaged(error: serde_json::Error) -> StoreError {
    StoreError::Damaged(format!("the rules of a topic: {error}"))
}

/// Schemas of topics that messages were published to.
#[derive(Debug, Clone, Default)]
pub(super) struct KnownRules(Arc<RwLock<HashMap<TopicName, Known>>>);

#[derive(Debug, Clone)]
struct Known {
    found: Instant,
    rules: Option<String>,
    schema: Option<Arc<Schema>>,
}

impl KnownRules {
    /// Forgets what it knows: something was changed here.
    pub(super) fn forget(&self) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).clear();
    }

    async fn schema<B: Broker + Clone>(
        &self,
        app: &App<B>,
        topic: &TopicName,
    ) -> Result<Option<Arc<Schema>>, ApiError> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner).get(topic).cloned();
        if let Some(known) = &known
            && known.found.elapsed() < FRESH
        {
            return Ok(known.schema.clone());
        }
        let control = &app.store.control;
        // That there is no such topic is told by who publishes.
        let Some(number) = control.topic(topic).await? else { return Ok(None) };
        let rules = control.topic_rules(number).await?;
        let schema = match known {
            Some(known) if known.rules == rules => known.schema,
            _ => rules.as_deref().map(compiled).transpose()?.flatten(),
        };
        let now = Known { found: Instant::now(), rules, schema: schema.clone() };
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= KNOWN {
            all.retain(|_, known| known.found.elapsed() < FRESH);
        }
        if all.len() < KNOWN {
            all.insert(topic.clone(), now);
        }
        Ok(schema)
    }
}

fn compiled(json: &str) -> Result<Option<Arc<Schema>>, StoreError> {
    let rules: Rules = serde_json::from_str(json).map_err(damaged)?;
    let schema = rules.check().map_err(|error| StoreError::Damaged(error.to_string()))?;
    Ok(schema.map(Arc::new))
}

/// Refuses messages that their topic's schema does not take; `several` says in a refusal which they
/// are.
pub(super) async fn check<B: Broker + Clone>(
    app: &App<B>,
    topic: &TopicName,
    bodies: &[MessageBody],
    several: bool,
) -> Result<(), ApiError> {
    let Some(schema) = app.rules.schema(app, topic).await? else { return Ok(()) };
    let data: Vec<Bytes> = bodies.iter().map(|body| body.data.clone()).collect();
    let told = tokio::task::spawn_blocking(move || problems(&schema, &data, several)).await;
    let told = told.map_err(|error| StoreError::Damaged(format!("a schema: {error}")))?;
    if told.is_empty() {
        return Ok(());
    }
    Err(ApiError::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "invalid-message",
        "The topic's schema does not take this",
        told.join("; "),
    ))
}

fn problems(schema: &Schema, data: &[Bytes], several: bool) -> Vec<String> {
    let mut told = vec![];
    for (at, data) in data.iter().enumerate() {
        let place = if several { format!("message {at}: ") } else { String::new() };
        match serde_json::from_slice(data) {
            Ok(value) => {
                for problem in schema.problems(&value, TOLD - told.len()) {
                    told.push(match problem.key {
                        Some(key) => format!("{place}`{key}`: {}", problem.detail),
                        None => format!("{place}{}", problem.detail),
                    });
                }
            }
            Err(error) => told.push(format!("{place}it is JSON that cannot be checked: {error}")),
        }
        if told.len() >= TOLD {
            told.truncate(TOLD);
            break;
        }
    }
    told
}
