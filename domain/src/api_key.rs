//! API keys: a long random text in its owner's hands, and its hash in ours.
//!
//! The text has 256 random bits, so nobody guesses it, and a fast hash is enough to keep: there is
//! nothing to try through as with a password. It begins with `rmk_`, so that people and the scanners
//! of code hosts know one where it should not be.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use super::Scopes;

/// What every key begins with.
const PREFIX: &str = "rmk_";

/// A key as its owner has it. It is shown once and kept nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct KeySecret(String);

impl KeySecret {
    /// A key of these bytes, which must be random.
    pub fn new(random: [u8; 32]) -> Self {
        Self(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(random)))
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What is kept of it.
    pub fn hash(&self) -> KeyHash {
        KeyHash::of(&self.0)
    }
}

impl fmt::Debug for KeySecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeySecret(..)")
    }
}

/// What is kept of a key: its SHA-256 in hexadecimal digits. A key is looked up by it, so that how
/// long that takes tells nothing of the keys there are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeyHash(String);

impl KeyHash {
    /// The hash of what somebody says is a key.
    pub fn of(text: &str) -> Self {
        Self(Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// A hash as it was kept.
    pub fn kept(hex: String) -> Self {
        Self(hex)
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A key as it is known here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// Its number, by which it is revoked.
    pub number: i32,
    /// What it is for, in its owner's words.
    pub name: String,
    /// What it is looked up by.
    pub hash: KeyHash,
    /// What its holder may do.
    pub scopes: Scopes,
    /// When it was made, in milliseconds since 1970 (UTC).
    pub created_ms: i64,
    /// When it was revoked, if it was.
    pub revoked_ms: Option<i64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_text_that_goes_anywhere() {
        let key = KeySecret::new([0xFB; 32]);
        assert_eq!(key.as_str().len(), 47);
        assert!(key.as_str().starts_with(PREFIX));
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        assert!(key.as_str().bytes().all(plain));
        assert_ne!(key.hash(), KeySecret::new([0xFC; 32]).hash());
        assert!(!format!("{key:?}").contains(key.as_str()));
    }

    #[test]
    fn the_hash_is_sha_256() {
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(KeyHash::of("abc").as_str(), abc);
    }
}
