//! Receipts, as they are written.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};
use uuid::Uuid;

/// The right to settle one delivery: the lease, and the position in it. Written `LEASE.POSITION`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Receipt {
    /// The lease.
    pub lease: Uuid,
    /// The position.
    pub position: u16,
}

/// What is not a receipt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("that is no receipt: it is written as it came with the message")]
pub struct BadReceipt;

impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.lease.simple(), self.position)
    }
}

impl FromStr for Receipt {
    type Err = BadReceipt;

    fn from_str(text: &str) -> Result<Self, BadReceipt> {
        let (lease, position) = text.split_once('.').ok_or(BadReceipt)?;
        Ok(Self {
            lease: Uuid::try_parse(lease).map_err(|_| BadReceipt)?,
            position: position.parse().map_err(|_| BadReceipt)?,
        })
    }
}

impl PartialSchema for Receipt {
    fn schema() -> RefOr<Schema> {
        let pattern = "^[0-9a-f]{32}\\.[0-9]{1,4}$";
        ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some("Written as it came with the message."))
            .pattern(Some(pattern))
            .into()
    }
}

impl ToSchema for Receipt {}

impl Serialize for Receipt {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Receipt {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
