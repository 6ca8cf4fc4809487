//! Where the engine is, read from a URL.
//!
//! ```text
//! sqs://eu-west-1                                     the region of AWS; keys as the AWS tools find them
//! sqs://eu-west-1?prefix=mill-                        every queue's name begins so
//! sqs://us-east-1?endpoint=http://127.0.0.1:5000      another server that speaks SQS
//! sqs://KEY:SECRET@us-east-1?endpoint=…               its keys; special characters as %2F
//! sqs://                                              the region too is found as the AWS tools do
//! ```

use std::fmt;

use percent_encoding::percent_decode_str;
use reqwest::Url;

use super::names::PREFIX_LONGEST;

/// What is wrong with a URL. It does not repeat it, because there may be a secret in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this is no address of SQS: {0}; one is sqs://REGION?endpoint=URL&prefix=NAME")]
pub struct BadAddress(String);

/// Keys that stand in the URL.
pub(super) struct Keys {
    pub(super) id: String,
    pub(super) secret: String,
}

/// Where the engine is.
#[derive(Debug)]
pub(super) struct Address {
    /// `None`: from the environment, the profile or the machine.
    pub(super) region: Option<String>,
    /// `None`: AWS, or what the environment or the profile says.
    pub(super) endpoint: Option<String>,
    /// What the engine's names of queues begin with.
    pub(super) prefix: String,
    /// `None`: from the environment, the profile, the container or the machine.
    pub(super) keys: Option<Keys>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("id", &self.id).finish_non_exhaustive()
    }
}

fn bad<T>(why: impl Into<String>) -> Result<T, BadAddress> {
    Err(BadAddress(why.into()))
}

impl Address {
    /// Reads one.
    ///
    /// # Errors
    /// [`BadAddress`].
    pub(super) fn read(text: &str) -> Result<Self, BadAddress> {
        let url = Url::parse(text).or_else(|error| bad(error.to_string()))?;
        if url.scheme() != "sqs" {
            return bad("it begins with `sqs://`");
        }
        if url.port().is_some() || !matches!(url.path(), "" | "/") || url.fragment().is_some() {
            return bad("after the region there is nothing but `?`");
        }
        let mut address = Self {
            region: url.host_str().filter(|host| !host.is_empty()).map(str::to_owned),
            endpoint: None,
            prefix: String::new(),
            keys: None,
        };
        let decoded = |text: &str| match percent_decode_str(text).decode_utf8() {
            Ok(text) => Ok(text.into_owned()),
            Err(_) => bad("its key is not UTF-8"),
        };
        address.keys = match (url.username(), url.password()) {
            ("", None) => None,
            (_, None) | ("", _) => return bad("there is a key without its secret"),
            (id, Some(secret)) => Some(Keys { id: decoded(id)?, secret: decoded(secret)? }),
        };
        for (name, value) in url.query_pairs() {
            match &*name {
                "endpoint" => match Url::parse(&value) {
                    Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => {
                        address.endpoint = Some(value.into_owned());
                    }
                    _ => return bad("its endpoint is no http or https URL"),
                },
                "prefix" => address.prefix = prefix(&value)?,
                _ => return bad(format!("it has `endpoint` and `prefix`, but no `{name}`")),
            }
        }
        Ok(address)
    }
}

fn prefix(text: &str) -> Result<String, BadAddress> {
    let good = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    if text.len() <= PREFIX_LONGEST && text.bytes().all(good) {
        return Ok(text.to_owned());
    }
    bad(format!("a prefix is up to {PREFIX_LONGEST} of the characters A-Z a-z 0-9 _ -"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_says_region_endpoint_prefix_and_keys() {
        let plain = Address::read("sqs://eu-west-1").unwrap();
        assert_eq!(plain.region.as_deref(), Some("eu-west-1"));
        assert!(plain.endpoint.is_none() && plain.keys.is_none() && plain.prefix.is_empty());
        let full = "sqs://AKIA:a%2Fb+c@us-east-1?endpoint=http://127.0.0.1:5000&prefix=mill-";
        let full = Address::read(full).unwrap();
        assert_eq!(full.endpoint.as_deref(), Some("http://127.0.0.1:5000"));
        assert_eq!(full.prefix, "mill-");
        let keys = full.keys.unwrap();
        assert_eq!((keys.id.as_str(), keys.secret.as_str()), ("AKIA", "a/b+c"));
        assert!(!format!("{keys:?}").contains("a/b"));
        assert_eq!(Address::read("sqs://").unwrap().region, None);
        assert_eq!(Address::read("sqs:///?prefix=a").unwrap().prefix, "a");
    }

    #[test]
    fn what_is_wrong_is_said_and_no_secret_with_it() {
        for text in [
            "redis://eu-west-1",
            "sqs://eu-west-1:99",
            "sqs://eu-west-1/queue",
            "sqs://KEY@eu-west-1",
            "sqs://eu-west-1?endpoint=127.0.0.1:5000",
            "sqs://eu-west-1?prefix=a.b",
            "sqs://k:hidden@eu-west-1?prefx=a",
            "no url",
        ] {
            let error = Address::read(text).unwrap_err().to_string();
            assert!(error.contains("sqs://REGION"), "{error}");
            assert!(!error.contains("hidden"), "{error}");
        }
    }
}
