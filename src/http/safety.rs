//! What one client, or many, may take of a server before it says no. Requests have their own limits
//! in [`super::HttpLimits`]; these hold before a request is understood, and whoever sends it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::units;

/// What bounds connections, requests as such, and the guard.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SafetyLimits {
    /// Connections at the same time; more wait until one ends. 4,096.
    pub connections_at_once: usize,
    /// How long a connection may take to send a request's head, from its beginning or from the end
    /// of the request before; so an idle connection is closed after it, too. 30 s.
    #[serde(with = "units::time")]
    pub head_wait: Duration,
    /// Bytes of a request's head. 32 KiB.
    #[serde(with = "units::size")]
    pub head_bytes: usize,
    /// Headers of a request. 64.
    pub headers: usize,
    /// Requests at the same time that are answered at once; more are told to come again. 1,024.
    pub requests_at_once: usize,
    /// Requests at the same time that take their time (uploads, long polls, event streams, sockets);
    /// more are told to come again. 1,024.
    pub streams_at_once: usize,
    /// How long it may take until the answer to a request begins; a long poll has its wait on top,
    /// an upload takes as long as it keeps sending. 60 s.
    #[serde(with = "units::time")]
    pub request_time: Duration,
    /// For how long the keys are trusted to be as they were when last looked at. 2 s.
    #[serde(with = "units::time")]
    pub key_trust: Duration,
    /// Tries with keys that are none, in a second. 10.
    pub key_tries_per_second: u32,
    /// How long a browser's session lasts. 12 h.
    #[serde(with = "units::time")]
    pub session: Duration,
}

impl Default for SafetyLimits {
    fn default() -> Self {
        Self {
            connections_at_once: 4_096,
            head_wait: Duration::from_secs(30),
            head_bytes: 32 << 10,
            headers: 64,
            requests_at_once: 1_024,
            streams_at_once: 1_024,
            request_time: Duration::from_secs(60),
            key_trust: Duration::from_secs(2),
            key_tries_per_second: 10,
            session: Duration::from_secs(12 * 60 * 60),
        }
    }
}
