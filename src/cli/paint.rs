//! Colours for a person at a terminal. What is painted is written to `anstream`'s stdout and stderr:
//! they leave the colours out when nobody looks (a pipe, a file), and when the environment says so
//! (`NO_COLOR`, `TERM=dumb`).

use anstyle::{AnsiColor, Style};

/// What is well.
pub(super) const GOOD: Style = AnsiColor::Green.on_default();
/// What is under way.
pub(super) const BUSY: Style = AnsiColor::Cyan.on_default();
/// What somebody should look at.
pub(super) const WARN: Style = AnsiColor::Yellow.on_default();
/// What went wrong.
pub(super) const BAD: Style = AnsiColor::Red.on_default();
/// What is neither.
pub(super) const PLAIN: Style = Style::new();

/// The style of a number that is good to be nothing: `style` as soon as it is more.
pub(super) fn unless_none(number: u64, style: Style) -> Style {
    if number == 0 { PLAIN } else { style }
}
