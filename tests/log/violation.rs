//! What a check found wrong: an answer rather than a panic, so that a deliberately broken log can be
//! shown to give one.

use std::fmt;

use rowmill::store::StoreError;
use rowmill::store::log::LogError;

#[derive(Debug, Clone)]
pub(crate) struct Violation(pub(crate) String);

pub(crate) type Checked<T = ()> = Result<T, Violation>;

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

macro_rules! from_error {
    ($($error:ty),*) => {$(
        impl From<$error> for Violation {
            fn from(error: $error) -> Self {
                Self(format!("the log failed: {error}"))
            }
        }
    )*};
}

from_error!(LogError, StoreError, sqlx::Error, serde_json::Error);

/// Fails with a [`Violation`] unless a condition holds.
macro_rules! check {
    ($condition:expr, $($words:tt)+) => {
        if !$condition {
            return Err($crate::violation::Violation(format!($($words)+)));
        }
    };
}

/// Fails with a [`Violation`] unless what came is what was expected.
macro_rules! check_eq {
    ($got:expr, $expected:expr, $($words:tt)+) => {{
        let (got, expected) = (&$got, &$expected);
        check!(
            got == expected,
            "{}:\n  got      {got:?}\n  expected {expected:?}",
            format_args!($($words)+)
        );
    }};
}

pub(crate) use {check, check_eq};
