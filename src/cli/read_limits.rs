//! `--read-limit NAME=N`: limits of reading, as they are said on the command line.

use crate::workbook::ReadLimits;

/// Why a limit cannot be understood.
#[derive(Debug, thiserror::Error)]
pub(super) enum BadReadLimit {
    /// It is not `NAME=N`.
    #[error("`{0}` is not a limit: it is said as NAME=NUMBER")]
    Form(String),
    /// Reading has no limit of that name.
    #[error("there is no limit `{0}` of reading")]
    Name(String),
    /// The number does not fit the limit.
    #[error(transparent)]
    Number(#[from] serde_json::Error),
}

/// The limits of reading, with those that were said.
pub(super) fn read_limits(
    limits: &ReadLimits,
    said: &[String],
) -> Result<ReadLimits, BadReadLimit> {
    let mut limits = serde_json::to_value(limits)?;
    for one in said {
        let bad = || BadReadLimit::Form(one.clone());
        let (name, value) = one.split_once('=').ok_or_else(bad)?;
        let value: u64 = value.trim().parse().map_err(|_| bad())?;
        let limit =
            limits.get_mut(name.trim()).ok_or_else(|| BadReadLimit::Name(name.to_owned()))?;
        *limit = value.into();
    }
    Ok(serde_json::from_value(limits)?)
}
