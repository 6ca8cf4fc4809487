//! An output as a person reads it: as plain text, and as a page with its colours.
//!
//! What it says was written by programs that are not ours, and a page is shown by a browser that
//! trusts this server. So the page is built of escaped text and of styles alone, and the browser is
//! told to run and to load nothing.

mod ansi;

use std::borrow::Cow;

use ansi_to_html::Esc;
use axum::http::{HeaderName, header};
use axum::response::{IntoResponse, Response};

use crate::api::{Outcome, State};
use crate::worker::handler::ExecOutput;

/// Bytes of text that a page shows; plain text has all of it.
const SHOWN_BYTES: usize = 1 << 20;
/// What the browser may do with a page: show its styles, and nothing else.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

const PLAIN: (HeaderName, &str) = (header::CONTENT_TYPE, "text/plain; charset=utf-8");
const HTML: (HeaderName, &str) = (header::CONTENT_TYPE, "text/html; charset=utf-8");
const NO_SNIFF: (HeaderName, &str) = (header::X_CONTENT_TYPE_OPTIONS, "nosniff");
const SAFE: (HeaderName, &str) = (header::CONTENT_SECURITY_POLICY, POLICY);

/// What a message that has ended leaves to be read: the text of an output that is a string; what a
/// command printed, stdout and then stderr; any other output as its JSON, and none for `null`. For one
/// that died it is the error.
fn text(outcome: &Outcome) -> Cow<'_, str> {
    let Some(output) = &outcome.output else {
        return Cow::Borrowed(outcome.error.as_deref().unwrap_or_default());
    };
    let json = output.get();
    match json.as_bytes().first() {
        Some(b'"') => serde_json::from_str(json).map_or(Cow::Borrowed(json), Cow::Owned),
        Some(b'n') => Cow::Borrowed(""),
        Some(b'{') => match serde_json::from_str(json) {
            Ok(ExecOutput { mut stdout, stderr, .. }) => {
                if !stdout.is_empty() && !stdout.ends_with('\n') && !stderr.is_empty() {
                    stdout.push('\n');
                }
                Cow::Owned(stdout + &stderr)
            }
            Err(_) => Cow::Borrowed(json),
        },
        _ => Cow::Borrowed(json),
    }
}

/// The text, as it is.
pub(super) fn plain(outcome: &Outcome) -> Response {
    ([PLAIN, NO_SNIFF], text(outcome).into_owned()).into_response()
}

/// A page with the text.
pub(super) fn page(outcome: &Outcome) -> Response {
    ([HTML, NO_SNIFF, SAFE], html(outcome)).into_response()
}

fn html(outcome: &Outcome) -> String {
    let text = text(outcome);
    let shown = &text[..text.floor_char_boundary(SHOWN_BYTES)];
    let (id, queue, status) = (Esc(&outcome.id), Esc(&outcome.queue), word(outcome.status));
    let at = Esc(outcome.finished_at.as_deref().unwrap_or_default());
    let output = ansi::html(shown);
    let rest = match text.len() - shown.len() {
        0 => String::new(),
        bytes => format!(
            "<p>{bytes} more bytes are not shown here; \
             ask for <code>text/plain</code> to have all.</p>\n"
        ),
    };
    format!(
        "<!doctype html>\n\
         <html lang=\"en\">\n\
         <head>\n\
         <meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>{id}</title>\n\
         </head>\n\
         <body style=\"margin:1rem;background:#1e1e1e;color:#ddd;font-family:monospace\">\n\
         <p>{id} in {queue}: {status} {at}</p>\n\
         <pre style=\"white-space:pre-wrap;overflow-wrap:anywhere\">{output}</pre>\n\
         {rest}</body>\n\
         </html>\n"
    )
}

fn word(state: State) -> &'static str {
    match state {
        State::Waiting => "waiting",
        State::InFlight => "in flight",
        State::Done => "done",
        State::Dead => "dead",
        State::Expired => "expired",
        State::Cancelled => "cancelled",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;

    fn outcome(output: &str) -> Outcome {
        Outcome {
            id: "1".into(),
            queue: "rows".into(),
            status: State::Done,
            upload_id: None,
            row: None,
            attempts: Some(1),
            output: Some(RawValue::from_string(output.to_owned()).unwrap()),
            error: None,
            finished_at: None,
        }
    }

    #[test]
    fn an_output_is_read_as_text() {
        for (output, expected) in [
            (r#""a\nb""#, "a\nb"),
            (r#""\ud800""#, r#""\ud800""#),
            (r#"{"exit_code":0,"stdout":"out\n","stderr":"err"}"#, "out\nerr"),
            (r#"{"exit_code":0,"stdout":"out","stderr":"err\n"}"#, "out\nerr\n"),
            (r#"{"exit_code":0,"stdout":"","stderr":"err"}"#, "err"),
            (r#"{"stdout":"mine"}"#, r#"{"stdout":"mine"}"#),
            (r#"{"total":1.50}"#, r#"{"total":1.50}"#),
            ("null", ""),
            ("[1]", "[1]"),
            ("12345678901234567890.10", "12345678901234567890.10"),
        ] {
            assert_eq!(text(&outcome(output)), expected, "{output}");
        }
        let dead = Outcome {
            output: None,
            error: Some("no such customer".into()),
            status: State::Dead,
            ..outcome("1")
        };
        assert_eq!(text(&dead), "no such customer");
    }

    #[test]
    fn a_page_is_bounded_and_escaped() {
        let page = html(&Outcome { queue: "<q>".into(), ..outcome(r#""</pre><script>""#) });
        assert!(page.contains("&lt;/pre&gt;&lt;script&gt;") && page.contains("&lt;q&gt;"));
        assert!(!page.contains("<script") && !page.contains("more bytes"));
        let long = format!("\"{}\"", "é".repeat(SHOWN_BYTES));
        let page = html(&outcome(&long));
        assert!(page.contains(&format!("{SHOWN_BYTES} more bytes")));
        assert!(page.len() < SHOWN_BYTES + 2_000);
    }
}
