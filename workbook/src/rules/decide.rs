//! In what order the dates of each column are written: every text of the column is looked at, over
//! the whole file, before a row of it is published. Where the cells do not give it away, or disagree,
//! nothing is assumed: the file is refused, with the columns and the cells that say so.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use super::check::Pairs;
use super::plan::Plan;
use super::terms::{Decided, Order, TextDates};
use super::value::text_of;
use crate::limits::ReadLimits;
use crate::options::ReadOptions;
use crate::preview::dates::{Evidence, evidence};
use crate::sink::{SheetHead, Sink, Stop};
use rowmill_domain::{Address, ColumnNumber, Finding, Problem, ProblemKind, RowNumber};

/// Columns that are decided at most; what was decided is told to each reader of the file.
const MOST: usize = 1_000;
/// Columns that a refusal tells.
const COLUMNS: usize = 10;
/// Cells of each.
const CELLS: usize = 5;

/// Reads a file to its end and decides what order its text dates are in, column by column. Columns
/// that the rules leave out are not asked.
///
/// # Errors
/// As for [`read`](crate::read), and when the order of a column cannot be told.
pub fn decide(
    path: &Path,
    options: &ReadOptions,
    limits: &ReadLimits,
) -> Result<Vec<Decided>, Stop> {
    let mut seen = Seen { options, sheet: None, names: BTreeMap::new(), columns: BTreeMap::new() };
    // What is found out about rows is told when they are read to be published.
    crate::read(path, &options.unchecked(), limits, &mut seen)?;
    Ok(seen.decided()?)
}

struct Seen<'a> {
    options: &'a ReadOptions,
    sheet: Option<(SheetHead, Option<Plan>)>,
    /// Sheets, and the names of their columns, by place.
    names: BTreeMap<u16, SheetHead>,
    columns: BTreeMap<(u16, u32), OfColumn>,
}

/// What a column's texts say.
#[derive(Default)]
struct OfColumn {
    day_first: Option<RowNumber>,
    month_first: Option<RowNumber>,
    /// The first rows in which either would do.
    either: Vec<RowNumber>,
    more: bool,
}

impl Sink for Seen<'_> {
    fn sheet(&mut self, head: &SheetHead) -> Result<(), Stop> {
        let rules = self.options.rules.as_deref();
        let plan = rules.map(|rules| Plan::of(head, rules, &TextDates::Dmy)).transpose()?;
        self.names.insert(head.index, head.clone());
        self.sheet = Some((head.clone(), plan));
        Ok(())
    }

    fn row(&mut self, row: RowNumber, json: &[u8], _: Option<&[u8]>) -> Result<(), Stop> {
        let Some((head, plan)) = &self.sheet else { return Ok(()) };
        let pairs: Pairs<'_> = serde_json::from_slice(json).map_err(std::io::Error::from)?;
        // What stands beyond the header has no rules and no order.
        for ((number, _), (_, value)) in (head.first_column..).zip(&head.columns).zip(&pairs.0) {
            let asked = |plan: &Plan| {
                plan.columns.iter().any(|one| one.number == number && one.order.is_some())
            };
            let Some(text) = text_of(value.get()) else { continue };
            let Some(says) = evidence(&text) else { continue };
            if !plan.as_ref().is_none_or(asked) {
                continue;
            }
            let column = self.columns.entry((head.index, number)).or_default();
            match says {
                Evidence::DayFirst => column.day_first = column.day_first.or(Some(row)),
                Evidence::MonthFirst => column.month_first = column.month_first.or(Some(row)),
                Evidence::Either if column.either.len() < CELLS => column.either.push(row),
                Evidence::Either => column.more = true,
            }
        }
        Ok(())
    }

    fn finding(&mut self, _: Finding) -> Result<(), Stop> {
        Ok(())
    }
}

impl Seen<'_> {
    fn decided(&self) -> Result<Vec<Decided>, Problem> {
        let (mut decided, mut open) = (vec![], vec![]);
        for (&(sheet, column), says) in &self.columns {
            let order = match (says.day_first, says.month_first) {
                (Some(_), None) => Order::Dmy,
                (None, Some(_)) => Order::Mdy,
                _ => {
                    open.push(((sheet, column), says));
                    continue;
                }
            };
            decided.push(Decided { sheet, column, order });
        }
        if decided.len() > MOST {
            let detail = format!(
                "more than {MOST} columns have dates as text: say `dates=dmy` or `dates=mdy`"
            );
            return Err(Problem::new(ProblemKind::TooLarge, detail));
        }
        let Some((&((sheet, column), says), _)) = open.split_first() else { return Ok(decided) };
        let mut told = String::new();
        for (place, says) in open.iter().take(COLUMNS) {
            // Writing to memory does not fail.
            let _ = write!(told, "{}; ", self.tell(*place, says));
        }
        if open.len() > COLUMNS {
            let _ = write!(told, "and {} more columns; ", open.len() - COLUMNS);
        }
        let detail = format!("{told}say `dates=dmy` or `dates=mdy`, or `dates=keep` for text");
        let first = says.day_first.or(says.either.first().copied());
        let at = self.at(sheet, column, first);
        Err(Problem::new(ProblemKind::AmbiguousDates, detail).at(at))
    }

    fn at(&self, sheet: u16, column: u32, row: Option<RowNumber>) -> Address {
        let head = self.names.get(&sheet);
        Address {
            sheet: head.and_then(|head| head.name.clone()),
            row,
            column: Some(ColumnNumber(column)),
        }
    }

    fn tell(&self, (sheet, column): (u16, u32), says: &OfColumn) -> String {
        let name = self.names.get(&sheet).and_then(|head| {
            let place = column.checked_sub(head.first_column)?;
            head.columns.get(place as usize)
        });
        let name: String = name.map_or("", String::as_str).chars().take(80).collect();
        let cell = |row: RowNumber| self.at(sheet, column, Some(row)).to_string();
        match (says.day_first, says.month_first) {
            (Some(day), Some(month)) => format!(
                "`{name}`: {} is a date only with the day first, {} only with the month first",
                cell(day),
                cell(month)
            ),
            _ => {
                let cells: Vec<_> = says.either.iter().map(|row| cell(*row)).collect();
                let more = if says.more { " and others" } else { "" };
                format!("`{name}`: {}{more} can be DD/MM or MM/DD", cells.join(", "))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::{ColumnRule, OtherColumns, Rules};

    fn decided(text: &str, rules: Option<Rules>) -> Result<Vec<Decided>, Stop> {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("a.csv");
        std::fs::write(&path, text).unwrap();
        let rules = rules.map(Box::new);
        let options = ReadOptions { rules, dates: TextDates::Auto, ..ReadOptions::default() };
        decide(&path, &options, &ReadLimits::default())
    }

    fn refusal(text: &str, rules: Option<Rules>) -> Problem {
        match decided(text, rules) {
            Err(Stop::Problem(problem)) => problem,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_column_gives_its_order_away() {
        let text = "n,a,b\n1,03/04/2026,01/02/2026\n2,13/04/2026,02/28/2026\n3,,x\n";
        let of = |column, order| Decided { sheet: 0, column, order };
        assert_eq!(decided(text, None).unwrap(), [of(1, Order::Dmy), of(2, Order::Mdy)]);
        assert_eq!(decided("n\n1\n2026-04-03\n", None).unwrap(), []);
    }

    #[test]
    fn what_stays_open_is_asked_about() {
        let rows: String = (1..=7).map(|n| format!("{n},0{n}/04/2026,x\n")).collect();
        let told = refusal(&format!("n,when,b\n{rows}"), None);
        assert_eq!(told.kind, ProblemKind::AmbiguousDates);
        assert_eq!(told.at.to_string(), "B2");
        assert!(told.detail.contains("`when`: B2, B3, B4, B5, B6 and others"), "{told}");
        let mixed = refusal("a,b\n13/04/2026,01/02/2026\n04/13/2026,\n", None);
        assert!(mixed.detail.contains("`a`: A2 is a date only with the day first, A3"), "{mixed}");
        assert!(mixed.detail.contains("`b`: B2 can be"), "{mixed}");
    }

    #[test]
    fn what_is_left_out_is_not_asked_about() {
        let rule = ColumnRule { column: "a".into(), ..ColumnRule::default() };
        let rules = Rules { columns: vec![rule], others: OtherColumns::Drop, ..Rules::default() };
        assert_eq!(decided("a,b\n1,01/02/2026\n", Some(rules.clone())).unwrap(), []);
        assert!(refusal("a,b\n01/02/2026,\n", Some(rules)).detail.contains("`a`"));
    }
}
