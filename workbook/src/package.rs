//! How parts of an Office Open XML package refer to each other: by relationships, whose targets
//! are found relative to the part that has them.

use std::io::{Read, Seek};

use quick_xml::events::Event;

use super::container::Container;
use super::xml;
use rowmill_domain::Problem;

/// One reference from a part to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Relation {
    /// What the part calls it.
    pub(crate) id: String,
    /// The last segment of its type, such as `worksheet`: the rest differs between the
    /// transitional and the strict flavour.
    pub(crate) kind: String,
    /// The part referred to.
    pub(crate) target: String,
}

/// The references of a part; none if it has no such list. An empty name means the package.
pub(crate) fn relations<R: Read + Seek>(
    container: &mut Container<R>,
    part: &str,
) -> Result<Vec<Relation>, Problem> {
    let part = part.replace('\\', "/");
    let (folder, file) = part.rsplit_once('/').unwrap_or(("", &part));
    let slash = if folder.is_empty() { "" } else { "/" };
    let list = format!("{folder}{slash}_rels/{file}.rels");
    let mut found = Vec::new();
    if !container.has(&list) {
        return Ok(found);
    }
    let mut xml = xml::open(&list, container.part(&list)?)?;
    let mut buffer = Vec::new();
    loop {
        buffer.clear();
        match xml.read_event_into(&mut buffer).map_err(|error| xml::bad(&list, error))? {
            Event::Start(e) | Event::Empty(e) if e.local_name().as_ref() == "Relationship" => {
                let get = |name| xml::attribute(&e, name).map(|value| value.into_owned());
                let (Some(id), Some(kind), Some(target)) = (get("Id"), get("Type"), get("Target"))
                else {
                    continue;
                };
                if get("TargetMode").is_some_and(|mode| mode == "External") {
                    continue;
                }
                let kind = kind.rsplit('/').next().unwrap_or_default().to_owned();
                found.push(Relation { id, kind, target: resolve(folder, &target) });
            }
            Event::Eof => return Ok(found),
            _ => {}
        }
    }
}

/// The part that the package is about: a workbook, if it is one.
pub(crate) fn main_part<R: Read + Seek>(
    container: &mut Container<R>,
) -> Result<Option<String>, Problem> {
    let main = relations(container, "")?.into_iter().find(|relation| {
        relation.kind.eq_ignore_ascii_case("officeDocument") && container.has(&relation.target)
    });
    let usual = ["xl/workbook.xml", "xl/workbook.bin", "workbook.xml", "word/document.xml"];
    Ok(main
        .map(|relation| relation.target)
        .or_else(|| usual.iter().find(|name| container.has(name)).map(|name| (*name).to_owned())))
}

/// A target as the name of a part.
fn resolve(folder: &str, target: &str) -> String {
    let target = target.replace('\\', "/");
    let mut path: Vec<&str> = Vec::new();
    if !target.starts_with('/') {
        path.extend(folder.split('/').filter(|step| !step.is_empty()));
    }
    for step in target.split('/') {
        match step {
            "" | "." => {}
            ".." => {
                path.pop();
            }
            step => path.push(step),
        }
    }
    path.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_found() {
        assert_eq!(resolve("xl", "worksheets/sheet1.xml"), "xl/worksheets/sheet1.xml");
        assert_eq!(resolve("xl", "/xl/worksheets/data.xml"), "xl/worksheets/data.xml");
        assert_eq!(resolve("xl/worksheets", "../styles.xml"), "xl/styles.xml");
        assert_eq!(resolve("", "../../etc/passwd"), "etc/passwd");
    }
}
