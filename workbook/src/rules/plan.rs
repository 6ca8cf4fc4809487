//! The rules on one sheet's header: what becomes of each column, decided once.

use std::collections::HashSet;

use super::terms::{CellType, Order, OtherColumns, Rules, TextDates};
use crate::cell;
use crate::sink::SheetHead;
use rowmill_domain::{Address, Problem, ProblemKind};

/// Names that a refusal lists.
const LISTED: usize = 20;
/// Characters of a name that a refusal shows.
const SHOWN: usize = 80;

/// What becomes of a sheet's columns.
#[derive(Debug)]
pub(super) struct Plan {
    /// Those of the header, in the order of the sheet.
    pub(super) columns: Vec<Column>,
    /// What becomes of columns beyond the header, whose names are found out row by row.
    pub(super) beyond: OtherColumns,
    /// Whether a row can come out otherwise than it went in.
    pub(super) changes: bool,
    /// Keys of the message that are taken.
    taken: HashSet<String>,
}

/// What becomes of a column.
#[derive(Debug)]
pub(super) struct Column {
    /// Where it stands, from 0.
    pub(super) number: u32,
    /// Its key in the message, and the same as JSON; none when it is left out.
    pub(super) key: Option<(String, Box<str>)>,
    pub(super) required: bool,
    pub(super) kind: Option<CellType>,
    pub(super) order: Option<Order>,
}

impl Plan {
    /// The rules on this header.
    ///
    /// # Errors
    /// Columns that must be there are not, or others are that must not.
    pub(super) fn of(head: &SheetHead, rules: &Rules, dates: &TextDates) -> Result<Self, Problem> {
        let refused = |why: String| {
            let (sheet, row) = (head.name.clone(), Some(head.header_row));
            let at = Address { sheet, row, column: None };
            Err(Problem::new(ProblemKind::BadHeader, why).at(at))
        };
        let there: HashSet<&str> = head.columns.iter().map(String::as_str).collect();
        let missing: Vec<&str> = rules
            .columns
            .iter()
            .filter(|rule| rule.required && !there.contains(rule.column.as_str()))
            .map(|rule| rule.column.as_str())
            .collect();
        if !missing.is_empty() {
            let has: Vec<&str> = head.columns.iter().map(String::as_str).collect();
            return refused(format!(
                "the topic's rules require {}; the header has {}",
                list(&missing),
                list(&has)
            ));
        }
        let mut plan =
            Self { columns: vec![], beyond: rules.others, changes: false, taken: HashSet::new() };
        let mut unknown = vec![];
        for (number, name) in (head.first_column..).zip(&head.columns) {
            let rule = rules.columns.iter().find(|rule| rule.column == *name);
            let target = match (rule, rules.others) {
                (Some(rule), _) => Some(rule.target()),
                (None, OtherColumns::Keep) => Some(name.as_str()),
                (None, OtherColumns::Drop) => None,
                (None, OtherColumns::Refuse) => {
                    unknown.push(name.as_str());
                    None
                }
            };
            if let Some(target) = target
                && !plan.taken.insert(target.to_owned())
            {
                return refused(format!("two columns would both be `{target}`"));
            }
            let order = dates.order_of(head.index, number).filter(|_| target.is_some());
            let kind = rule.and_then(|rule| rule.kind);
            plan.changes |= target != Some(name.as_str()) || kind.is_some() || order.is_some();
            plan.columns.push(Column {
                number,
                key: target.map(|target| (target.to_owned(), as_json(target))),
                required: rule.is_some_and(|rule| rule.required),
                kind,
                order,
            });
        }
        if !unknown.is_empty() {
            return refused(format!("the topic's rules do not have {}", list(&unknown)));
        }
        // A wider row may have a column that is left out.
        plan.changes |= rules.others != OtherColumns::Keep;
        Ok(plan)
    }

    /// The column of a key of the message.
    pub(super) fn column_of(&self, key: &str) -> Option<u32> {
        let found = self
            .columns
            .iter()
            .find(|column| column.key.as_ref().is_some_and(|(name, _)| name == key));
        found.map(|column| column.number)
    }

    /// Whether a key is that of a column in the header.
    pub(super) fn has(&self, key: &str) -> bool {
        self.taken.contains(key)
    }
}

fn as_json(name: &str) -> Box<str> {
    let mut json = vec![];
    cell::write_text(&mut json, name);
    String::from_utf8_lossy(&json).into()
}

fn list(names: &[&str]) -> String {
    let shown: Vec<_> = names
        .iter()
        .take(LISTED)
        .map(|name| format!("`{}`", name.chars().take(SHOWN).collect::<String>()))
        .collect();
    let more = if names.len() > shown.len() { ", ..." } else { "" };
    let what = if names.len() == 1 { "column" } else { "columns" };
    format!("the {what} {}{more}", shown.join(", "))
}
