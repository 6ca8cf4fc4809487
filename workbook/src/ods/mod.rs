//! OpenDocument spreadsheets (.ods), event by event. Such a file repeats rows and columns by number
//! ("the next million rows are like this one"), which costs nothing while there is nothing in
//! them and is held to the limits otherwise. Values are spelled out in attributes; text is the
//! paragraphs of a cell.

mod styles;
mod table;

use std::io::{Read, Seek};

use quick_xml::events::Event;

use super::container::Container;
use super::date::Epoch;
use super::limits::ReadLimits;
use super::options::ReadOptions;
use super::sheets::{self, Listed};
use super::sink::{Sink, Stop, Totals};
use super::xml::{self, Xml};
use rowmill_domain::{Problem, ProblemKind};

use styles::Styles;

const CONTENT: &str = "content.xml";

/// Reads a workbook.
pub(crate) fn read<R: Read + Seek>(
    container: &mut Container<R>,
    options: &ReadOptions,
    limits: &ReadLimits,
    sink: &mut dyn Sink,
) -> Result<Totals, Stop> {
    refuse_encrypted(container)?;
    let mut styles = Styles::default();
    if container.has("styles.xml") {
        styles.read("styles.xml", container.part("styles.xml")?)?;
    }
    // The list of sheets has no place of its own: they are looked for before they are read.
    styles.read(CONTENT, container.part(CONTENT)?)?;
    let listed = list(&mut xml::open(CONTENT, container.part(CONTENT)?)?, &styles)?;
    sheets::choose(&listed, &options.sheet)?;
    let mut tables = xml::open(CONTENT, container.part(CONTENT)?)?;
    let mut next = 0;
    sheets::read_chosen(&listed, options, limits, sink, |place, index, rows| {
        rows.open_sheet(index, Some(&listed[place].name), Epoch::Y1900);
        while begin_table(&mut tables)?.is_some() {
            next += 1;
            if next > place {
                return table::read(&mut tables, CONTENT, &styles, rows);
            }
            xml::skip(&mut tables, &mut Vec::new(), CONTENT)?;
        }
        Ok(())
    })
}

fn refuse_encrypted<R: Read + Seek>(container: &mut Container<R>) -> Result<(), Problem> {
    const MANIFEST: &str = "META-INF/manifest.xml";
    if !container.has(MANIFEST) {
        return Ok(());
    }
    let mut xml = xml::open(MANIFEST, container.part(MANIFEST)?)?;
    let mut buffer = Vec::new();
    loop {
        buffer.clear();
        match xml.read_event_into(&mut buffer).map_err(|error| xml::bad(MANIFEST, error))? {
            Event::Start(e) | Event::Empty(e) if e.local_name().as_ref() == "encryption-data" => {
                let detail = "remove the password and try again";
                return Err(Problem::new(ProblemKind::Encrypted, detail));
            }
            Event::Eof => return Ok(()),
            _ => {}
        }
    }
}

fn list<R: Read>(tables: &mut Xml<R>, styles: &Styles) -> Result<Vec<Listed>, Problem> {
    let mut listed = Vec::new();
    while let Some((name, style)) = begin_table(tables)? {
        listed.push(Listed { name, hidden: styles.hides(&style) });
        xml::skip(tables, &mut Vec::new(), CONTENT)?;
    }
    Ok(listed)
}

/// Goes to the next sheet and answers its name and its style.
fn begin_table<R: Read>(tables: &mut Xml<R>) -> Result<Option<(String, String)>, Problem> {
    let mut buffer = Vec::new();
    loop {
        buffer.clear();
        match tables.read_event_into(&mut buffer).map_err(|error| xml::bad(CONTENT, error))? {
            Event::Start(e) => match e.local_name().as_ref() {
                "table" => {
                    let get = |name| xml::attribute(&e, name).unwrap_or_default().into_owned();
                    return Ok(Some((get("name"), get("style-name"))));
                }
                // What was changed or linked may hold tables that are no sheets.
                "tracked-changes" | "dde-links" | "automatic-styles" | "scripts" => {
                    xml::skip(tables, &mut Vec::new(), CONTENT)?;
                }
                _ => {}
            },
            Event::Eof => return Ok(None),
            _ => {}
        }
    }
}
