//! What a file is, told by its content and never by its name. What is no spreadsheet is refused
//! with what it looks like, because `orders.xlsx` that is really a web page is a puzzle only as
//! long as nobody says so.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use super::container::Container;
use super::limits::unreadable;
use rowmill_domain::{Problem, ProblemKind};

/// What the first bytes say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outer {
    /// A zip container.
    Zip,
    /// A compound file: an old workbook, or an encrypted new one.
    Compound,
    /// The records of an old workbook, with nothing around them.
    Records,
    /// Text.
    Text,
}

/// Which byte of a number comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ByteOrder {
    /// The lowest.
    Little,
    /// The highest.
    Big,
}

/// What a container holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Inner {
    /// Office Open XML, with the name of its workbook part.
    Xlsx(String),
    /// The same with binary parts.
    Xlsb(String),
    /// OpenDocument.
    Ods,
}

const COMPOUND: &[u8] = b"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1";

/// First bytes of what people upload by mistake.
const OTHERS: &[(&[u8], &str)] = &[
    (b"%PDF", "a PDF document"),
    (b"\x89PNG", "a PNG picture"),
    (b"\xFF\xD8\xFF", "a JPEG picture"),
    (b"GIF8", "a GIF picture"),
    (b"BM", "a BMP picture"),
    (b"II*\0", "a TIFF picture"),
    (b"MM\0*", "a TIFF picture"),
    (b"\x1F\x8B", "a gzip archive; unpack it first"),
    (b"7z\xBC\xAF", "a 7z archive; unpack it first"),
    (b"Rar!", "a RAR archive; unpack it first"),
    (b"BZh", "a bzip2 archive; unpack it first"),
    (b"\x28\xB5\x2F\xFD", "a zstd archive; unpack it first"),
    (b"\xFD7zXZ", "an xz archive; unpack it first"),
    (b"{\\rtf", "a rich text document"),
    (b"PAR1", "a Parquet file"),
    (b"SQLite format 3", "an SQLite database"),
    (b"\x7FELF", "a program"),
    (b"MZ", "a Windows program"),
    (b"\0\0\x01\0", "an icon"),
    (b"OggS", "a sound"),
    (b"ID3", "a sound"),
    (b"RIFF", "a sound, a film or a picture"),
];

/// Looks at the first bytes and goes back to them.
pub(crate) fn outer(file: &mut File) -> Result<Outer, Problem> {
    let mut start = Vec::new();
    let read = file.take(4096).read_to_end(&mut start);
    read.and_then(|_| file.seek(SeekFrom::Start(0)))
        .map_err(|error| unreadable(format!("the file cannot be read: {error}")))?;
    outer_of(&start)
}

fn outer_of(start: &[u8]) -> Result<Outer, Problem> {
    if start.is_empty() {
        return Err(Problem::new(ProblemKind::Empty, "the file has no bytes"));
    }
    if start.starts_with(b"PK\x03\x04") || start.starts_with(b"PK\x05\x06") {
        return Ok(Outer::Zip);
    }
    if start.starts_with(COMPOUND) {
        return Ok(Outer::Compound);
    }
    if let Some(kind) = records(start) {
        return kind;
    }
    let known = OTHERS.iter().find(|(magic, _)| {
        // Two letters alone are too weak a sign: text may begin with them.
        start.starts_with(magic) && (magic.len() > 3 || !looks_like_text(start))
    });
    if let Some((_, what)) = known {
        return Err(wrong(what));
    }
    if start.get(4..8) == Some(b"ftyp") {
        return Err(wrong("a film or a picture"));
    }
    if let Some(what) = marked_up(start) {
        return Err(wrong(what));
    }
    if looks_like_text(start) {
        return Ok(Outer::Text);
    }
    Err(wrong("binary data of an unknown kind"))
}

/// A workbook of before 1997 that was written without a compound file around it.
fn records(start: &[u8]) -> Option<Result<Outer, Problem>> {
    match start {
        [9, 8, 8 | 16, 0, 0, 5 | 6, 5, 0, ..] => Some(Ok(Outer::Records)),
        [9, 0 | 2 | 4, 4 | 6 | 8, 0, _, _, 0x10 | 0x20 | 0x40, 0, ..]
        | [9, 4, 6 | 8, 0, _, _, 0, 1, ..] => {
            Some(Err(wrong("a workbook of before 1993; save it as .xlsx")))
        }
        _ => None,
    }
}

/// UTF-16 and UTF-32 have zeros beside their ASCII characters; other text has no control characters
/// but white space, and the odd one that old programs left behind.
fn looks_like_text(start: &[u8]) -> bool {
    let marked = start.starts_with(b"\xFF\xFE") || start.starts_with(b"\xFE\xFF");
    if marked || utf32(start).is_some() || utf16(start).is_some() {
        return true;
    }
    let odd =
        start.iter().filter(|b| **b < b' ' && !matches!(**b, b'\t'..=b'\r' | 0x1A | 0x1B)).count();
    odd <= 3 + start.len() / 100 && odd * 4 <= start.len()
}

/// The byte order of UTF-32: every character has a zero at its end, and next to it hardly anything.
pub(crate) fn utf32(start: &[u8]) -> Option<ByteOrder> {
    let (units, _) = start.as_chunks::<4>();
    let all = |fits: fn(&[u8; 4]) -> bool| units.len() > 1 && units.iter().all(fits);
    match () {
        () if all(|unit| matches!(unit, [_, _, ..=0x10, 0])) => Some(ByteOrder::Little),
        () if all(|unit| matches!(unit, [0, ..=0x10, _, _])) => Some(ByteOrder::Big),
        () => None,
    }
}

/// The byte order of UTF-16 that does not say so: the high bytes of most characters are zero.
pub(crate) fn utf16(start: &[u8]) -> Option<&'static encoding_rs::Encoding> {
    let pairs = start.len() / 2;
    let zeros = |offset: usize| {
        start.iter().skip(offset).step_by(2).take(pairs).filter(|b| **b == 0).count()
    };
    let (even, odd) = (zeros(0), zeros(1));
    match pairs {
        0 => None,
        _ if odd * 10 >= pairs * 4 && even * 20 <= pairs => Some(encoding_rs::UTF_16LE),
        _ if even * 10 >= pairs * 4 && odd * 20 <= pairs => Some(encoding_rs::UTF_16BE),
        _ => None,
    }
}

/// Mark-up that pretends to be a spreadsheet.
fn marked_up(start: &[u8]) -> Option<&'static str> {
    let plain: Vec<u8> = start.iter().filter(|b| **b != 0).copied().collect();
    let text = String::from_utf8_lossy(&plain).to_lowercase();
    let text = text.trim_start_matches(['\u{feff}', '\u{fffd}']).trim_start();
    if text.starts_with("<?xml") || text.starts_with("<workbook") {
        if text.contains("urn:schemas-microsoft-com:office:spreadsheet") {
            return Some("an XML spreadsheet of 2003; save it as .xlsx");
        }
        if text.contains("office:document") {
            return Some("a flat OpenDocument file; save it as .ods");
        }
        return Some(if text.contains("<html") { "a web page" } else { "an XML document" });
    }
    let tags = ["<!doctype html", "<html", "<table", "<head", "<body", "<meta", "<style", "<div"];
    if tags.iter().any(|tag| text.starts_with(tag)) || text.starts_with("<!--") {
        return Some("a web page; open it in a spreadsheet program and save it as .xlsx");
    }
    if text.starts_with("<svg") {
        return Some("an SVG picture");
    }
    if text.starts_with("mime-version:") {
        return Some("a web archive; open it in a spreadsheet program and save it as .xlsx");
    }
    let compact: String = text.chars().take(200).filter(|c| !c.is_whitespace()).collect();
    ["{\"", "[{\"", "[[\""].iter().any(|json| compact.starts_with(json)).then_some("JSON")
}

/// Looks into a container.
pub(crate) fn inner<R: Read + Seek>(container: &mut Container<R>) -> Result<Inner, Problem> {
    if container.has("mimetype") {
        let kind = container.start_of("mimetype", 200)?;
        let kind = String::from_utf8_lossy(&kind);
        if let Some(document) = kind.trim().strip_prefix("application/vnd.oasis.opendocument.") {
            if document.starts_with("spreadsheet") {
                return Ok(Inner::Ods);
            }
            return Err(wrong(&format!("an OpenDocument {document}")));
        }
        if kind.starts_with("application/epub") {
            return Err(wrong("an e-book"));
        }
    }
    if let Some(workbook) = super::package::main_part(container)? {
        let lower = workbook.to_lowercase();
        if lower.ends_with(".bin") {
            return Ok(Inner::Xlsb(workbook));
        }
        let start = container.start_of(&workbook, 4096)?;
        // UTF-16 parts have zeros between the letters.
        let start: Vec<u8> = start.into_iter().filter(|b| *b != 0).collect();
        let start = String::from_utf8_lossy(&start);
        return match () {
            () if start.contains("wordprocessingml") => Err(wrong("a Word document")),
            () if start.contains("presentationml") => Err(wrong("a PowerPoint presentation")),
            () if lower.ends_with(".vsdx") || lower.starts_with("visio/") => {
                Err(wrong("a Visio drawing"))
            }
            () => Ok(Inner::Xlsx(workbook)),
        };
    }
    let has = |name: &str| container.has(name);
    if has("content.xml") && has("meta-inf/manifest.xml") {
        let start = container.start_of("content.xml", 1 << 20)?;
        if String::from_utf8_lossy(&start).contains("spreadsheet") {
            return Ok(Inner::Ods);
        }
        return Err(wrong("an OpenDocument file without a spreadsheet"));
    }
    if container.names().any(|name| name.ends_with(".iwa")) {
        return Err(wrong("an Apple Numbers or Pages document; export it as .xlsx"));
    }
    if has("meta-inf/manifest.mf") {
        return Err(wrong("a Java archive"));
    }
    Err(wrong("a zip archive without a workbook in it; unpack it first"))
}

/// The refusal of something that is no spreadsheet.
pub(crate) fn wrong(what: &str) -> Problem {
    Problem::new(
        ProblemKind::WrongKind,
        format!("it looks like {what}; .xlsx, .xlsm, .xlsb, .xls, .ods, .csv and .tsv can be read"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_decides() {
        assert_eq!(outer_of(b"PK\x03\x04....").unwrap(), Outer::Zip);
        assert_eq!(outer_of(COMPOUND).unwrap(), Outer::Compound);
        assert_eq!(outer_of(b"a,b\n1,2\n").unwrap(), Outer::Text);
        assert_eq!(outer_of(b"BMW,Audi\n1,2\n").unwrap(), Outer::Text);
        assert_eq!(outer_of("é;ü\n".as_bytes()).unwrap(), Outer::Text);
        assert_eq!(outer_of(b"a\0,\0b\0\n\0").unwrap(), Outer::Text);
        assert_eq!(outer_of(b"\0a\0,\0b\0\n").unwrap(), Outer::Text);
        assert_eq!(outer_of(b"\0\0\xFE\xFF\0\0\0a\0\0\0\n").unwrap(), Outer::Text);
        assert_eq!(outer_of(b"a\0\0\0,\0\0\0b\0\0\0").unwrap(), Outer::Text);
        assert_eq!(outer_of(b"a,b\nsome\0,\x0B2\n").unwrap(), Outer::Text);
        assert_eq!(outer_of(&[9, 8, 8, 0, 0, 5, 5, 0, 1, 2, 3, 4]).unwrap(), Outer::Records);
        assert_eq!(outer_of(b"").unwrap_err().kind, ProblemKind::Empty);
    }

    #[test]
    fn what_it_really_is_is_said() {
        for (start, word) in [
            (&b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"[..], "PNG"),
            (b"%PDF-1.7", "PDF"),
            (b"BM\x1a\0\0\0\0\0\0\0", "BMP"),
            (b"\r\n<html><table>", "web page"),
            (b"<?xml version='1.0'?><Workbook xmlns='urn:schemas-microsoft-com:office:spreadsheet'>",
             "2003"),
            (b"[ {\"a\": 1}]", "JSON"),
            (b"\x09\x04\x06\0\0\0\x10\0", "1993"),
            (b"\x01\x02\x03\x04\0\0", "binary"),
        ] {
            let problem = outer_of(start).unwrap_err();
            assert_eq!(problem.kind, ProblemKind::WrongKind);
            assert!(problem.detail.contains(word), "{}", problem.detail);
        }
    }
}
