//! What a workbook says of itself: the property that a table of failures carries. Spreadsheet programs
//! keep such properties when they save a file; each may name the part as it likes.

use std::io::{Read, Seek};

use quick_xml::events::Event;

use super::PROPERTY;
use crate::container::Container;
use crate::{package, xml};

/// Bytes of the part that are looked at.
const PART_BYTES: u64 = 256 << 10;
/// Characters of an id.
const ID_CHARS: usize = 36;

/// The upload that a workbook says it corrects. One whose properties cannot be read says nothing:
/// nobody else needs them.
pub(crate) fn told<R: Read + Seek>(container: &mut Container<R>) -> Option<String> {
    let relations = package::relations(container, "").ok()?;
    // The strict flavour spells it in one word.
    let properties = |kind: &str| kind.replace('-', "").eq_ignore_ascii_case("customproperties");
    let part = relations.into_iter().find(|one| properties(&one.kind))?.target;
    if !container.has(&part) {
        return None;
    }
    let mut xml = xml::open(&part, container.part(&part).ok()?.take(PART_BYTES)).ok()?;
    let mut buffer = Vec::new();
    loop {
        buffer.clear();
        match xml.read_event_into(&mut buffer).ok()? {
            Event::Start(e) if e.local_name().as_ref() == "property" => {
                let ours = xml::attribute(&e, "name").is_some_and(|name| name == PROPERTY);
                let mut text = String::new();
                xml::push_text(&mut xml, &mut buffer, &mut text, &part).ok()?;
                if ours {
                    let id = text.trim();
                    return (id.chars().count() == ID_CHARS).then(|| id.to_owned());
                }
            }
            Event::Eof => return None,
            _ => {}
        }
    }
}
