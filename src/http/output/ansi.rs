//! Text of a terminal as HTML: its colours and styles as elements with inline styles, everything else
//! that a terminal would obey made visible or left out.
//!
//! Of escape sequences only those that style text (SGR) are passed on, and those in a form of our
//! own: the whole style at each change, so that elements never nest deeper than there are kinds of
//! style, however many changes there are.

use std::collections::BTreeMap;

use ansi_to_html::{Converter, Esc};

/// Changes of style that are shown; text beyond the last is in the style that it left.
const CHANGES: usize = 10_000;
const ESCAPE: char = '\u{1b}';

/// Safe HTML of any text.
pub(super) fn html(text: &str) -> String {
    let styled = restyled(text);
    // Nothing is left in it that the converter refuses; were there, it would be shown without style.
    Converter::new().convert(&styled).unwrap_or_else(|_| Esc(&styled).to_string())
}

/// The text with its styles alone.
fn restyled(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut style = Style::default();
    let mut changes = 0;
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            ESCAPE => {
                let (sequence, after) = sequence(rest);
                rest = after;
                if let Some(codes) = sequence
                    && changes < CHANGES
                    && style.apply(codes)
                {
                    changes += 1;
                    style.write(&mut out);
                }
            }
            '\r' if rest.starts_with('\n') => {}
            // A line that a terminal would write over begins anew.
            '\r' => out.push('\n'),
            '\n' | '\t' => out.push(c),
            c => out.push(visible(c)),
        }
    }
    out
}

/// Controls as signs that stand for them.
fn visible(c: char) -> char {
    match c {
        '\0'..='\u{1f}' => char::from_u32(0x2400 + u32::from(c)).unwrap_or('\u{FFFD}'),
        '\u{7f}' => '\u{2421}',
        '\u{80}'..='\u{9f}' => '\u{FFFD}',
        c => c,
    }
}

/// What follows an escape character: the codes of a sequence that styles, nothing for any other, and
/// the text behind it. One that has no end is dropped with its first character alone, so that the
/// text behind it is not swallowed.
fn sequence(text: &str) -> (Option<&str>, &str) {
    let mut chars = text.char_indices();
    match chars.next() {
        Some((_, '[')) => {
            let body = &text[1..];
            let end = body.find(|c: char| !matches!(c, ' '..='?'));
            match end.map(|end| (&body[..end], body[end..].chars().next())) {
                Some((codes, Some(last @ '@'..='~'))) => {
                    let after = &body[codes.len() + 1..];
                    ((last == 'm').then_some(codes), after)
                }
                _ => (None, body),
            }
        }
        // Strings to the terminal: titles, links, the clipboard.
        Some((_, ']' | 'P' | 'X' | '^' | '_')) => {
            let body = &text[1..];
            let end = body.find(['\u{7}', ESCAPE, '\u{9c}', '\n']);
            match end.map(|end| (end, body[end..].chars().next())) {
                Some((end, Some(last @ ('\u{7}' | '\u{9c}')))) => {
                    (None, &body[end + last.len_utf8()..])
                }
                Some((end, Some(ESCAPE))) if body[end + 1..].starts_with('\\') => {
                    (None, &body[end + 2..])
                }
                _ => (None, body),
            }
        }
        // A change of character set: one sign more.
        Some((_, '(' | ')' | '*' | '+')) => match chars.next() {
            Some((at, c)) if c.is_ascii_alphanumeric() => (None, &text[at + 1..]),
            _ => (None, &text[1..]),
        },
        Some((_, '0'..='~')) => (None, &text[1..]),
        _ => (None, text),
    }
}

/// What a code says something about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Weight,
    Slant,
    Underline,
    Overline,
    Crossed,
    Inverted,
    Colour,
    Ground,
}

/// A style: the code of each kind that is not as usual.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Style(BTreeMap<Kind, String>);

impl Style {
    /// Applies the codes of a sequence; answers whether the style is another. Codes that are not
    /// understood are passed over.
    fn apply(&mut self, codes: &str) -> bool {
        let before = self.clone();
        // An empty code is a 0; colons part what belongs to one code, as semicolons mostly do.
        let mut codes = codes.split([';', ':']).map(|code| match code {
            "" => Some(0),
            code => code.parse::<u8>().ok(),
        });
        while let Some(code) = codes.next() {
            let Some(code) = code else { continue };
            match code {
                0 => self.0.clear(),
                1 | 2 => self.set(Kind::Weight, code),
                3 => self.set(Kind::Slant, code),
                4 | 21 => self.set(Kind::Underline, code),
                7 => self.set(Kind::Inverted, code),
                9 => self.set(Kind::Crossed, code),
                53 => self.set(Kind::Overline, code),
                30..=37 | 90..=97 => self.set(Kind::Colour, code),
                40..=47 | 100..=107 => self.set(Kind::Ground, code),
                22 => self.unset(Kind::Weight),
                23 => self.unset(Kind::Slant),
                24 => self.unset(Kind::Underline),
                27 => self.unset(Kind::Inverted),
                29 => self.unset(Kind::Crossed),
                55 => self.unset(Kind::Overline),
                39 => self.unset(Kind::Colour),
                49 => self.unset(Kind::Ground),
                38 | 48 => {
                    let kind = if code == 38 { Kind::Colour } else { Kind::Ground };
                    let mut next = || codes.next().flatten();
                    let colour = match next() {
                        Some(5) => next().map(|n| format!("{code};5;{n}")),
                        Some(2) => match (next(), next(), next()) {
                            (Some(r), Some(g), Some(b)) => Some(format!("{code};2;{r};{g};{b}")),
                            _ => None,
                        },
                        _ => None,
                    };
                    if let Some(colour) = colour {
                        self.0.insert(kind, colour);
                    }
                }
                _ => {}
            }
        }
        *self != before
    }

    fn set(&mut self, kind: Kind, code: u8) {
        self.0.insert(kind, code.to_string());
    }

    fn unset(&mut self, kind: Kind) {
        self.0.remove(&kind);
    }

    /// Writes the sequence that makes it so, whatever was before.
    fn write(&self, out: &mut String) {
        out.push_str("\u{1b}[0");
        for code in self.0.values() {
            out.push(';');
            out.push_str(code);
        }
        out.push('m');
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn styles_become_elements() {
        for (text, expected) in [
            ("plain & <b>", "plain &amp; &lt;b&gt;"),
            ("\u{1b}[1mbold\u{1b}[0m x", "<b>bold</b> x"),
            ("\u{1b}[31mred\u{1b}[m", "<span style='color:var(--red,#a00)'>red</span>"),
            ("\u{1b}[38;5;211mp\u{1b}[39m.", "<span style='color:#ff87af'>p</span>."),
            ("\u{1b}[48:2:1:2:3mt", "<span style='background:#010203'>t</span>"),
            (
                "\u{1b}[3;31mr\u{1b}[23m.",
                "<i><span style='color:var(--red,#a00)'>r</span></i>\
                <span style='color:var(--red,#a00)'>.</span>",
            ),
        ] {
            assert_eq!(html(text), expected, "{text:?}");
        }
    }

    #[test]
    fn whatever_else_a_terminal_obeys_is_left_out_or_shown() {
        for (text, expected) in [
            ("a\u{1b}[2Jb\u{1b}[1;1Hc\u{1b}[?25ld", "abcd"),
            ("\u{1b}]8;;javascript:alert(1)\u{1b}\\link\u{1b}]8;;\u{1b}\\.", "link."),
            ("\u{1b}]0;title\u{7}x", "x"),
            ("\u{1b}]52;c;aGk=\u{7}x", "x"),
            ("\u{1b}Pq#0\u{1b}\\x", "x"),
            ("\u{1b}(Bx\u{1b}=y\u{1b}7z", "xyz"),
            // Without an end: what is behind is text.
            ("\u{1b}]8;;http://x <script>", "8;;http://x &lt;script&gt;"),
            ("\u{1b}[31", "31"),
            ("\u{1b}[\u{1b}[1mb", "<b>b</b>"),
            ("\u{1b}", ""),
            ("\u{1b}é", "é"),
            ("\u{1b}[99mx\u{1b}[38;7mx\u{1b}[38;5mx\u{1b}[999999mx\u{1b}[38;2;1;2mx", "xxxxx"),
            ("a\0b\u{8}c\u{7f}d\u{9b}31me", "a\u{2400}b\u{2408}c\u{2421}d\u{FFFD}31me"),
            ("10%\r20%\r\ndone\r\n", "10%\n20%\ndone\n"),
        ] {
            assert_eq!(html(text), expected, "{text:?}");
        }
    }

    #[test]
    fn many_changes_cost_little() {
        let nest: String = (0..100_000)
            .map(|n| format!("\u{1b}[{};{}m<", 30 + n % 8, [1, 3, 4, 9, 53][n % 5]))
            .collect();
        let page = html(&nest);
        assert!(page.len() < 100 * CHANGES + 10 * nest.len(), "{} bytes", page.len());
        let (mut depth, mut deepest) = (0_i32, 0);
        for tag in page.split('<').skip(1) {
            depth += if tag.starts_with('/') { -1 } else { 1 };
            deepest = deepest.max(depth);
        }
        assert_eq!(depth, 0);
        assert!(deepest <= 8, "{deepest} elements deep");
    }

    proptest! {
        /// Of markup there is nothing but what styles text, whatever the text.
        #[test]
        fn nothing_gets_through(
            parts in proptest::collection::vec(
                prop_oneof![
                    "\\PC{0,8}",
                    "[\u{0}-\u{9f}<>&'\"]{0,8}",
                    "\u{1b}\\[[0-9;:?]{0,8}[a-zA-Z]?",
                    "\u{1b}[\\]PX^_][^\u{1b}]{0,8}(\u{1b}\\\\|\u{7})?",
                    Just("<script>alert(1)</script>".to_owned()),
                    Just("' onload='x".to_owned()),
                ],
                0..12,
            ),
        ) {
            let page = html(&parts.concat());
            for tag in page.split('<').skip(1) {
                let tag = tag.split_once('>').expect("a tag without an end").0;
                let name = tag.split(' ').next().unwrap_or_default();
                let known = ["b", "/b", "i", "/i", "u", "/u", "s", "/s", "span", "/span"];
                prop_assert!(known.contains(&name), "{page}");
                let style = tag.strip_prefix(name).unwrap_or_default();
                let plain = style.is_empty()
                    || style.strip_prefix(" style='").and_then(|style| style.strip_suffix('\''))
                        .is_some_and(|style| style.bytes().all(
                            |c| c.is_ascii_alphanumeric() || b"#-:;(),.".contains(&c)
                        ));
                prop_assert!(plain, "{page}");
            }
            prop_assert!(!page.chars().any(|c| c.is_control() && c != '\n' && c != '\t'), "{page:?}");
        }
    }
}
