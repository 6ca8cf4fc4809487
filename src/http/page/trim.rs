//! What is left of a file of the page when nobody reads it: no comments, no indentation.
//!
//! It goes by whole lines, so that it need not understand what it cuts: blank lines go, and those
//! that are nothing but a comment as this page's files are commented (`//` in scripts, `/* */`,
//! `<!-- -->`), and what a line begins with for the eye alone. Line ends stay, as scripts mean
//! something by them. A script in which a text goes over several lines would lose what stands in it:
//! it is sent as it is, and a test says that there is none.

use super::assets::Kind;

/// A file as it is sent.
pub(super) fn trimmed(kind: Kind, text: &str) -> String {
    let (line, block) = match kind {
        Kind::Page => (None, ("<!--", "-->")),
        Kind::Style => (None, ("/*", "*/")),
        Kind::Script if has_long_text(text) => return text.to_owned(),
        Kind::Script => (Some("//"), ("/*", "*/")),
        Kind::Image => return text.to_owned(),
    };
    let mut left = String::with_capacity(text.len());
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    while let Some(first) = lines.next() {
        if line.is_some_and(|mark| first.starts_with(mark)) {
            continue;
        }
        if first.starts_with(block.0) {
            // The lines to the one that the comment ends on; it counts only if it ends that line.
            let mut rest = lines.clone();
            let last =
                std::iter::once(first).chain(rest.by_ref()).find(|line| line.contains(block.1));
            if last.is_some_and(|last| last.find(block.1) == Some(last.len() - block.1.len())) {
                lines = rest;
                continue;
            }
        }
        left.push_str(first);
        left.push('\n');
    }
    left
}

/// Whether a text between backticks, or one that is carried on by a backslash, goes over the end of a
/// line.
fn has_long_text(script: &str) -> bool {
    script.lines().any(|line| line.matches('`').count() % 2 == 1 || line.ends_with('\\'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_people_read_is_left_out() {
        let script = "/* One. */\n\n/** Two\n * lines.\n */\n\tlet a = `x // y`; // stays\n\t// goes\n\t\treturn a\n";
        assert_eq!(trimmed(Kind::Script, script), "let a = `x // y`; // stays\nreturn a\n");
        let style = "/* colours */\na {\n\tcolor: red; /* stays */\n\t//\n}\n";
        assert_eq!(trimmed(Kind::Style, style), "a {\ncolor: red; /* stays */\n//\n}\n");
        let page = "<p>\n\t<!-- goes\n\tas well -->\n\ta <!-- stays --> b\n</p>\n";
        assert_eq!(trimmed(Kind::Page, page), "<p>\na <!-- stays --> b\n</p>\n");
    }

    #[test]
    fn what_is_no_whole_comment_stays() {
        for script in
            ["/* a */ let b;\n", "/* a */ let b; /* c */\n", "/* never ended\n", "a = b\n"]
        {
            assert_eq!(trimmed(Kind::Script, script), script);
        }
    }

    #[test]
    fn texts_of_several_lines_are_not_touched() {
        for script in ["a = `\n\t// b\n`;\n", "a = 'b\\\n\t// c';\n"] {
            assert_eq!(trimmed(Kind::Script, script), script);
            assert!(has_long_text(script));
        }
    }
}
