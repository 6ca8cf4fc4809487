//! Office Open XML workbooks (.xlsx, .xlsm), transitional or strict, whatever prefix their
//! elements have. The workbook part lists the sheets; shared strings and number formats are read
//! whole; a sheet is read event by event.

mod sheet;
mod strings;
mod styles;

use std::io::{Read, Seek};

use quick_xml::events::Event;

use super::container::Container;
use super::date::Epoch;
use super::limits::{ReadLimits, unreadable};
use super::options::ReadOptions;
use super::package::{self, Relation};
use super::sheets::{self, Listed};
use super::sink::{Sink, Stop, Totals};
use super::xml;
use rowmill_domain::Problem;

pub(crate) use strings::Strings;

/// What the workbook part says.
pub(crate) struct Workbook {
    pub(crate) epoch: Epoch,
    pub(crate) sheets: Vec<Listed>,
    /// The part of each sheet.
    pub(crate) parts: Vec<String>,
    pub(crate) relations: Vec<Relation>,
}

impl Workbook {
    /// The part that the workbook refers to as such, or the one usually called so.
    pub(crate) fn part_of_kind<R: Read + Seek>(
        &self,
        kind: &str,
        usual: &str,
        container: &Container<R>,
    ) -> Option<String> {
        let told = self.relations.iter().find(|relation| relation.kind == kind);
        told.map(|relation| relation.target.as_str())
            .into_iter()
            .chain([usual])
            .find(|part| container.has(part))
            .map(str::to_owned)
    }
}

/// Reads a workbook.
pub(crate) fn read<R: Read + Seek>(
    container: &mut Container<R>,
    part: &str,
    options: &ReadOptions,
    limits: &ReadLimits,
    sink: &mut dyn Sink,
) -> Result<Totals, Stop> {
    let workbook = read_workbook(container, part)?;
    // A wrong name is told before anything large is read.
    sheets::choose(&workbook.sheets, &options.sheet)?;
    let strings = match workbook.part_of_kind("sharedStrings", "xl/sharedStrings.xml", container) {
        Some(part) => strings::read(container, &part, limits)?,
        None => Strings::default(),
    };
    let formats = match workbook.part_of_kind("styles", "xl/styles.xml", container) {
        Some(part) => styles::read(container, &part)?,
        None => Vec::new(),
    };
    sheets::read_chosen(&workbook.sheets, options, limits, sink, |place, index, rows| {
        let (listed, part) = (&workbook.sheets[place], &workbook.parts[place]);
        rows.open_sheet(index, Some(&listed.name), workbook.epoch);
        sheet::read(container.part(part)?, part, &strings, &formats, rows)
    })
}

fn read_workbook<R: Read + Seek>(
    container: &mut Container<R>,
    part: &str,
) -> Result<Workbook, Problem> {
    let relations = package::relations(container, part)?;
    let mut workbook =
        Workbook { epoch: Epoch::Y1900, sheets: Vec::new(), parts: Vec::new(), relations };
    let mut xml = xml::open(part, container.part(part)?)?;
    let mut buffer = Vec::new();
    let mut missing = None;
    loop {
        buffer.clear();
        match xml.read_event_into(&mut buffer).map_err(|error| xml::bad(part, error))? {
            Event::Start(e) | Event::Empty(e) => match e.local_name().as_ref() {
                "workbookPr" if xml::attribute(&e, "date1904").is_some_and(|v| xml::truth(&v)) => {
                    workbook.epoch = Epoch::Y1904;
                }
                "sheet" => {
                    let Some(name) = xml::attribute(&e, "name") else { continue };
                    // `r:id` under whatever prefix; `sheetId` is another thing.
                    let id = xml::attribute(&e, "id");
                    let hidden = xml::attribute(&e, "state").is_some_and(|s| s != "visible");
                    let relation =
                        workbook.relations.iter().find(|r| Some(r.id.as_str()) == id.as_deref());
                    match relation {
                        // Charts and old macros are sheets without cells.
                        Some(relation) if relation.kind != "worksheet" => {}
                        // So are modules of code, which have no part at all.
                        None if id.as_deref() == Some("") => {}
                        Some(relation) => {
                            workbook.parts.push(relation.target.clone());
                            workbook.sheets.push(Listed { name: name.into_owned(), hidden });
                        }
                        None => missing = Some(name.into_owned()),
                    }
                }
                _ => {}
            },
            Event::Eof => break,
            _ => {}
        }
    }
    match missing {
        Some(name) => {
            Err(unreadable(format!("the workbook lists the sheet `{name}` and has no part for it")))
        }
        None => Ok(workbook),
    }
}
