//! What a number format says about its numbers: whether they are dates, times of day, durations,
//! or text with leading zeros. Only the first section is looked at, as it is the one for the
//! ordinary number; colours, locales, fillers, quoted and escaped text are stepped over.

/// What a cell's number format makes of its number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Format {
    /// A number: plain, percent, currency, fraction.
    #[default]
    Plain,
    /// A day.
    Date,
    /// A day and a time.
    DateTime,
    /// A time of day.
    Time,
    /// An amount of time, which may pass 24 hours.
    Duration,
    /// Digits padded with zeros: `None` is a digit's place, the rest is written as it stands.
    Zeros(Box<[Option<char>]>),
}

impl Format {
    /// The format that a file refers to by number alone.
    pub(crate) fn builtin(id: u32) -> Self {
        match id {
            // The East Asian ones differ by locale; those for times are 32 and 33 everywhere.
            18..=21 | 32 | 33 | 45 | 47 => Self::Time,
            22 => Self::DateTime,
            14..=17 | 27..=31 | 34..=36 | 50..=58 => Self::Date,
            46 => Self::Duration,
            _ => Self::Plain,
        }
    }

    /// The format that a file spells out.
    pub(crate) fn parse(code: &str) -> Self {
        let section = Section::parse(code);
        if section.elapsed {
            return Self::Duration;
        }
        match (section.date, section.time) {
            (true, true) => Self::DateTime,
            (true, false) => Self::Date,
            (false, true) => Self::Time,
            (false, false) => section.zeros(),
        }
    }
}

#[derive(Default)]
struct Section {
    elapsed: bool,
    date: bool,
    time: bool,
    /// Digit places and literal characters; `None` once the format is more than those.
    places: Option<Vec<Option<char>>>,
}

impl Section {
    fn parse(code: &str) -> Self {
        let mut section = Self { places: Some(Vec::new()), ..Self::default() };
        let mut chars = code.chars().peekable();
        // The kind of the last date or time letter, to tell minutes from months.
        let mut last = ' ';
        let mut open_month = false;
        while let Some(c) = chars.next() {
            match c {
                ';' => break,
                '"' => {
                    for literal in chars.by_ref().take_while(|&c| c != '"') {
                        section.literal(literal);
                    }
                }
                '\\' => {
                    if let Some(literal) = chars.next() {
                        section.literal(literal);
                    }
                }
                '_' | '*' => {
                    chars.next();
                }
                '[' => {
                    let inside: String = chars.by_ref().take_while(|&c| c != ']').collect();
                    section.bracket(&inside, &mut last);
                }
                '0' => {
                    if let Some(places) = &mut section.places {
                        places.push(None);
                    }
                }
                'g' | 'G'
                    if chars.clone().take(6).collect::<String>().to_lowercase() == "eneral" =>
                {
                    section.places = None;
                    chars.by_ref().take(6).for_each(drop);
                }
                'E' | 'e' if matches!(chars.peek(), Some('+' | '-')) => section.places = None,
                'y' | 'Y' | 'd' | 'D' | 'e' | 'g' | 'G' | 'b' | 'B' => {
                    section.date = true;
                    last = 'd';
                }
                'h' | 'H' => {
                    section.time = true;
                    last = 'h';
                }
                's' | 'S' => {
                    section.time = true;
                    open_month = false;
                    last = 's';
                }
                'm' | 'M' => {
                    while chars.next_if(|c| matches!(c, 'm' | 'M')).is_some() {}
                    if last == 'h' {
                        section.time = true;
                    } else {
                        // Minutes if seconds follow, a month otherwise.
                        section.date |= open_month;
                        open_month = true;
                    }
                    last = 'm';
                    continue;
                }
                'a' | 'A' => {
                    let rest: String = chars.clone().take(4).collect::<String>().to_lowercase();
                    let length = if rest.starts_with("m/pm") {
                        4
                    } else if rest.starts_with("/p") {
                        2
                    } else {
                        // `aaa` is the day of the week in East Asian formats.
                        section.date |= rest.starts_with("aa");
                        0
                    };
                    section.time |= length > 0;
                    chars.by_ref().take(length).for_each(drop);
                }
                '#' | '?' | '.' | ',' | '%' | '@' | 'E' => section.places = None,
                literal => section.literal(literal),
            }
            if open_month && last != 'm' {
                section.date = true;
                open_month = false;
            }
        }
        section.date |= open_month;
        section
    }

    fn literal(&mut self, c: char) {
        if let Some(places) = &mut self.places {
            places.push(Some(c));
        }
    }

    fn bracket(&mut self, inside: &str, last: &mut char) {
        let lower = inside.to_ascii_lowercase();
        match lower.as_bytes() {
            [first @ (b'h' | b'm' | b's'), rest @ ..] if rest.iter().all(|c| c == first) => {
                self.elapsed = true;
                *last = 'h';
            }
            // A condition: which section holds depends on the number, so none is believed.
            [b'<' | b'>' | b'=', ..] => self.places = None,
            _ => {}
        }
    }

    fn zeros(self) -> Format {
        match self.places {
            Some(places) if places.iter().filter(|place| place.is_none()).count() > 1 => {
                Format::Zeros(places.into())
            }
            _ => Format::Plain,
        }
    }
}

/// Writes `digits` into the places of a format, from the right; what has no place goes first.
pub(crate) fn pad(places: &[Option<char>], digits: &str) -> String {
    let count = places.iter().filter(|place| place.is_none()).count();
    let spare = digits.len().saturating_sub(count);
    let mut fill = std::iter::repeat_n('0', count.saturating_sub(digits.len()))
        .chain(digits.chars().skip(spare));
    let mut out = String::with_capacity(places.len() + spare);
    let mut first = true;
    for place in places {
        match place {
            Some(c) => out.push(*c),
            None => {
                if first {
                    out.extend(digits.chars().take(spare));
                    first = false;
                }
                out.extend(fill.next());
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zeros(code: &str, digits: &str) -> String {
        match Format::parse(code) {
            Format::Zeros(places) => pad(&places, digits),
            other => panic!("{code} is {other:?}"),
        }
    }

    #[test]
    fn dates_times_and_durations_are_told_apart() {
        for (code, format) in [
            ("yyyy\\-mm\\-dd", Format::Date),
            ("mmmm\" \"yyyy", Format::Date),
            ("[$-411]ggge\"年\"m\"月\"d\"日\";@", Format::Date),
            ("\"Today is\"\\ m/d/yyyy", Format::Date),
            ("[$-F800]dddd\\,\\ mmmm\\ dd\\,\\ yyyy", Format::Date),
            ("mmm", Format::Date),
            ("mm-yy", Format::Date),
            ("m/d/yy h:mm", Format::DateTime),
            ("h:mm d/m", Format::DateTime),
            ("yyyy-mm-dd\\Thh:mm:ss.000", Format::DateTime),
            ("mm:ss", Format::Time),
            ("mm:ss.0;@", Format::Time),
            ("h:mm", Format::Time),
            ("h:mm;@", Format::Time),
            ("[$-F400]h:mm:ss\\ AM/PM", Format::Time),
            ("ha/p", Format::Time),
            ("[h]:mm", Format::Duration),
            ("[hh]:mm:ss", Format::Duration),
            ("[mm]:ss", Format::Duration),
            ("[s].00", Format::Duration),
            ("[Blue]\\+[h]:mm;[Red]\\-[h]:mm", Format::Duration),
        ] {
            assert_eq!(Format::parse(code), format, "{code}");
        }
    }

    #[test]
    fn what_is_no_date_stays_a_number() {
        for code in [
            "General",
            "GENERAL",
            "",
            "0",
            "0.00",
            "#,##0.00",
            "0%",
            "0.00E+00",
            "##0.0E+0",
            "# ?/?",
            "@",
            "_(* #,##0.00_);_(* (#,##0.00)",
            "\"$\"#,##0_);[Red](\"$\"#,##0)",
            "#,##0\\ [$€-407]",
            "#,##0.0####\" YMD\"",
            "0\"x\"*d",
            "[>=100][Magenta]General",
            "[<=9999999]000-0000;(000) 000-0000",
        ] {
            assert_eq!(Format::parse(code), Format::Plain, "{code}");
        }
    }

    #[test]
    fn leading_zeros_are_text() {
        assert_eq!(zeros("00000", "42"), "00042");
        assert_eq!(zeros("00000", "1234567"), "1234567");
        assert_eq!(zeros("000\\-00\\-0000", "12345678"), "012-34-5678");
        assert_eq!(zeros("\"ID-\"0000", "7"), "ID-0007");
        assert_eq!(zeros("(000) 000-0000", "15551234567"), "(1555) 123-4567");
    }
}
