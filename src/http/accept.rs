//! Which of the forms that an answer can have its asker wants: `Accept`, as RFC 9110 (12.5.1) says.
//!
//! A range that cannot be understood is passed over, as that RFC advises; a header of nothing else
//! says nothing.

use axum::http::{HeaderMap, StatusCode, header};

use super::ApiError;

/// A form: a type and its subtype, in lower case.
pub(super) type Form = (&'static str, &'static str);

/// The offered form that is wanted most: the first of these, where several are wanted alike, or where
/// nothing is said.
///
/// # Errors
/// 406 when none is wanted.
pub(super) fn choose(headers: &HeaderMap, offered: &[Form]) -> Result<usize, ApiError> {
    let said = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let ranges: Vec<Range> = said.flat_map(members).filter_map(Range::read).collect();
    if ranges.is_empty() {
        return Ok(0);
    }
    let mut best: Option<(u16, usize)> = None;
    for (at, form) in offered.iter().enumerate() {
        let quality = quality(&ranges, form);
        if quality > best.map_or(0, |(best, _)| best) {
            best = Some((quality, at));
        }
    }
    best.map(|(_, at)| at).ok_or_else(|| not_acceptable(offered))
}

fn not_acceptable(offered: &[Form]) -> ApiError {
    let names: Vec<String> = offered.iter().map(|(kind, sub)| format!("{kind}/{sub}")).collect();
    ApiError::new(
        StatusCode::NOT_ACCEPTABLE,
        "not-acceptable",
        "There is no such form of it",
        format!("`Accept` takes none of what there is: {}", names.join(", ")),
    )
}

/// The parts between commas; a comma within quotes parts nothing.
fn members(text: &str) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |c| {
        let escapes = quoted && c == '\\' && !escaped;
        if c == '"' && !escaped {
            quoted = !quoted;
        }
        escaped = escapes;
        c == ',' && !quoted
    })
}

/// How much a form is wanted, in thousandths: what the most exact range that it falls under says.
fn quality(ranges: &[Range], form: &Form) -> u16 {
    let fits = ranges.iter().filter(|range| range.takes(form));
    fits.max_by_key(|range| range.exactness()).map_or(0, |range| range.quality)
}

#[derive(Debug, PartialEq, Eq)]
struct Range {
    /// `None` stands for all.
    kind: Option<String>,
    sub: Option<String>,
    /// Thousandths.
    quality: u16,
}

impl Range {
    fn read(text: &str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let (kind, sub) = parts.next()?.split_once('/')?;
        let name = |name: &str| match name {
            "*" => Some(None),
            name if is_token(name) => Some(Some(name.to_ascii_lowercase())),
            _ => None,
        };
        let (kind, sub) = (name(kind)?, name(sub)?);
        if kind.is_none() && sub.is_some() {
            return None;
        }
        let mut quality = 1_000;
        for parameter in parts {
            let Some((name, value)) = parameter.split_once('=') else { continue };
            if name.trim().eq_ignore_ascii_case("q") {
                quality = thousandths(value.trim())?;
            }
            // Other parameters tell apart forms of one type, of which there are none here.
        }
        Some(Self { kind, sub, quality })
    }

    fn takes(&self, form: &Form) -> bool {
        self.kind.as_deref().is_none_or(|kind| kind == form.0)
            && self.sub.as_deref().is_none_or(|sub| sub == form.1)
    }

    fn exactness(&self) -> u8 {
        u8::from(self.kind.is_some()) + u8::from(self.sub.is_some())
    }
}

fn is_token(text: &str) -> bool {
    let in_token = |c: u8| c.is_ascii_alphanumeric() || b"!#$%&'+-.^_`|~".contains(&c);
    !text.is_empty() && text.bytes().all(in_token)
}

/// A weight: 0 to 1 with three digits at most.
fn thousandths(text: &str) -> Option<u16> {
    let (whole, digits) = text.split_once('.').unwrap_or((text, ""));
    if digits.len() > 3 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let part: u16 = format!("{digits:0<3}").parse().ok()?;
    match whole {
        "0" => Some(part),
        "1" if part == 0 => Some(1_000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    const FORMS: [Form; 3] = [("application", "json"), ("text", "plain"), ("text", "html")];
    const JSON: Option<usize> = Some(0);
    const PLAIN: Option<usize> = Some(1);
    const HTML: Option<usize> = Some(2);

    fn chosen(accept: &[&str]) -> Option<usize> {
        let mut headers = HeaderMap::new();
        for value in accept {
            headers.append(header::ACCEPT, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        match choose(&headers, &FORMS) {
            Ok(at) => Some(at),
            Err(error) => {
                assert_eq!(error.problem.status, 406);
                None
            }
        }
    }

    #[test]
    fn the_form_that_is_wanted_most_is_chosen() {
        for (accept, expected) in [
            ("*/*", JSON),
            ("application/json", JSON),
            ("Application/JSON; charset=utf-8", JSON),
            ("application/*", JSON),
            ("text/*", PLAIN),
            ("text/plain", PLAIN),
            ("TEXT/HTML", HTML),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", HTML),
            ("text/plain;q=0.5, text/html;q=0.6", HTML),
            ("text/plain;q=0.5,text/html;q=0.5", PLAIN),
            ("text/html;q=0.9, */*;q=1.0", JSON),
            ("*/*, application/json;q=0", PLAIN),
            ("text/*;q=0.3, text/plain;q=0, application/*;q=0.1", HTML),
            ("text/plain ; Q=0.7 , application/json;q=0.69", PLAIN),
            ("text/html;level=\"1,2\";q=0.4, text/plain;q=0.5", PLAIN),
            ("image/png", None),
            ("image/*, text/plain;q=0", None),
            ("*/*;q=0", None),
            ("application/xml;q=0.9, image/avif", None),
        ] {
            assert_eq!(chosen(&[accept]), expected, "{accept}");
        }
        assert_eq!(chosen(&["text/plain;q=0.1", "text/html"]), HTML);
    }

    #[test]
    fn who_says_nothing_or_nonsense_gets_the_first() {
        assert_eq!(chosen(&[]), JSON);
        for nonsense in
            ["", ",,", "html", "*/plain", "text/plain;q=2", "text/pl ain", "é/é", ";q=1"]
        {
            assert_eq!(chosen(&[nonsense]), JSON, "{nonsense:?}");
        }
        // Nonsense beside sense changes nothing.
        assert_eq!(chosen(&["text/plain;q=1.5, text/html;q=0.1, x"]), HTML);
    }

    #[test]
    fn weights_have_three_digits() {
        for (text, expected) in [
            ("1", Some(1_000)),
            ("1.000", Some(1_000)),
            ("0.8", Some(800)),
            ("0.", Some(0)),
            ("0.001", Some(1)),
            ("0.0001", None),
            ("1.001", None),
            ("-1", None),
            (".5", None),
            ("+0", None),
            ("", None),
        ] {
            assert_eq!(thousandths(text), expected, "{text:?}");
        }
    }
}
