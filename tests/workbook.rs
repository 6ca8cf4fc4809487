//! Workbooks that say what cannot be. A parser that reads them to the end without a word is worse
//! than one that refuses them, so each is built here, part by part, and must be refused with its
//! place or read right with a warning.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{Cursor, Write as _};

use rowmill::domain::{Finding, Problem, ProblemKind, RowNumber};
use rowmill::workbook::{self, ReadLimits, ReadOptions, SheetHead, Sink, Stop, Totals};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

#[derive(Debug, Default)]
struct Kept {
    heads: Vec<SheetHead>,
    rows: Vec<(u32, String)>,
    findings: Vec<String>,
}

impl Sink for Kept {
    fn sheet(&mut self, head: &SheetHead) -> Result<(), Stop> {
        self.heads.push(head.clone());
        Ok(())
    }

    fn row(&mut self, row: RowNumber, json: &[u8], _: Option<&[u8]>) -> Result<(), Stop> {
        self.rows.push((row.0, String::from_utf8(json.to_vec()).unwrap()));
        Ok(())
    }

    fn finding(&mut self, finding: Finding) -> Result<(), Stop> {
        self.findings.push(finding.to_string());
        Ok(())
    }
}

fn read_with(bytes: &[u8], limits: &ReadLimits) -> Result<(Kept, Totals), Problem> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    let mut kept = Kept::default();
    match workbook::read(file.path(), &ReadOptions::default(), limits, &mut kept) {
        Ok(totals) => Ok((kept, totals)),
        Err(Stop::Problem(problem)) => Err(problem),
        Err(stop) => panic!("{stop}"),
    }
}

fn read(bytes: &[u8]) -> Result<(Kept, Totals), Problem> {
    read_with(bytes, &ReadLimits::default())
}

fn zipped(parts: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
    for (name, content) in parts {
        zip.start_file(*name, options).unwrap();
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

const RELATIONS: &str = r#"<Relationships><Relationship Id="rId1" Type="http://x/worksheet" Target="worksheets/sheet1.xml"/></Relationships>"#;
const WORKBOOK: &str = r#"<workbook xmlns:r="r"><sheets><sheet name="S" sheetId="1" r:id="rId1"/></sheets></workbook>"#;
const STRINGS: &str =
    "<sst><si><t>h</t></si><si><r><t>ri</t></r><rPh><t>no</t></rPh><r><t>ch</t></r></si></sst>";
const STYLES: &str = r#"<styleSheet><numFmts><numFmt numFmtId="164" formatCode="00000"/></numFmts><cellXfs><xf/><xf numFmtId="14"/><xf numFmtId="164"/></cellXfs></styleSheet>"#;

fn xlsx_part(sheet: &str) -> Vec<u8> {
    zipped(&[
        ("xl/workbook.xml", WORKBOOK.as_bytes()),
        ("xl/_rels/workbook.xml.rels", RELATIONS.as_bytes()),
        ("xl/sharedStrings.xml", STRINGS.as_bytes()),
        ("xl/styles.xml", STYLES.as_bytes()),
        ("xl/worksheets/sheet1.xml", sheet.as_bytes()),
    ])
}

/// A workbook with the header `h` in A1 and these rows.
fn xlsx(rows: &str) -> Vec<u8> {
    xlsx_part(&format!(
        "<worksheet><sheetData><row r=\"1\"><c r=\"A1\" t=\"s\"><v>0</v></c></row>{rows}</sheetData></worksheet>"
    ))
}

fn cell(attributes: &str, inside: &str) -> Vec<u8> {
    xlsx(&format!("<row r=\"2\"><c r=\"A2\" {attributes}>{inside}</c></row>"))
}

fn refused(bytes: &[u8], at: &str) {
    let problem = read(bytes).unwrap_err();
    assert_eq!(problem.kind, ProblemKind::Unreadable, "{problem}");
    assert!(problem.at.to_string().starts_with(at), "{problem}");
}

#[test]
fn what_stands_in_a_cell_is_told_right_or_told_of() {
    for (attributes, inside, json, warned) in [
        ("t=\"s\"", "<v>1</v>", "\"rich\"", false),
        ("", "<v>5.0</v>", "5", false),
        ("s=\"1\"", "<v>44197</v>", "\"2021-01-01\"", false),
        ("s=\"1\"", "<v>-5</v>", "-5", true),
        ("s=\"1\"", "<v>99999999</v>", "99999999", true),
        ("s=\"2\"", "<v>42</v>", "\"00042\"", false),
        ("s=\"99\"", "<v>42</v>", "42", false),
        ("", "<v>NaN</v>", "\"NaN\"", true),
        ("t=\"n\"", "<v>inf</v>", "\"inf\"", true),
        ("", "<v>1e999</v>", "\"1e999\"", true),
        ("", "<v>12345678901234567890</v>", "12345678901234567890", true),
        ("t=\"e\"", "<v>#SPILL!</v>", "\"#SPILL!\"", true),
        ("t=\"d\"", "<v>2021-02-30</v>", "\"2021-02-30\"", true),
        ("t=\"str\"", "<f>A</f><v>a&amp;b_x000D_&#233;<![CDATA[<]]></v>", "\"a&b\\ré<\"", false),
        ("t=\"b\"", "<v>1</v>", "true", false),
        ("t=\"inlineStr\"", "<is><t> x </t></is>", "\" x \"", false),
    ] {
        let (kept, totals) = read(&cell(attributes, inside)).unwrap();
        assert_eq!(kept.rows, [(2, format!("{{\"h\":{json}}}"))], "{inside}");
        assert_eq!(totals.warnings > 0, warned, "{inside} {:?}", kept.findings);
        assert!(kept.findings.iter().all(|finding| finding.starts_with("S!A2: ")));
    }
}

#[test]
fn a_formula_without_a_result_is_null_and_told() {
    for formula in ["<f>1/0</f>", "<f>A1</f><v></v>"] {
        let (kept, totals) = read(&xlsx(&format!(
            "<row r=\"2\"><c r=\"A2\">{formula}</c><c r=\"B2\"><v>1</v></c></row>\
             <row r=\"3\"><c r=\"A3\">{formula}</c></row>"
        )))
        .unwrap();
        assert_eq!(kept.rows, [(2, "{\"h\":null,\"B\":1}".into())]);
        assert!(kept.findings[0].starts_with("S!A2: "));
        assert_eq!((totals.rows, totals.warnings), (1, 3));
        let problem = read(&cell("", formula)).unwrap_err();
        assert!(problem.detail.contains("formulas without saved results"), "{problem}");
    }
}

#[test]
fn strings_that_are_not_there_are_refused() {
    for index in ["2", "-1", "x", "99999999999999999999", "1.0"] {
        refused(&cell("t=\"s\"", &format!("<v>{index}</v>")), "S!A2");
    }
    refused(&cell("t=\"klingon\"", "<v>1</v>"), "S!A2");
}

#[test]
fn rows_and_cells_that_cannot_be_are_refused() {
    let row = |r: &str, c: &str| format!("<row r=\"{r}\"><c r=\"{c}\"><v>1</v></c></row>");
    for (rows, at) in [
        (row("3", "A3") + &row("2", "A2"), "S!2"),
        (row("2", "A2") + &row("2", "B2"), "S!2"),
        (row("4294967298", "A2"), "S!1"),
        (row("1048577", "A1048577"), "S!1"),
        (row("0", "A0"), "S!1"),
        (row("2", "A3"), "S!2"),
        (row("2", "A4294967298"), "S!2"),
        (row("2", "XFE2"), "S!XFE2"),
        (row("2", "ZZZZZZZ2"), "S!2"),
        ("<row r=\"2\"><c r=\"A2\"><v>1</v></c><c r=\"A2\"><v>2</v></c></row>".into(), "S!A2"),
    ] {
        refused(&xlsx(&rows), at);
    }
    let swapped = "<row r=\"2\"><c r=\"B2\"><v>2</v></c><c r=\"A2\"><v>1</v></c></row>";
    assert_eq!(read(&xlsx(swapped)).unwrap().0.rows[0].1, r#"{"h":1,"B":2}"#);
    let astray = "<row r=\"2\"><c r=\"A4\"><v></v></c></row>".to_owned() + &row("4", "A4");
    assert_eq!(read(&xlsx(&astray)).unwrap().0.rows[0], (4, r#"{"h":1}"#.into()));
    let untold = "<row><c><v>1</v></c></row><row><c r=\"A9\"><v>2</v></c></row>";
    let rows = read(&xlsx(untold)).unwrap().0.rows;
    assert_eq!(rows.iter().map(|(row, _)| *row).collect::<Vec<_>>(), [2, 9]);
}

#[test]
fn a_sheet_cut_short_is_refused_where_it_ends() {
    let whole = "<worksheet><sheetData><row r=\"1\"><c r=\"A1\"><v>1</v></c></row><row r=\"2\"><c r=\"A2\"><v>7</v></c></row>";
    refused(&xlsx_part(whole), "S!2");
    refused(&xlsx_part(&whole[..whole.len() - 8]), "S!2");
    refused(&xlsx_part("<chartsheet/>"), "");
    refused(&xlsx_part(""), "");
}

#[test]
fn a_damaged_container_is_refused_before_anything_is_read() {
    let good = xlsx("<row r=\"2\"><c r=\"A2\"><v>1</v></c></row>");
    assert!(read(&good).is_ok());
    // Each part's data begins behind its local header; a bit of it is turned.
    let headers: Vec<usize> =
        (0..good.len() - 4).filter(|i| good[*i..].starts_with(b"PK\x03\x04")).collect();
    for start in headers {
        let name = usize::from(good[start + 26]) + usize::from(good[start + 28]);
        let mut bad = good.clone();
        bad[start + 30 + name + 5] ^= 0x10;
        refused(&bad, "");
    }
    refused(&good[..good.len() - 30], "");
}

#[test]
fn a_module_of_code_is_no_sheet() {
    let workbook =
        WORKBOOK.replace("<sheets>", "<sheets><sheet name=\"Module1\" sheetId=\"9\" r:id=\"\"/>");
    let with = |workbook: &str| {
        zipped(&[
            ("xl/workbook.xml", workbook.as_bytes()),
            ("xl/_rels/workbook.xml.rels", RELATIONS.as_bytes()),
            (
                "xl/worksheets/sheet1.xml",
                b"<worksheet><sheetData><row><c><v>1</v></c></row><row><c><v>2</v></c></row></sheetData></worksheet>",
            ),
        ])
    };
    assert_eq!(read(&with(&workbook)).unwrap().0.rows, [(2, "{\"1\":2}".into())]);
    refused(&with(&workbook.replace("r:id=\"\"", "r:id=\"rId7\"")), "");
}

#[test]
fn parts_that_are_there_twice_or_lie_are_refused() {
    let twice = zipped(&[
        ("xl/workbook.xml", WORKBOOK.as_bytes()),
        ("XL/Workbook.xml", WORKBOOK.as_bytes()),
    ]);
    refused(&twice, "");
    let mut lying = xlsx("<row r=\"2\"><c r=\"A2\"><v>1</v></c></row>");
    // The inflated size in the central directory's first entry.
    let entry = (0..lying.len()).find(|i| lying[*i..].starts_with(b"PK\x01\x02")).unwrap();
    lying[entry + 24] ^= 1;
    refused(&lying, "");
}

#[test]
fn a_bomb_is_stopped_by_its_ratio_and_by_its_size() {
    let bomb = xlsx(&" ".repeat(40 << 20));
    assert_eq!(read(&bomb).unwrap_err().kind, ProblemKind::TooLarge);
    let limits = ReadLimits { ratio: 10_000, inflated_bytes: 1 << 20, ..ReadLimits::default() };
    assert_eq!(read_with(&bomb, &limits).unwrap_err().kind, ProblemKind::TooLarge);
}

fn ods(rows: &str) -> Vec<u8> {
    let content = format!(
        "<office:document-content xmlns:office=\"o\"><office:automatic-styles><number:time-style style:name=\"N1\" number:truncate-on-overflow=\"false\"/><style:style style:name=\"ce1\" style:family=\"table-cell\" style:data-style-name=\"N1\"/></office:automatic-styles><office:body><office:spreadsheet><table:table table:name=\"S\"><table:table-row><table:table-cell office:value-type=\"string\"><text:p>h</text:p></table:table-cell></table:table-row>{rows}</table:table></office:spreadsheet></office:body></office:document-content>"
    );
    zipped(&[
        ("mimetype", b"application/vnd.oasis.opendocument.spreadsheet"),
        ("content.xml", content.as_bytes()),
    ])
}

#[test]
fn opendocument_values_and_repeats() {
    let cell = |inside: &str| {
        let row = format!("<table:table-row><table:table-cell {inside}</table:table-row>");
        read(&ods(&row)).unwrap().0.rows[0].1.clone()
    };
    for (inside, json) in [
        ("office:value-type=\"float\" office:value=\"1.50\"/>", "1.5"),
        ("office:value-type=\"date\" office:date-value=\"2021-01-02\"/>", "\"2021-01-02\""),
        ("office:value-type=\"time\" office:time-value=\"PT10H30M00S\"/>", "\"10:30:00\""),
        (
            "table:style-name=\"ce1\" office:value-type=\"time\" office:time-value=\"PT1H30M\"/>",
            "\"PT1H30M\"",
        ),
        ("office:value-type=\"time\" office:time-value=\"PT49H30M00S\"/>", "\"PT49H30M\""),
        ("office:value-type=\"boolean\" office:boolean-value=\"true\"/>", "true"),
        (
            "office:value-type=\"string\"><office:annotation><text:p>no</text:p></office:annotation><text:p>a <text:span>b</text:span><text:s text:c=\"2\"/>c</text:p><text:p>&lt;</text:p></table:table-cell>",
            "\"a b  c\\n<\"",
        ),
        // An error says that it is an empty text.
        (
            "office:value-type=\"string\" office:string-value=\"\" calcext:value-type=\"error\"><text:p>#DIV/0!</text:p></table:table-cell>",
            "\"#DIV/0!\"",
        ),
        (
            "office:value-type=\"string\" office:value=\"no\"><text:p>text</text:p></table:table-cell>",
            "\"text\"",
        ),
    ] {
        assert_eq!(cell(inside), format!("{{\"h\":{json}}}"), "{inside}");
    }
    let filled = "<table:table-cell office:value-type=\"float\" office:value=\"1\"/>";
    let row = |times: u32, inside: &str| {
        format!(
            "<table:table-row table:number-rows-repeated=\"{times}\">{inside}</table:table-row>"
        )
    };
    let blank = row(5, "<table:table-cell table:number-columns-repeated=\"16384\"/>");
    let (kept, totals) = read(&ods(&(blank + &row(2, filled) + &row(u32::MAX, "")))).unwrap();
    assert_eq!(kept.rows.iter().map(|(row, _)| *row).collect::<Vec<_>>(), [7, 8]);
    assert_eq!((totals.rows, totals.blank_rows), (2, 5));
    let limits = ReadLimits { rows: 1_000, ..ReadLimits::default() };
    let endless = ods(&row(u32::MAX, filled));
    assert_eq!(read_with(&endless, &limits).unwrap_err().kind, ProblemKind::TooLarge);
    let wide = "<table:table-cell table:number-columns-repeated=\"4000000000\" office:value-type=\"float\" office:value=\"1\"/>";
    assert_eq!(read(&ods(&row(1, wide))).unwrap_err().kind, ProblemKind::TooLarge);
}
