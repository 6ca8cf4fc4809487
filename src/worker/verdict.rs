//! Making a handler's verdict fit to be recorded.
//!
//! Whatever a handler returns, settling must succeed: one output that the store refuses would hold
//! up the verdicts of all the others. So reasons and outputs are bounded, hold no NUL (PostgreSQL's
//! text cannot), and an output is JSON.

use std::any::Any;

use serde::de::IgnoredAny;

use super::WorkerLimits;
use crate::domain::Verdict;

/// The verdict with its reason or output within the limits. What is done stays done: an output
/// that cannot be kept is recorded differently, never answered with a retry of work that was done.
pub(super) fn tidy(verdict: Verdict, limits: &WorkerLimits) -> Verdict {
    match verdict {
        Verdict::Done { output: Some(output) } => {
            Verdict::Done { output: Some(tidy_output(output, limits.output_bytes)) }
        }
        Verdict::Retry { reason, after } => {
            Verdict::Retry { reason: tidy_reason(reason, limits.reason_bytes), after }
        }
        Verdict::Reject { reason } => {
            Verdict::Reject { reason: tidy_reason(reason, limits.reason_bytes) }
        }
        other @ (Verdict::Done { output: None } | Verdict::Release) => other,
    }
}

/// The verdict on a message whose handler panicked.
pub(super) fn panicked(panic: &(dyn Any + Send)) -> Verdict {
    let message = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    Verdict::Retry { reason: format!("the handler panicked: {message}").into(), after: None }
}

fn tidy_output(output: Box<str>, most: usize) -> Box<str> {
    if output.len() > most {
        let bytes = output.len();
        return format!(r#"{{"output_dropped":"more than {most} bytes","bytes":{bytes}}}"#).into();
    }
    match serde_json::from_str::<IgnoredAny>(&output) {
        Ok(_) => output,
        // Its text, then. Escaping takes care of NUL.
        Err(_) => serde_json::to_string(&output).map_or_else(|_| "null".into(), Into::into),
    }
}

fn tidy_reason(reason: Box<str>, most: usize) -> Box<str> {
    let mut reason = reason;
    if reason.contains('\0') {
        reason = reason.replace('\0', "\u{FFFD}").into();
    }
    if reason.len() <= most {
        return reason;
    }
    // What went wrong is said first by some and last by others.
    let half = most / 2;
    let head = &reason[..reason.floor_char_boundary(half)];
    let tail = &reason[reason.ceil_char_boundary(reason.len() - half)..];
    format!("{head} […] {tail}").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_become_recordable_json() {
        let tidy = |text: &str| tidy_output(text.into(), 20).into_string();
        assert_eq!(tidy(r#"{"a":1}"#), r#"{"a":1}"#);
        assert_eq!(tidy("a\0\"b"), r#""a\u0000\"b""#);
        assert_eq!(tidy(&"1".repeat(21)), r#"{"output_dropped":"more than 20 bytes","bytes":21}"#);
    }

    #[test]
    fn reasons_lose_their_middle() {
        assert_eq!(&*tidy_reason("a\0b".into(), 10), "a\u{FFFD}b");
        let long = "ä".repeat(100) + "end";
        assert_eq!(&*tidy_reason(long.into(), 9), "ää […] end");
    }

    #[test]
    fn a_panic_says_what_it_said() {
        let caught = std::panic::catch_unwind(|| panic!("row {}", 7)).unwrap_err();
        let Verdict::Retry { reason, .. } = panicked(&*caught) else { panic!("no retry") };
        assert_eq!(&*reason, "the handler panicked: row 7");
    }
}
