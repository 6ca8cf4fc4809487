//! Which server a command speaks to, and with which key: the same for all of them.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use crate::client::{Client, ClientError, ClientLimits};

/// Where a server listens unless told.
pub(super) const API_URL: &str = "http://127.0.0.1:8000";

/// A server and a key of it.
#[derive(Debug, clap::Args)]
pub(super) struct ApiArgs {
    /// The server
    #[arg(
        long,
        value_name = "URL",
        env = "ROWMILL_API_URL",
        hide_env_values = true,
        default_value = API_URL
    )]
    api_url: String,

    #[command(flatten)]
    key: KeyArgs,
}

impl ApiArgs {
    /// A client of the server, with the key.
    ///
    /// # Errors
    /// The address or the key cannot be used.
    pub(super) fn client(&self, limits: ClientLimits) -> Result<Client, ClientError> {
        self.key.client(&self.api_url, limits)
    }
}

/// A key alone.
#[derive(Debug, clap::Args)]
pub(super) struct KeyArgs {
    /// The server's API key, if it asks for one. Other users of this machine can read a command
    /// line: better set it in the environment
    #[arg(long, value_name = "KEY", env = "ROWMILL_API_KEY", hide_env_values = true)]
    api_key: Option<Secret>,
}

impl KeyArgs {
    /// A client of the server at `url`, with the key.
    ///
    /// # Errors
    /// The address or the key cannot be used.
    pub(super) fn client(&self, url: &str, limits: ClientLimits) -> Result<Client, ClientError> {
        let client = Client::new(url, limits)?;
        match self.api_key.as_ref().map(|key| key.0.trim()) {
            // An empty variable is how some set-ups say that there is none.
            None | Some("") => Ok(client),
            Some(key) => client.with_key(key),
        }
    }
}

/// A text that is not shown.
#[derive(Clone)]
struct Secret(String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl FromStr for Secret {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}
