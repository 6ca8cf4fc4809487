//! Names of queues as SQS takes them: `[A-Za-z0-9_-]{1,80}`, where ours have dots and may be 128 long.
//!
//! A dot becomes `_-_`, and `_-`, should it be in a name, `_-u`; everything else stays as it is. What
//! is too long then is cut and ends in `_-h` and a hash of the whole name. No two names meet.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use crate::domain::QueueName;

/// The longest name of a queue in SQS.
const LONGEST: usize = 80;
/// The longest prefix: the rest must have room for a hash and some text.
pub(super) const PREFIX_LONGEST: usize = 32;
/// Bytes of the hash that are written.
const HASH: usize = 16;

/// The engine's name of a queue.
pub(super) fn encode(prefix: &str, queue: &QueueName) -> String {
    let mut name = prefix.to_owned();
    let mut rest = queue.as_str();
    while let Some(first) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("_-") {
            name.push_str("_-u");
            rest = after;
            continue;
        }
        if first == '.' {
            name.push_str("_-_")
        } else {
            name.push(first)
        }
        rest = &rest[first.len_utf8()..];
    }
    if name.len() > LONGEST {
        name.truncate(LONGEST - 2 * HASH - 3);
        // A cut in the middle of a sign would make another of it.
        while name.ends_with(['_', '-']) {
            name.pop();
        }
        name.push_str("_-h");
        for byte in &Sha256::digest(queue.as_str())[..HASH] {
            let _ = write!(name, "{byte:02x}");
        }
    }
    name
}

/// Which queue has that name; `None` for a foreign one, and for one that was cut.
pub(super) fn decode(prefix: &str, name: &str) -> Option<QueueName> {
    let mut queue = String::new();
    let mut rest = name.strip_prefix(prefix)?;
    while let Some(first) = rest.chars().next() {
        let Some(sign) = rest.strip_prefix("_-") else {
            queue.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        };
        queue.push_str(match sign.chars().next()? {
            '_' => ".",
            'u' => "_-",
            _ => return None,
        });
        rest = &sign[1..];
    }
    queue.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn fits(name: &str) -> bool {
        let good = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        (1..=LONGEST).contains(&name.len()) && name.bytes().all(good)
    }

    #[test]
    fn usual_names_stay_and_the_others_can_be_read() {
        let encoded = |name: &str| encode("mill-", &name.parse().unwrap());
        assert_eq!(encoded("orders"), "mill-orders");
        assert_eq!(encoded("orders_2-eu"), "mill-orders_2-eu");
        assert_eq!(encoded("orders.eu"), "mill-orders_-_eu");
        assert_eq!(encoded("a_-b"), "mill-a_-ub");
        assert_eq!(decode("mill-", "foreign"), None);
        assert_eq!(decode("mill-", "mill-a_-xb"), None);
    }

    #[test]
    fn long_names_are_cut_and_stay_apart() {
        let names = ["x".repeat(128), "x".repeat(127), format!("{}y", "x".repeat(127))]
            .map(|name| encode("p-", &name.parse().unwrap()));
        assert!(names.iter().all(|name| fits(name)), "{names:?}");
        assert_eq!(names.iter().collect::<HashSet<_>>().len(), 3);
        assert_eq!(decode("p-", &names[0]), None);
    }

    proptest! {
        #[test]
        fn what_is_not_cut_comes_back(name in "[a_.-]{1,24}", prefix in "[a_-]{0,4}") {
            let queue: QueueName = name.parse().unwrap();
            let encoded = encode(&prefix, &queue);
            prop_assert!(fits(&encoded));
            prop_assert_eq!(decode(&prefix, &encoded), Some(queue));
        }
    }
}
