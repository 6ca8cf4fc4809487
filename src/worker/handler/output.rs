//! What `exec` leaves behind for the record, and how an output is shown to a person.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::template::plain;

/// The recorded output of a command that ended with exit code 0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExecOutput {
    /// 0, for now; recorded so that a reader need not know that.
    pub exit_code: i32,
    /// The kept part of stdout; bytes that are not UTF-8 are replaced.
    pub stdout: String,
    /// The kept part of stderr.
    pub stderr: String,
    /// How many bytes of stdout were not kept.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub stdout_truncated_bytes: u64,
    /// How many bytes of stderr were not kept.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub stderr_truncated_bytes: u64,
}

// The signature is serde's.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// An output (JSON text, as recorded) as it should stand in a cell: a command's stdout without its
/// last line end, a string's text, nothing for null, and any other JSON as it is.
pub fn display_output(json: &str) -> Cow<'_, str> {
    let json = json.trim();
    if json.starts_with('{')
        && let Ok(output) = serde_json::from_str::<ExecOutput>(json)
    {
        let mut stdout = output.stdout;
        if stdout.ends_with('\n') {
            stdout.pop();
            if stdout.ends_with('\r') {
                stdout.pop();
            }
        }
        return Cow::Owned(stdout);
    }
    plain(json)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_shown_plainly() {
        for (json, shown) in [
            (r#"{"exit_code":0,"stdout":"a\nb\n","stderr":"x"}"#, "a\nb"),
            (r#"{"exit_code":0,"stdout":"a\r\n","stderr":"","stdout_truncated_bytes":3}"#, "a"),
            (r#"{"exit_code":0,"stdout":"","stderr":""}"#, ""),
            (r#"{"stdout":"mine"}"#, r#"{"stdout":"mine"}"#),
            (r#""text\n""#, "text\n"),
            ("null", ""),
            ("", ""),
            ("[1,2]", "[1,2]"),
            ("1.50", "1.50"),
            ("false", "false"),
        ] {
            assert_eq!(display_output(json), shown, "{json}");
        }
    }

    #[test]
    fn truncation_is_recorded_only_when_there_is_some() {
        let mut output = ExecOutput {
            exit_code: 0,
            stdout: "x".into(),
            stderr: String::new(),
            stdout_truncated_bytes: 0,
            stderr_truncated_bytes: 0,
        };
        let json = |output: &ExecOutput| serde_json::to_string(output).unwrap();
        assert_eq!(json(&output), r#"{"exit_code":0,"stdout":"x","stderr":""}"#);
        output.stdout_truncated_bytes = 5;
        assert!(json(&output).ends_with(r#""stdout_truncated_bytes":5}"#));
    }
}
