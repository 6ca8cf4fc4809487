//! The number formats of a workbook's cell styles; everything else about style is stepped over.

use std::collections::HashMap;
use std::io::{Read, Seek};

use quick_xml::events::Event;

use super::super::container::Container;
use super::super::styled::Styled;
use super::super::xml;
use rowmill_domain::Problem;

/// The format of each cell style, by the number that cells refer to it with.
pub(super) fn read<R: Read + Seek>(
    container: &mut Container<R>,
    part: &str,
) -> Result<Vec<Styled>, Problem> {
    let mut custom: HashMap<u32, Styled> = HashMap::new();
    let mut ids = Vec::new();
    let mut in_cells = false;
    let mut xml = xml::open(part, container.part(part)?)?;
    let mut buffer = Vec::new();
    loop {
        buffer.clear();
        match xml.read_event_into(&mut buffer).map_err(|error| xml::bad(part, error))? {
            Event::Start(e) | Event::Empty(e) => match e.local_name().as_ref() {
                "numFmt" => {
                    let id = xml::attribute(&e, "numFmtId").and_then(|id| id.trim().parse().ok());
                    if let (Some(id), Some(code)) = (id, xml::attribute(&e, "formatCode")) {
                        custom.insert(id, Styled::parse(&code));
                    }
                }
                "cellXfs" => in_cells = true,
                "xf" if in_cells => {
                    let id = xml::attribute(&e, "numFmtId").and_then(|id| id.trim().parse().ok());
                    ids.push(id.unwrap_or(0));
                }
                _ => {}
            },
            Event::End(e) if e.local_name().as_ref() == "cellXfs" => in_cells = false,
            Event::Eof => break,
            _ => {}
        }
    }
    // What the file spells out wins over the number's usual meaning.
    let format = |id: u32| custom.get(&id).cloned().unwrap_or_else(|| Styled::builtin(id));
    Ok(ids.into_iter().map(format).collect())
}
