//! Topics and queues: their terms, and how they stand.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa::openapi::schema::{
    AdditionalProperties, ArrayBuilder, Object, ObjectBuilder, Schema, SchemaType, Type,
};

/// `POST /topics`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewTopic {
    /// Its name: 1 to 128 of the characters A-Z a-z 0-9 . _ -
    #[schema(pattern = "^[A-Za-z0-9._-]{1,128}$")]
    pub id: String,
    /// What it demands of what is published to it; nothing unless told.
    #[serde(
        default,
        deserialize_with = "super::object::maybe",
        skip_serializing_if = "Option::is_none"
    )]
    pub rules: Option<super::Rules>,
}

/// A topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Topic {
    /// Its name.
    pub id: String,
    /// When it was made.
    pub created_at: String,
    /// What it demands of what is published to it, if anything. A list of topics does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rules: Option<super::Rules>,
}

/// What may be said of a queue, in each of the two requests that say it. A struct within a struct
/// could not refuse fields that it does not know.
macro_rules! with_terms {
    ($(#[$meta:meta])* pub struct $name:ident { $($own:tt)* }) => {
        $(#[$meta])*
        pub struct $name {
            $($own)*
            /// The topic that it takes from. None for a dead queue.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            #[schema(pattern = "^[A-Za-z0-9._-]{1,128}$")]
            pub topic_id: Option<String>,
            /// The queue that its dead messages go to: one that takes from no topic, belongs to no
            /// other queue, and never had messages.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            #[schema(pattern = "^[A-Za-z0-9._-]{1,128}$")]
            pub dead_queue_id: Option<String>,
            /// How long a consumer may keep a message without saying more. 60 unless told.
            #[serde(
                default,
                deserialize_with = "super::whole::maybe",
                skip_serializing_if = "Option::is_none"
            )]
            #[schema(minimum = 1, maximum = 600)]
            pub ack_deadline_seconds: Option<u32>,
            /// How long a message may wait before it expires. 1209600 (14 days) unless told.
            #[serde(
                default,
                deserialize_with = "super::whole::maybe",
                skip_serializing_if = "Option::is_none"
            )]
            #[schema(minimum = 600, maximum = 1_209_600)]
            pub message_retention_seconds: Option<u32>,
            /// Which messages it takes: those that have each of these attributes, with one of its
            /// values. All unless told.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            #[schema(schema_with = filters_schema)]
            pub message_filters: Option<BTreeMap<String, Vec<String>>>,
            /// Deliveries after which a message that fails goes to the dead queue. 5 unless told;
            /// not without a dead queue: then it is tried until it expires.
            #[serde(
                default,
                deserialize_with = "super::whole::maybe",
                skip_serializing_if = "Option::is_none"
            )]
            #[schema(minimum = 1, maximum = 1_000)]
            pub message_max_deliveries: Option<u32>,
            /// How long a published message waits before its first delivery. Not at all unless told.
            #[serde(
                default,
                deserialize_with = "super::whole::maybe",
                skip_serializing_if = "Option::is_none"
            )]
            #[schema(minimum = 1, maximum = 900)]
            pub delivery_delay_seconds: Option<u32>,
            /// When a failed message comes again.
            #[serde(
                default,
                deserialize_with = "super::object::maybe",
                skip_serializing_if = "Option::is_none"
            )]
            pub retry_backoff: Option<NewRetryBackoff>,
            /// Whether what became of its messages is kept; of rows of uploads it always is. It is
            /// unless told.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub record_outcomes: Option<bool>,
        }
    };
}

with_terms! {
    /// `POST /queues`. All but `id` may be left out, or null.
    #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
    #[serde(deny_unknown_fields)]
    pub struct NewQueue {
        /// Its name: 1 to 128 of the characters A-Z a-z 0-9 . _ -
        #[schema(pattern = "^[A-Za-z0-9._-]{1,128}$")]
        pub id: String,
    }
}

with_terms! {
    /// `PUT /queues/{queue}`: all its terms. What is left out, or null, is as for a new queue.
    #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
    #[serde(deny_unknown_fields)]
    pub struct QueueTerms {}
}

impl NewQueue {
    /// A queue of this name on these terms.
    pub fn new(id: impl Into<String>, terms: QueueTerms) -> Self {
        Self {
            id: id.into(),
            topic_id: terms.topic_id,
            dead_queue_id: terms.dead_queue_id,
            ack_deadline_seconds: terms.ack_deadline_seconds,
            message_retention_seconds: terms.message_retention_seconds,
            message_filters: terms.message_filters,
            message_max_deliveries: terms.message_max_deliveries,
            delivery_delay_seconds: terms.delivery_delay_seconds,
            retry_backoff: terms.retry_backoff,
            record_outcomes: terms.record_outcomes,
        }
    }

    /// Its name, and its terms.
    pub fn into_parts(self) -> (String, QueueTerms) {
        let terms = QueueTerms {
            topic_id: self.topic_id,
            dead_queue_id: self.dead_queue_id,
            ack_deadline_seconds: self.ack_deadline_seconds,
            message_retention_seconds: self.message_retention_seconds,
            message_filters: self.message_filters,
            message_max_deliveries: self.message_max_deliveries,
            delivery_delay_seconds: self.delivery_delay_seconds,
            retry_backoff: self.retry_backoff,
            record_outcomes: self.record_outcomes,
        };
        (self.id, terms)
    }
}

/// When a failed message comes again, as asked: after `first_seconds`, and `factor` times as long
/// after each further failure, but never after more than `most_seconds`; each wait shortened by up
/// to a half, by chance.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRetryBackoff {
    /// 1 unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 3_600)]
    pub first_seconds: Option<f64>,
    /// 2 unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 100)]
    pub factor: Option<f64>,
    /// 300, or `first_seconds` if that is more, unless told. Not less than `first_seconds`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 86_400)]
    pub most_seconds: Option<f64>,
}

/// When a failed message comes again: see [`NewRetryBackoff`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RetryBackoff {
    /// The wait after the first failure.
    pub first_seconds: f64,
    /// What each further failure multiplies it by.
    pub factor: f64,
    /// The longest wait.
    pub most_seconds: f64,
}

/// A queue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Queue {
    /// Its name.
    pub id: String,
    /// The topic it takes from.
    pub topic_id: Option<String>,
    /// Where its dead messages go.
    pub dead_queue_id: Option<String>,
    /// How long a consumer may keep a message without saying more.
    pub ack_deadline_seconds: u64,
    /// How long a message may wait before it expires; null for ever.
    pub message_retention_seconds: Option<u64>,
    /// Which messages it takes; null for all.
    pub message_filters: Option<BTreeMap<String, Vec<String>>>,
    /// Deliveries after which a message that fails is dead; null without a dead queue.
    pub message_max_deliveries: Option<u32>,
    /// How long a published message waits before its first delivery; null for not at all.
    pub delivery_delay_seconds: Option<u64>,
    /// When a failed message comes again.
    pub retry_backoff: RetryBackoff,
    /// Whether what became of its messages is kept.
    pub record_outcomes: bool,
    /// When it was made.
    pub created_at: String,
    /// When its terms were last changed.
    pub updated_at: String,
}

/// How a queue stands: `GET /queues/{queue}/stats`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct QueueStats {
    /// Waiting for a delivery, now or from a time to come.
    pub num_undelivered_messages: u64,
    /// How long ago the oldest message was published that has not ended; 0 if there is none.
    pub oldest_unacked_message_age_seconds: u64,
    /// In consumers' hands.
    pub num_in_flight_messages: u64,
    /// Waiting for a time to come: delayed, or to be tried again.
    pub num_delayed_messages: u64,
    /// Published with a file that is still being read: held back until it is read to its end.
    pub num_held_messages: u64,
    /// What its dead queue holds.
    pub num_dead_messages: u64,
    /// Messages published to it in a second, over the last minute.
    pub published_per_second: f64,
    /// Messages that ended in a second, over the last minute.
    pub ended_per_second: f64,
}

/// `PUT /queues/{queue}/redrive`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Redrive {
    /// The queue that the messages go to.
    #[schema(pattern = "^[A-Za-z0-9._-]{1,128}$")]
    pub destination_queue_id: String,
}

fn text(least: usize, most: usize) -> Object {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .min_length(Some(least))
        .max_length(Some(most))
        .build()
}

/// Names of attributes to whatever `values` are, `most` of them.
fn by_attribute(types: SchemaType, most: usize, values: Schema) -> Schema {
    ObjectBuilder::new()
        .schema_type(types)
        .max_properties(Some(most))
        .property_names(Some(text(1, 128)))
        .additional_properties(Some(AdditionalProperties::RefOr(values.into())))
        .build()
        .into()
}

fn filters_schema() -> Schema {
    let values =
        ArrayBuilder::new().items(text(0, 1_024)).min_items(Some(1)).max_items(Some(100)).build();
    let types = SchemaType::from_iter([Type::Object, Type::Null]);
    by_attribute(types, 32, values.into())
}

/// Attributes of a message to be published.
pub(super) fn attributes_schema() -> Schema {
    by_attribute(SchemaType::new(Type::Object), 64, text(0, 1_024).into())
}
