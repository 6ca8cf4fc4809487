//! stub
use super::{limits::*, options::*, sink::*};
pub(crate) fn read(
    _: std::fs::File,
    _: &ReadOptions,
    _: &ReadLimits,
    _: &mut dyn Sink,
) -> Result<Totals, Stop> {
    Err(unreadable("stub").into())
}
