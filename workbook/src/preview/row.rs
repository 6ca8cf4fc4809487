//! One row into its columns' notes. A row comes as the JSON that would be sent; it is walked
//! through without making a value of it.

use std::fmt;

use serde::Deserializer as _;
use serde::de::{DeserializeSeed, Error, MapAccess, Visitor};

use super::Sheet;
use super::column::Column;
use super::kind::Kind;
use super::twins::Twins;
use rowmill_domain::RowNumber;

/// Notes a row of the sheet.
pub(super) fn look(
    sheet: &mut Sheet,
    twins: &mut Twins,
    row: RowNumber,
    json: &[u8],
    addresses: usize,
) -> Result<(), serde_json::Error> {
    let (index, keyed) = (sheet.head.index, sheet.key.len());
    let mut walk = Walk { sheet, twins, row, addresses, place: 0, known_by: 0 };
    serde_json::Deserializer::from_slice(json).deserialize_map(&mut walk)?;
    let has_key = keyed == 0 || walk.known_by == keyed;
    walk.twins.end_row(index, row, has_key);
    Ok(())
}

struct Walk<'a> {
    sheet: &'a mut Sheet,
    twins: &'a mut Twins,
    row: RowNumber,
    addresses: usize,
    /// Which column is next: those of the header come first, in order.
    place: usize,
    /// Columns of the key that have something in this row.
    known_by: usize,
}

impl Walk<'_> {
    /// The column that a key stands for. Past the header, it is found by its letters.
    fn find(&mut self, key: &str) {
        let named = self.sheet.head.columns.len();
        if self.place < named {
            return;
        }
        let beyond = self.sheet.beyond.iter().position(|known| known == key);
        self.place = named
            + beyond.unwrap_or_else(|| {
                self.sheet.beyond.push(key.to_owned());
                self.sheet.columns.push(Column::default());
                self.sheet.beyond.len() - 1
            });
    }

    fn is_key(&self) -> bool {
        self.sheet.key.is_empty() || self.sheet.key.contains(&self.place)
    }

    fn text(&mut self, text: &str) {
        if self.is_key() {
            self.known_by += 1;
            self.twins.value(self.place, &text);
        }
        let (row, csv, addresses) = (self.row, self.sheet.head.name.is_none(), self.addresses);
        if let Some(column) = self.sheet.columns.get_mut(self.place) {
            column.text(row, text, csv, addresses);
        }
    }

    fn value(&mut self, bits: u64, kind: Kind) {
        if self.is_key() {
            self.known_by += 1;
            if self.sheet.key.is_empty() {
                self.twins.value(self.place, &(bits, kind));
            } else {
                // As an upload knows rows by a key: what reads the same is the same.
                self.twins.value(self.place, &text(bits, kind).as_str());
            }
        }
        let (row, addresses) = (self.row, self.addresses);
        if let Some(column) = self.sheet.columns.get_mut(self.place) {
            column.value(row, kind, addresses);
        }
    }
}

/// A value as it reads.
fn text(bits: u64, kind: Kind) -> String {
    match kind {
        Kind::Number => f64::from_bits(bits).to_string(),
        Kind::Boolean => (bits == 1).to_string(),
        _ => bits.cast_signed().to_string(),
    }
}

impl<'de> Visitor<'de> for &mut Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a row")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while map.next_key_seed(Key(self))?.is_some() {
            map.next_value_seed(Cell(self))?;
            self.place += 1;
        }
        Ok(())
    }
}

struct Key<'w, 'a>(&'w mut Walk<'a>);

impl<'de> DeserializeSeed<'de> for Key<'_, '_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, key: D) -> Result<(), D::Error> {
        key.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a column's name")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<(), E> {
        self.0.find(key);
        Ok(())
    }
}

struct Cell<'w, 'a>(&'w mut Walk<'a>);

impl<'de> DeserializeSeed<'de> for Cell<'_, '_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, value: D) -> Result<(), D::Error> {
        value.deserialize_any(self)
    }
}

impl Visitor<'_> for Cell<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a cell")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.0.text(text);
        Ok(())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.0.value(u64::from(value), Kind::Boolean);
        Ok(())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.0.value(value, Kind::Integer);
        Ok(())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.0.value(value.cast_unsigned(), Kind::Integer);
        Ok(())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.0.value(value.to_bits(), Kind::Number);
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }
}
