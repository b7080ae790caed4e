//! How indices and rows travel: bytes that the sensor writes and the supervisor reads.
//!
//! Indices are zigzag distances to the one before, as LEB128. A row is its index in the data set as LEB128 and 32 bits a column,
//! little-endian. Nothing that is read is trusted.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

/// Most indices of one batch that are told.
pub const INDICES_MAX: usize = 4096;
/// Most columns of a row.
pub const COLUMNS_MAX: usize = 16;
/// Most rows of a batch.
pub const ROWS_MAX: usize = 12;

/// One row: its index in the data set, and a fingerprint for each column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Index in the data set.
    pub index: u64,
    /// A fingerprint for each column.
    pub columns: Vec<u32>,
}

/// The text of the indices.
#[must_use]
pub fn write_indices(indices: &[i64]) -> String {
    let mut bytes = Vec::with_capacity(indices.len() * 2);
    let mut last = 0_i64;
    for index in indices {
        let step = index.wrapping_sub(last);
        put(&mut bytes, ((step << 1) ^ (step >> 63)).cast_unsigned());
        last = *index;
    }
    STANDARD_NO_PAD.encode(bytes)
}

/// The indices of the text; `None` if it is none or too long.
#[must_use]
pub fn read_indices(text: &str) -> Option<Vec<i64>> {
    let bytes = decode(text, INDICES_MAX * 10)?;
    let (mut rest, mut last, mut indices) = (&bytes[..], 0_i64, Vec::new());
    while !rest.is_empty() {
        let coded = take(&mut rest)?;
        let step = (coded >> 1).cast_signed() ^ -(coded & 1).cast_signed();
        last = last.wrapping_add(step);
        if indices.len() >= INDICES_MAX {
            return None;
        }
        indices.push(last);
    }
    Some(indices)
}

/// The text of the rows.
#[must_use]
pub fn write_rows(rows: &[Row]) -> String {
    let mut bytes = Vec::new();
    for row in rows {
        put(&mut bytes, row.index);
        for column in &row.columns {
            bytes.extend(column.to_le_bytes());
        }
    }
    STANDARD_NO_PAD.encode(bytes)
}

/// The rows of the text, of so many columns; `None` if it is none or too long.
#[must_use]
pub fn read_rows(text: &str, columns: usize) -> Option<Vec<Row>> {
    if columns > COLUMNS_MAX {
        return None;
    }
    let bytes = decode(text, ROWS_MAX * (10 + 4 * COLUMNS_MAX))?;
    let (mut rest, mut rows) = (&bytes[..], Vec::new());
    while !rest.is_empty() {
        let index = take(&mut rest)?;
        let (told, behind) = rest.split_at_checked(columns * 4)?;
        rest = behind;
        let columns = told
            .chunks_exact(4)
            .filter_map(|four| four.try_into().ok().map(u32::from_le_bytes))
            .collect();
        if rows.len() >= ROWS_MAX {
            return None;
        }
        rows.push(Row { index, columns });
    }
    Some(rows)
}

fn decode(text: &str, most: usize) -> Option<Vec<u8>> {
    if text.len() > most.div_ceil(3) * 4 {
        return None;
    }
    STANDARD_NO_PAD.decode(text).ok()
}

fn put(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push((value & 0x7f) as u8);
}

fn take(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, behind) = rest.split_first()?;
        *rest = behind;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn indices_read_back(indices in prop::collection::vec(any::<i64>(), 0..50)) {
            prop_assert_eq!(read_indices(&write_indices(&indices)), Some(indices));
        }

        #[test]
        fn rows_read_back(rows in prop::collection::vec((any::<u64>(), any::<[u32; 3]>()), 0..8)) {
            let rows: Vec<Row> = rows
                .into_iter()
                .map(|(index, columns)| Row { index, columns: columns.to_vec() })
                .collect();
            prop_assert_eq!(read_rows(&write_rows(&rows), 3), Some(rows));
        }

        #[test]
        fn any_text_is_an_answer(text in ".{0,60}", columns in 0_usize..20) {
            let _ = (read_indices(&text), read_rows(&text, columns));
        }
    }
}
