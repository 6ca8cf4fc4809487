//! Where a spool is, as people say it: a directory, or `s3://bucket/prefix`.
//!
//! Credentials have no place in it. It stands in the configuration, which is printed.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What is wrong with a place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this is no spool: {0}; one is a directory, or s3://BUCKET/PREFIX")]
pub struct BadPlace(String);

/// Where a spool is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Place {
    /// A directory of this machine, or one that several share.
    Directory(PathBuf),
    /// A bucket of S3, or of another server that speaks its language.
    S3 {
        /// Its name.
        bucket: String,
        /// What the names of its objects begin with, without slashes at its ends; may be empty.
        prefix: String,
    },
}

impl Place {
    fn s3(rest: &str) -> Result<Self, BadPlace> {
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
        if bucket.is_empty() || !bucket.bytes().all(name) {
            let why = "a bucket's name has letters, digits, `.`, `-` and `_`, and nothing else \
                       stands before the prefix: keys and the endpoint are told in the environment";
            return Err(BadPlace(why.into()));
        }
        let prefix = prefix.trim_matches('/');
        let good = |part: &str| {
            !matches!(part, "" | "." | "..")
                && part.bytes().all(|b| name(b) || matches!(b, b'=' | b'+' | b'@'))
        };
        if !prefix.is_empty() && !prefix.split('/').all(good) {
            return Err(BadPlace(format!("`{prefix}` cannot be a prefix")));
        }
        Ok(Self::S3 { bucket: bucket.to_owned(), prefix: prefix.to_owned() })
    }
}

impl TryFrom<OsString> for Place {
    type Error = BadPlace;

    fn try_from(place: OsString) -> Result<Self, BadPlace> {
        // A path need not be text; an address is.
        match place.to_str().and_then(|text| text.split_once("://")) {
            _ if place.is_empty() => Err(BadPlace("it is empty".into())),
            Some(("s3", rest)) => Self::s3(rest),
            Some((scheme, _)) if scheme.bytes().all(|b| b.is_ascii_alphanumeric()) => {
                Err(BadPlace(format!("`{scheme}:` names none")))
            }
            _ => Ok(Self::Directory(place.into())),
        }
    }
}

impl TryFrom<String> for Place {
    type Error = BadPlace;

    fn try_from(place: String) -> Result<Self, BadPlace> {
        OsString::from(place).try_into()
    }
}

impl From<PathBuf> for Place {
    fn from(directory: PathBuf) -> Self {
        Self::Directory(directory)
    }
}

impl From<Place> for String {
    fn from(place: Place) -> Self {
        place.to_string()
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path) => path.display().fmt(f),
            Self::S3 { bucket, prefix } if prefix.is_empty() => write!(f, "s3://{bucket}"),
            Self::S3 { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str) -> Result<Place, BadPlace> {
        text.to_owned().try_into()
    }

    #[test]
    fn a_place_is_a_directory_or_a_bucket() {
        for path in ["rowmill-spool", "/var/spool/mill", "s3", "./a:b", "s3:/odd"] {
            assert_eq!(place(path), Ok(Place::Directory(path.into())));
        }
        for (said, bucket, prefix, shown) in [
            ("s3://mill", "mill", "", "s3://mill"),
            ("s3://mill/", "mill", "", "s3://mill"),
            (
                "s3://mill.example/up/loads/",
                "mill.example",
                "up/loads",
                "s3://mill.example/up/loads",
            ),
        ] {
            let s3 = Place::S3 { bucket: bucket.into(), prefix: prefix.into() };
            assert_eq!(place(said), Ok(s3.clone()));
            assert_eq!(s3.to_string(), shown);
            assert_eq!(place(shown), Ok(s3));
        }
    }

    #[test]
    fn what_is_neither_is_told_and_no_secret_with_it() {
        for text in [
            "",
            "gs://mill",
            "file:///var/spool",
            "s3://",
            "s3:///prefix",
            "s3://key:hidden@mill/a",
            "s3://mill:9000",
            "s3://mill?endpoint=hidden",
            "s3://mill/a//b",
            "s3://mill/../b",
            "s3://mill/a?b",
        ] {
            let error = place(text).unwrap_err().to_string();
            assert!(error.contains("s3://BUCKET/PREFIX"), "{error}");
            assert!(!error.contains("hidden"), "{error}");
        }
    }
}
