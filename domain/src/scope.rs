//! What the holder of a key may do. There are few scopes, because each is a question that somebody
//! must answer when a key is made: may it look, send, work, or change how things are set up?

use std::fmt;
use std::str::FromStr;

/// One thing that may be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// Look: uploads, results, queues, numbers. Takes and changes nothing.
    Read,
    /// Send: uploads and messages.
    Publish,
    /// Work: receive, settle, extend.
    Consume,
    /// All of these, and make, change, empty and delete topics, queues and uploads.
    Admin,
}

/// A text that is no scope, or no list of them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no scope: read, publish, consume and admin are")]
pub struct BadScope(String);

impl Scope {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Read, Self::Publish, Self::Consume, Self::Admin];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Publish => "publish",
            Self::Consume => "consume",
            Self::Admin => "admin",
        }
    }

    fn bit(self) -> u8 {
        match self {
            Self::Read => 1,
            Self::Publish => 2,
            Self::Consume => 4,
            Self::Admin => 8,
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Scope {
    type Err = BadScope;

    fn from_str(text: &str) -> Result<Self, BadScope> {
        let found = Self::ALL.into_iter().find(|scope| scope.as_str() == text);
        found.ok_or_else(|| BadScope(text.chars().take(40).collect()))
    }
}

/// Some scopes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scopes(u8);

impl Scopes {
    /// Whether one of them is this scope, or includes it: `admin` includes every other.
    pub fn allow(self, scope: Scope) -> bool {
        self.0 & (scope.bit() | Scope::Admin.bit()) != 0
    }

    /// They, as they were named.
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.into_iter().filter(move |scope| self.0 & scope.bit() != 0)
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().fold(0, |all, scope| all | scope.bit()))
    }
}

/// Separated by commas.
impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, scope) in self.iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            write!(f, "{comma}{scope}")?;
        }
        Ok(())
    }
}

/// Separated by commas; at least one.
impl FromStr for Scopes {
    type Err = BadScope;

    fn from_str(text: &str) -> Result<Self, BadScope> {
        text.split(',').map(|scope| scope.trim().parse()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_a_list_in_any_order() {
        let scopes: Scopes = "consume, read,consume".parse().unwrap();
        assert_eq!(scopes.to_string(), "read,consume");
        for bad in ["", "read,", "Read", "all", "read publish"] {
            assert!(bad.parse::<Scopes>().is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn admin_includes_the_others_and_they_include_nothing() {
        for held in Scope::ALL {
            for asked in Scope::ALL {
                let scopes = Scopes::from_iter([held]);
                assert_eq!(scopes.allow(asked), held == asked || held == Scope::Admin);
            }
        }
    }
}
