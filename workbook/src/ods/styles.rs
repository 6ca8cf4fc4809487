//! What styles say about values: which times are durations, which numbers have leading zeros, and
//! which sheets are hidden. Dates and times of day say so themselves.

use std::collections::{HashMap, HashSet};
use std::io::Read;

use quick_xml::events::{BytesStart, Event};

use super::super::format::Format;
use super::super::xml;
use rowmill_domain::Problem;

static PLAIN: Format = Format::Plain;

/// How long a chain of parents is followed.
const PARENTS: usize = 16;

#[derive(Debug, Default)]
struct Style {
    data: Option<String>,
    parent: Option<String>,
}

/// The styles of a document.
#[derive(Debug, Default)]
pub(super) struct Styles {
    cells: HashMap<String, Style>,
    formats: HashMap<String, Format>,
    hidden: HashSet<String>,
}

impl Styles {
    /// The format of a cell's style.
    pub(super) fn format(&self, name: &str) -> &Format {
        let mut style = self.cells.get(name);
        for _ in 0..PARENTS {
            match style {
                Some(Style { data: Some(data), .. }) => {
                    return self.formats.get(data).unwrap_or(&PLAIN);
                }
                Some(Style { parent: Some(parent), .. }) => style = self.cells.get(parent),
                _ => break,
            }
        }
        &PLAIN
    }

    /// Whether a sheet's style hides it.
    pub(super) fn hides(&self, name: &str) -> bool {
        self.hidden.contains(name)
    }

    /// Adds the styles of a part; in `content.xml` they end where the sheets begin.
    pub(super) fn read<R: Read>(&mut self, part: &str, read: R) -> Result<(), Problem> {
        let mut xml = xml::open(part, read)?;
        let mut buffer = Vec::new();
        let mut style = String::new();
        let mut number: Option<(String, Vec<Option<char>>)> = None;
        let mut literal = false;
        loop {
            buffer.clear();
            match xml.read_event_into(&mut buffer).map_err(|error| xml::bad(part, error))? {
                Event::Start(e) | Event::Empty(e) => {
                    let get = |name| xml::attribute(&e, name).map(|value| value.into_owned());
                    match e.local_name().as_ref() {
                        "body" => return Ok(()),
                        "style" => {
                            style = get("name").unwrap_or_default();
                            if get("family").is_some_and(|family| family == "table-cell") {
                                let (data, parent) =
                                    (get("data-style-name"), get("parent-style-name"));
                                self.cells.insert(style.clone(), Style { data, parent });
                            }
                        }
                        "table-properties" if get("display").is_some_and(|d| d == "false") => {
                            self.hidden.insert(style.clone());
                        }
                        "time-style" => {
                            let cut = get("truncate-on-overflow").is_none_or(|cut| cut != "false");
                            let format = if cut { Format::Time } else { Format::Duration };
                            self.formats.insert(get("name").unwrap_or_default(), format);
                        }
                        "number-style" => {
                            number = Some((get("name").unwrap_or_default(), Vec::new()));
                        }
                        "number" => match (&mut number, digits(&e)) {
                            (Some((_, places)), Some(count)) => {
                                places.extend(std::iter::repeat_n(None, count));
                            }
                            _ => number = None,
                        },
                        "scientific-number" | "fraction" | "embedded-text" => number = None,
                        "text" => literal = number.is_some(),
                        _ => literal = false,
                    }
                }
                Event::Text(text) if literal => {
                    if let Some((_, places)) = &mut number {
                        places.extend(text.xml10_content().chars().map(Some));
                    }
                }
                Event::End(e) => match e.local_name().as_ref() {
                    "text" => literal = false,
                    "number-style" => {
                        if let Some((name, places)) = number.take()
                            && places.iter().filter(|place| place.is_none()).count() > 1
                        {
                            self.formats.insert(name, Format::Zeros(places.into()));
                        }
                    }
                    _ => {}
                },
                Event::Eof => return Ok(()),
                _ => {}
            }
        }
    }
}

/// How many digits a whole number is padded to; `None` if it is not one.
fn digits(e: &BytesStart<'_>) -> Option<usize> {
    let get = |name| xml::attribute(e, name);
    let plain = get("decimal-places").is_none_or(|places| places == "0")
        && get("grouping").is_none_or(|grouping| grouping != "true");
    let count = get("min-integer-digits")?.parse().ok()?;
    // More than a number has is no padding anybody means.
    (plain && (1..=32).contains(&count)).then_some(count)
}
