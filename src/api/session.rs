//! A browser's session: a key, put in once, becomes a cookie that no script can read.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Asks for a session.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSession {
    /// The API key.
    pub key: String,
}

impl fmt::Debug for NewSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NewSession(..)")
    }
}

/// Who asks, and what they may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Session {
    /// The name of the key; nothing on a server that has no keys.
    pub name: Option<String>,
    /// `read`, `publish`, `consume`, `admin`: all of them on a server that has no keys.
    pub scopes: Vec<String>,
}
