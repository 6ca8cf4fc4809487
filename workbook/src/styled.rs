//! A cell style's number format with its code, the way the file spells it. Readers go by what the
//! format makes of a number ([`Format`]); the code is for who writes the cell again.

use std::borrow::Cow;

use super::format::Format;

/// What a style's number format makes of its number, and its code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Styled {
    pub(crate) format: Format,
    /// Empty for a plain number.
    pub(crate) code: Cow<'static, str>,
}

impl Styled {
    /// A number as it is.
    pub(crate) const PLAIN: Self = Self { format: Format::Plain, code: Cow::Borrowed("") };

    /// The format that a file refers to by number alone.
    pub(crate) fn builtin(id: u32) -> Self {
        let format = Format::builtin(id);
        let known = BUILTIN.iter().find(|(known, _)| *known == id);
        let code = known.map_or_else(|| of_class(&format), |(_, code)| code);
        Self { code: code.into(), format }
    }

    /// The format that a file spells out.
    pub(crate) fn parse(code: &str) -> Self {
        let format = Format::parse(code);
        let general = code.eq_ignore_ascii_case("general");
        Self { format, code: if general { "" } else { code }.to_owned().into() }
    }

    /// Whether the number stands there as it is.
    pub(crate) fn is_plain(&self) -> bool {
        self.format == Format::Plain && self.code.is_empty()
    }
}

/// A code that shows what a cell of a class is, where the file has none to be copied.
pub(crate) fn of_class(format: &Format) -> &'static str {
    match format {
        Format::Plain | Format::Zeros(_) => "",
        Format::Date => "yyyy\\-mm\\-dd",
        Format::DateTime => "yyyy\\-mm\\-dd\\ hh:mm:ss",
        Format::Time => "hh:mm:ss",
        Format::Duration => "[h]:mm:ss",
    }
}

/// The formats that every spreadsheet program knows by number, whatever its language.
pub(crate) const BUILTIN: &[(u32, &str)] = &[
    (1, "0"),
    (2, "0.00"),
    (3, "#,##0"),
    (4, "#,##0.00"),
    (9, "0%"),
    (10, "0.00%"),
    (11, "0.00E+00"),
    (12, "# ?/?"),
    (13, "# ??/??"),
    (14, "mm-dd-yy"),
    (15, "d-mmm-yy"),
    (16, "d-mmm"),
    (17, "mmm-yy"),
    (18, "h:mm AM/PM"),
    (19, "h:mm:ss AM/PM"),
    (20, "h:mm"),
    (21, "h:mm:ss"),
    (22, "m/d/yy h:mm"),
    (37, "#,##0 ;(#,##0)"),
    (38, "#,##0 ;[Red](#,##0)"),
    (39, "#,##0.00;(#,##0.00)"),
    (40, "#,##0.00;[Red](#,##0.00)"),
    (45, "mm:ss"),
    (46, "[h]:mm:ss"),
    (47, "mmss.0"),
    (48, "##0.0E+0"),
    (49, "@"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_mean_what_their_formats_say() {
        for (id, code) in BUILTIN {
            assert_eq!(Format::parse(code), Format::builtin(*id), "{id} {code}");
            assert_eq!(*Styled::builtin(*id).code, **code);
        }
        for format in [Format::Date, Format::DateTime, Format::Time, Format::Duration] {
            assert_eq!(Format::parse(of_class(&format)), format);
        }
        assert!(Styled::parse("GENERAL").is_plain());
        assert!(!Styled::parse("0.00").is_plain());
        assert_eq!(&*Styled::builtin(31).code, of_class(&Format::Date));
    }
}
