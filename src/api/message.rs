//! Publishing, receiving, settling.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::openapi::schema::{
    AdditionalProperties, ArrayBuilder, ObjectBuilder, OneOfBuilder, Schema,
};
use utoipa::openapi::{Ref, RefOr};
use utoipa::{PartialSchema, ToSchema};
use uuid::Uuid;

use super::Receipt;

/// A message to be published.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewMessage {
    /// A JSON object, kept as it is written: 1 MiB at most.
    #[schema(value_type = Object)]
    pub data: Box<RawValue>,
    /// What queues filter by: 64 at most, names of 1 to 128 characters, values of up to 1,024.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(schema_with = super::queue::attributes_schema)]
    pub attributes: BTreeMap<String, String>,
}

/// `POST /topics/{topic}/messages`: one message, or `{"messages": […]}`.
#[derive(Debug, Clone)]
pub enum Publish {
    /// One; the answer tells all about its copies ([`Published::One`]).
    One(NewMessage),
    /// Many, in one step; the answer tells the ids of each ([`Published::Many`]).
    Many(Vec<NewMessage>),
}

/// The answer to [`Publish`]. Whoever asked knows which of the two it is, and reads that one.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Published {
    /// `{"data": [copy, …]}`: the copy made for each queue that takes the message.
    One {
        /// The copies.
        data: Vec<Copy>,
    },
    /// `{"messages": [{"ids": […]}, …]}`, in the order sent.
    Many {
        /// One for each message sent.
        messages: Vec<Accepted>,
    },
}

/// The ids of a message's copies, one a queue that takes it; none when none does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Accepted {
    /// They.
    pub ids: Vec<String>,
}

/// A message in one queue.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Copy {
    /// Its id.
    pub id: String,
    /// The queue's name.
    pub queue_id: String,
    /// The data as sent.
    #[schema(value_type = Object)]
    pub data: Box<RawValue>,
    /// The attributes.
    pub attributes: BTreeMap<String, String>,
    /// Deliveries so far.
    pub delivery_attempts: u16,
    /// When it was published.
    pub created_at: String,
    /// When it can be delivered.
    pub scheduled_at: String,
    /// When it expires if nobody has received it by then.
    pub expired_at: Option<String>,
    /// When it last changed.
    pub updated_at: String,
}

/// The kind of problem (after `/problems/`) that answers a settle of which every receipt is stale.
pub const STALE_RECEIPTS: &str = "stale-receipts";
/// The kind of problem of what the broker behind a server cannot do.
pub const UNSUPPORTED: &str = "unsupported";

/// A message in a consumer's hands. `GET /queues/{queue}/messages` answers `{"data": […]}` of them.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Delivery {
    /// What settles it.
    pub receipt: Receipt,
    /// The message's id, the same at every attempt.
    pub id: String,
    /// The queue's name.
    pub queue_id: String,
    /// Deliveries so far, this one included: 1 at the first.
    pub delivery_attempts: u16,
    /// How long it may be kept from now on, in seconds.
    pub deadline_seconds: f64,
    /// When it was published.
    pub created_at: String,
    /// When it comes again if it is not settled: now, and the deadline.
    pub scheduled_at: String,
    /// When it expires if it has not ended by then.
    pub expired_at: Option<String>,
    /// When it was handed out.
    pub updated_at: String,
    /// The upload it is a row of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upload_id: Option<Uuid>,
    /// The uploaded file's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filename: Option<String>,
    /// The sheet; a csv file has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sheet: Option<String>,
    /// The row of the sheet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub row: Option<u32>,
    /// The data.
    #[schema(value_type = Object)]
    pub data: Box<RawValue>,
    /// Attributes chosen at publishing: an object of strings.
    #[schema(value_type = Option<Object>)]
    pub attributes: Option<Box<RawValue>>,
}

/// `POST /queues/{queue}/settle`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settle {
    /// Done.
    #[serde(deserialize_with = "super::object::each")]
    pub acks: Vec<Ack>,
    /// To be tried again.
    #[serde(deserialize_with = "super::object::each")]
    pub nacks: Vec<Nack>,
    /// Never to be tried again.
    #[serde(deserialize_with = "super::object::each")]
    pub rejects: Vec<Reject>,
    /// Handed back unprocessed: to be delivered again at once.
    pub releases: Vec<Receipt>,
}

/// One that is done.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Ack {
    /// Which.
    pub receipt: Receipt,
    /// What came of it: any JSON, kept as it is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    pub output: Option<Box<RawValue>>,
}

/// One to be tried again.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Nack {
    /// Which.
    pub receipt: Receipt,
    /// Why, for the record.
    #[serde(default)]
    pub reason: String,
    /// When it comes again, up to 366 days; the queue's back-off unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 31_622_400)]
    pub delay_seconds: Option<f64>,
}

/// One never to be tried again.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Reject {
    /// Which.
    pub receipt: Receipt,
    /// Why, for the record.
    #[serde(default)]
    pub reason: String,
}

/// What a settle did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Settled {
    /// Acked by this call.
    pub done: u32,
    /// Dead by this call: rejected, or failed at the last attempt.
    pub dead: u32,
    /// Will come again.
    pub again: u32,
    /// Receipts that settle nothing any more: settled before, or their deadline passed.
    pub stale: Vec<Receipt>,
}

/// `POST /queues/{queue}/extend`: gives leases longer, from now. A lease is extended whole, by any
/// of its receipts.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Extend {
    /// Receipts.
    pub receipts: Vec<Receipt>,
    /// How long; the queue's ack deadline unless told.
    #[serde(
        default,
        deserialize_with = "super::whole::maybe",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(minimum = 1, maximum = 43_200)]
    pub seconds: Option<u32>,
}

/// What became of one receipt in an extend.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Extended {
    /// Which.
    pub receipt: Receipt,
    /// How long from now; nothing when it was too late.
    pub deadline_seconds: Option<f64>,
}

impl<'de> Deserialize<'de> for Publish {
    /// Told apart by whether there is a field `messages`, so that an error is about the form meant.
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Many {
            #[serde(deserialize_with = "super::object::each")]
            messages: Vec<NewMessage>,
        }
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let fields: BTreeMap<String, &RawValue> =
            serde_json::from_str(raw.get()).map_err(D::Error::custom)?;
        if fields.contains_key("messages") {
            let many: Many = serde_json::from_str(raw.get()).map_err(D::Error::custom)?;
            Ok(Self::Many(many.messages))
        } else {
            serde_json::from_str(raw.get()).map(Self::One).map_err(D::Error::custom)
        }
    }
}

impl Serialize for Publish {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::One(message) => message.serialize(serializer),
            Self::Many(messages) => BTreeMap::from([("messages", messages)]).serialize(serializer),
        }
    }
}

impl PartialSchema for Publish {
    fn schema() -> RefOr<Schema> {
        let one = Ref::from_schema_name(NewMessage::name());
        let messages = ArrayBuilder::new()
            .items(Ref::from_schema_name(NewMessage::name()))
            .min_items(Some(1))
            .max_items(Some(1_000));
        let many = ObjectBuilder::new()
            .property("messages", messages)
            .required("messages")
            .additional_properties(Some(AdditionalProperties::FreeForm(false)));
        OneOfBuilder::new().item(one).item(many).into()
    }
}

impl ToSchema for Publish {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((NewMessage::name().into(), NewMessage::schema()));
        NewMessage::schemas(schemas);
    }
}
