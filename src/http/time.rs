//! Times as the API writes them: RFC 3339 in UTC, with milliseconds.

use std::time::{Duration, UNIX_EPOCH};

/// The last moment that RFC 3339 has a text for: the end of the year 9999.
const LAST_MS: u64 = 253_402_300_799_999;

/// Milliseconds since 1970 (UTC) as text, such as `2026-11-21T10:30:00.000Z`. What lies outside of
/// 1970 to 9999 is brought to the nearest of the two.
pub(super) fn rfc3339(ms: i64) -> String {
    let since = Duration::from_millis(u64::try_from(ms).unwrap_or(0).min(LAST_MS));
    humantime::format_rfc3339_millis(UNIX_EPOCH + since).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_a_text() {
        assert_eq!(rfc3339(1_795_343_400_007), "2026-11-22T10:30:00.007Z");
        assert_eq!(rfc3339(-1), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(i64::MAX), "9999-12-31T23:59:59.999Z");
    }
}
