//! The small parts of a workbook: its list of sheets, its styles, what kind each part is.

use std::collections::HashMap;
use std::fmt::Write as _;

use super::sheet::push_text;
use crate::styled::BUILTIN;

/// The style of names of columns.
pub(super) const HEADER_STYLE: u32 = 1;
/// The style of text that looks like a formula: it stays text when it is edited.
pub(super) const TEXT_STYLE: u32 = 2;
const FIRST_STYLE: u32 = 3;
/// Where the numbers of formats begin that a workbook defines.
const FIRST_FORMAT: u32 = 164;
/// Styles that a spreadsheet program takes; what comes after them is shown as a plain number.
const MOST_STYLES: usize = 60_000;

/// The number formats met so far, each with its style.
#[derive(Debug, Default)]
pub(super) struct Styles {
    known: HashMap<Box<str>, u32>,
    codes: Vec<Box<str>>,
    /// What was asked for last: neighbours are alike.
    last: Option<(Box<str>, u32)>,
}

impl Styles {
    /// The style of a number format.
    pub(super) fn of(&mut self, code: &str) -> u32 {
        if code.is_empty() {
            return 0;
        }
        if let Some((last, style)) = &self.last
            && **last == *code
        {
            return *style;
        }
        let style = match self.known.get(code) {
            Some(style) => *style,
            None if self.codes.len() >= MOST_STYLES => return 0,
            None => {
                let style = FIRST_STYLE + self.codes.len() as u32;
                self.codes.push(code.into());
                self.known.insert(code.into(), style);
                style
            }
        };
        self.last = Some((code.into(), style));
        style
    }

    /// The part.
    pub(super) fn xml(&self) -> String {
        let mut formats = String::new();
        let mut cells = String::new();
        let mut count = 0;
        for code in &self.codes {
            let builtin = BUILTIN.iter().find(|(_, known)| **known == **code);
            let id = builtin.map_or_else(
                || {
                    let id = FIRST_FORMAT + count;
                    count += 1;
                    let code = escaped(code);
                    // Writing to memory does not fail.
                    let _ = write!(formats, r#"<numFmt numFmtId="{id}" formatCode="{code}"/>"#);
                    id
                },
                |(id, _)| *id,
            );
            let _ = write!(
                cells,
                r#"<xf numFmtId="{id}" fontId="0" fillId="0" borderId="0" xfId="0" applyNumberFormat="1"/>"#
            );
        }
        let formats = match count {
            0 => String::new(),
            _ => format!(r#"<numFmts count="{count}">{formats}</numFmts>"#),
        };
        let all = FIRST_STYLE as usize + self.codes.len();
        format!(
            r#"{XML}<styleSheet xmlns="{MAIN}">{formats}<fonts count="2"><font><sz val="11"/><name val="Calibri"/></font><font><b/><sz val="11"/><name val="Calibri"/></font></fonts><fills count="2"><fill><patternFill patternType="none"/></fill><fill><patternFill patternType="gray125"/></fill></fills><borders count="1"><border><left/><right/><top/><bottom/><diagonal/></border></borders><cellStyleXfs count="1"><xf numFmtId="0" fontId="0" fillId="0" borderId="0"/></cellStyleXfs><cellXfs count="{all}"><xf numFmtId="0" fontId="0" fillId="0" borderId="0" xfId="0"/><xf numFmtId="0" fontId="1" fillId="0" borderId="0" xfId="0" applyFont="1"/><xf numFmtId="0" fontId="0" fillId="0" borderId="0" xfId="0" quotePrefix="1"/>{cells}</cellXfs><cellStyles count="1"><cellStyle name="Normal" xfId="0" builtinId="0"/></cellStyles></styleSheet>"#
        )
    }
}

const XML: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\"?>\n";
const MAIN: &str = "http://schemas.openxmlformats.org/spreadsheetml/2006/main";
const RELATIONS: &str = "http://schemas.openxmlformats.org/officeDocument/2006/relationships";
const PACKAGE: &str = "http://schemas.openxmlformats.org/package/2006/relationships";

fn escaped(text: &str) -> String {
    let mut out = vec![];
    push_text(&mut out, text);
    String::from_utf8(out).unwrap_or_default()
}

/// Every part but the sheets: its name and what is in it.
pub(super) fn parts(
    sheets: &[String],
    styles: &Styles,
    from_1904: bool,
    properties: &[(&str, &str)],
) -> [(&'static str, String); 6] {
    let (mut listed, mut related, mut kinds) = (String::new(), String::new(), String::new());
    for (n, name) in (1..).zip(sheets) {
        let name = escaped(name);
        let _ = write!(listed, r#"<sheet name="{name}" sheetId="{n}" r:id="rId{n}"/>"#);
        let _ = write!(
            related,
            r#"<Relationship Id="rId{n}" Type="{RELATIONS}/worksheet" Target="worksheets/sheet{n}.xml"/>"#
        );
        let _ = write!(
            kinds,
            r#"<Override PartName="/xl/worksheets/sheet{n}.xml" ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.worksheet+xml"/>"#
        );
    }
    let dates = if from_1904 { r#"<workbookPr date1904="1"/>"# } else { "" };
    let mut custom = String::new();
    for (n, (name, value)) in (2..).zip(properties) {
        let (name, value) = (escaped(name), escaped(value));
        let _ = write!(
            custom,
            r#"<property fmtid="{{D5CDD505-2E9C-101B-9397-08002B2CF9AE}}" pid="{n}" name="{name}"><vt:lpwstr>{value}</vt:lpwstr></property>"#
        );
    }
    [
        (
            "xl/workbook.xml",
            format!(
                r#"{XML}<workbook xmlns="{MAIN}" xmlns:r="{RELATIONS}">{dates}<sheets>{listed}</sheets></workbook>"#
            ),
        ),
        (
            "xl/_rels/workbook.xml.rels",
            format!(
                r#"{XML}<Relationships xmlns="{PACKAGE}">{related}<Relationship Id="rIdStyles" Type="{RELATIONS}/styles" Target="styles.xml"/></Relationships>"#
            ),
        ),
        ("xl/styles.xml", styles.xml()),
        (
            "docProps/custom.xml",
            format!(
                r#"{XML}<Properties xmlns="http://schemas.openxmlformats.org/officeDocument/2006/custom-properties" xmlns:vt="http://schemas.openxmlformats.org/officeDocument/2006/docPropsVTypes">{custom}</Properties>"#
            ),
        ),
        (
            "_rels/.rels",
            format!(
                r#"{XML}<Relationships xmlns="{PACKAGE}"><Relationship Id="rId1" Type="{RELATIONS}/officeDocument" Target="xl/workbook.xml"/><Relationship Id="rId2" Type="{RELATIONS}/custom-properties" Target="docProps/custom.xml"/></Relationships>"#
            ),
        ),
        (
            "[Content_Types].xml",
            format!(
                r#"{XML}<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"><Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/><Default Extension="xml" ContentType="application/xml"/><Override PartName="/xl/workbook.xml" ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"/><Override PartName="/xl/styles.xml" ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.styles+xml"/><Override PartName="/docProps/custom.xml" ContentType="application/vnd.openxmlformats-officedocument.custom-properties+xml"/>{kinds}</Types>"#
            ),
        ),
    ]
}

/// A name that a sheet may have, and none of the others has.
pub(crate) fn sheet_name(wanted: &str, others: &[String]) -> String {
    const LONGEST: usize = 31;
    let clean = |c: char| {
        if matches!(c, '[' | ']' | ':' | '*' | '?' | '/' | '\\') || c.is_control() {
            '_'
        } else {
            c
        }
    };
    let cut = |text: &str, most: usize| {
        let mut units = 0;
        text.chars()
            .take_while(|c| {
                units += c.len_utf16();
                units <= most
            })
            .collect::<String>()
    };
    let base: String = wanted.chars().map(clean).collect();
    let base = base.trim().trim_matches('\'');
    let base = if base.is_empty() { "Sheet" } else { base };
    let is_taken =
        |name: &str| others.iter().any(|other| other.to_lowercase() == name.to_lowercase());
    let mut name = cut(base, LONGEST);
    let mut n = 1;
    while is_taken(&name) {
        n += 1;
        let suffix = format!(" ({n})");
        name = cut(base, LONGEST - suffix.len()) + &suffix;
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_have_a_style_each_and_known_ones_keep_their_number() {
        let mut styles = Styles::default();
        assert_eq!(styles.of(""), 0);
        let (percent, own) = (styles.of("0%"), styles.of("\"<a>\"0"));
        assert_ne!(percent, own);
        assert_eq!(styles.of("0%"), percent);
        let xml = styles.xml();
        assert!(
            xml.contains(
                r#"<numFmts count="1"><numFmt numFmtId="164" formatCode="&quot;&lt;a&gt;&quot;0"/>"#
            ),
            "{xml}"
        );
        assert!(
            xml.contains(r#"<xf numFmtId="9""#) && xml.contains(r#"cellXfs count="5""#),
            "{xml}"
        );
    }

    #[test]
    fn sheets_have_names_that_a_spreadsheet_program_takes() {
        assert_eq!(sheet_name("a/b:c", &[]), "a_b_c");
        assert_eq!(sheet_name("", &["Sheet".into()]), "Sheet (2)");
        assert_eq!(sheet_name("=1+1", &[]), "=1+1");
        let long = "x".repeat(40);
        let first = sheet_name(&long, &[]);
        assert_eq!(sheet_name(&long.to_uppercase(), std::slice::from_ref(&first)).len(), 31);
        assert_eq!(first.len(), 31);
    }
}
