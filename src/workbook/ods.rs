//! stub
use super::{container::Container, limits::*, options::*, sink::*};
pub(crate) fn read<R: std::io::Read + std::io::Seek>(
    _: &mut Container<R>,
    _: &ReadOptions,
    _: &ReadLimits,
    _: &mut dyn Sink,
) -> Result<Totals, Stop> {
    Err(unreadable("stub").into())
}
