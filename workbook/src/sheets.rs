//! Which of a workbook's sheets are read, and what it means when they turn out empty.

use super::limits::ReadLimits;
use super::options::{ReadOptions, SheetChoice};
use super::rows::{Rows, SheetEnd};
use super::sink::{Sink, Stop, Totals};
use rowmill_domain::{Address, Problem, ProblemKind};

/// A sheet as the workbook lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// Whether a person does not see it.
    pub hidden: bool,
}

/// The places of the sheets that were asked for.
pub(crate) fn choose(sheets: &[Listed], choice: &SheetChoice) -> Result<Vec<usize>, Problem> {
    if sheets.is_empty() {
        return Err(Problem::new(ProblemKind::Empty, "there is no sheet in the workbook"));
    }
    let found = match choice {
        SheetChoice::All => return Ok((0..sheets.len()).collect()),
        SheetChoice::First => Some(sheets.iter().position(|sheet| !sheet.hidden).unwrap_or(0)),
        SheetChoice::Index(place) => {
            usize::from(*place).checked_sub(1).filter(|place| *place < sheets.len())
        }
        SheetChoice::Name(name) => {
            sheets.iter().position(|sheet| sheet.name == *name).or_else(|| {
                // Spreadsheet programs do not tell `orders` from `Orders`.
                let wanted = name.trim().to_lowercase();
                sheets.iter().position(|sheet| sheet.name.trim().to_lowercase() == wanted)
            })
        }
    };
    found.map(|place| vec![place]).ok_or_else(|| {
        let wanted = match choice {
            SheetChoice::Index(place) => format!("#{place}"),
            SheetChoice::Name(name) => format!("`{name}`"),
            SheetChoice::First | SheetChoice::All => "one".to_owned(),
        };
        let names: Vec<_> = sheets.iter().take(20).map(|sheet| sheet.name.as_str()).collect();
        let more = if sheets.len() > names.len() { ", ..." } else { "" };
        let names = names.join("`, `");
        Problem::new(
            ProblemKind::NoSuchSheet,
            format!("{wanted} was asked for; the sheets are `{names}`{more}"),
        )
    })
}

/// Reads the chosen sheets one after another. `each` reads one of them, from `open_sheet` to its
/// last row.
pub(crate) fn read_chosen(
    sheets: &[Listed],
    options: &ReadOptions,
    limits: &ReadLimits,
    sink: &mut dyn Sink,
    mut each: impl FnMut(usize, u16, &mut Rows<'_>) -> Result<(), Stop>,
) -> Result<Totals, Stop> {
    sink.listed(sheets);
    let chosen = choose(sheets, &options.sheet)?;
    let mut rows = Rows::new(sink, limits, options.header_row, &options.attributes);
    let mut last = SheetEnd::Empty;
    for place in &chosen {
        let index = u16::try_from(*place).map_err(|_| {
            Problem::new(ProblemKind::TooLarge, "the workbook has more than 65,535 sheets")
        })?;
        each(*place, index, &mut rows)?;
        last = rows.close_sheet()?;
    }
    let totals = rows.totals();
    if totals.sheets == 0 {
        let one = if let [place] = chosen.as_slice() { sheets.get(*place) } else { None };
        let name = one.map(|sheet| sheet.name.clone()).filter(|name| !name.is_empty());
        let detail = match (one, last) {
            (Some(_), SheetEnd::HeaderOnly) => "there is a header and no row under it",
            (Some(_), SheetEnd::Uncalculated) => {
                "there is a header and no row under it but formulas without saved results; \
                 open and save the file in a spreadsheet program"
            }
            (Some(_), _) => "the sheet is empty",
            (None, _) => "no sheet has rows under a header",
        };
        let at = Address { sheet: name, ..Address::default() };
        return Err(Problem::new(ProblemKind::Empty, detail).at(at).into());
    }
    Ok(totals)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sheets_are_chosen() {
        let sheets = [("Lists", true), ("Orders", false), ("Notes", false)]
            .map(|(name, hidden)| Listed { name: name.into(), hidden });
        let chosen = |choice| choose(&sheets, &choice);
        assert_eq!(chosen(SheetChoice::First), Ok(vec![1]));
        assert_eq!(chosen(SheetChoice::Index(1)), Ok(vec![0]));
        assert_eq!(chosen(SheetChoice::Name("orders ".into())), Ok(vec![1]));
        assert_eq!(chosen(SheetChoice::All), Ok(vec![0, 1, 2]));
        for missing in [SheetChoice::Index(4), SheetChoice::Name("x".into())] {
            let problem = chosen(missing).unwrap_err();
            assert_eq!(problem.kind, ProblemKind::NoSuchSheet);
            assert!(problem.detail.contains("`Lists`, `Orders`, `Notes`"));
        }
    }
}
