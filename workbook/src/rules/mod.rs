//! What a topic demands of rows, and how dates that are written as text are read.
//!
//! [`Checked`] stands between a file's rows and the sink that they are for, whoever that is: the pipe
//! to the parent, a look at the file, the writer of results. So the three never disagree about a row,
//! and what is expensive is done in the reader's process, which has its limits. A row's cells are
//! taken in this order: text dates become dates, columns get their types and names, the schema is
//! asked about what would be published. Whatever is wrong is told, not only the first of it, with the
//! cell's address in the file.
//!
//! | file | subject |
//! | --- | --- |
//! | `terms` | what can be said: columns, types, what becomes of a row that breaks the rules |
//! | `schema`, `extent` | a JSON Schema: compiled, bounded before that, asked about a row |
//! | `value` | a cell as its column's type, without loss or not at all |
//! | `dates`, `decide` | text dates: in a told order, or in the one that their column gives away |
//! | `plan` | the rules on one sheet's header |
//! | `check` | rows, one after another |

mod check;
mod dates;
mod decide;
mod extent;
mod plan;
mod schema;
mod terms;
#[cfg(test)]
mod tests;
mod value;

pub use decide::decide;
pub use schema::{BadSchema, Schema};
pub use terms::{
    BadRules, CellType, ColumnRule, Decided, OnInvalid, Order, OtherColumns, Rules, TextDates,
};

pub(crate) use check::checked;
