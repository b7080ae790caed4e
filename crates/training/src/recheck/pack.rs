//! Columns of binary32 as differences to what is known already: the same bytes, in a third of the space.
//!
//! A moment behind a step is nearly `from` × what it was + `by` × the gradient (or its square), a clipped gradient nearly a multiple of the
//! one before. What is written is how many representable numbers the true value lies from that, so any prediction gives any
//! value back, bit for bit, `NaN` included; a bad one only takes more bytes.

use super::wire::Malformed;

/// Most rules of a sample.
pub const RULES_MAX: usize = 8;
/// Bytes of an element of the only kind that is packed.
pub const PACKED_SIZE: usize = 4;

/// `from` × what stood there + (1 − `from`) × the gradient.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rule {
    /// Factor of what stood there.
    pub from: f64,
    /// Whether the gradient is squared.
    pub squared: bool,
    /// Whether the gradient is added whole.
    pub whole: bool,
}

impl Rule {
    /// Nothing changes.
    pub const STILL: Self = Self {
        from: 1.0,
        squared: false,
        whole: false,
    };

    fn of(self, before: f32, gradient: f32) -> u32 {
        let (before, gradient) = (f64::from(before), f64::from(gradient));
        let by = if self.whole { 1.0 } else { 1.0 - self.from };
        let power = if self.squared {
            gradient * gradient
        } else {
            gradient
        };
        let sum = self.from * before + by * power;
        // Which bits a `NaN` has is the machine's affair.
        let sum = if sum.is_nan() { 0.0 } else { sum };
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a prediction: rounding is meant"
        )]
        (sum as f32).to_bits()
    }
}

/// Appends `column` as differences to what `rule` makes of `before` and `gradients`; what is not there is zero.
pub fn write(
    out: &mut Vec<u8>,
    column: &[u8],
    rule: Rule,
    before: Option<&[u8]>,
    gradients: Option<&[u8]>,
) {
    for (slot, found) in column.as_chunks::<PACKED_SIZE>().0.iter().enumerate() {
        let expected = rule.of(at(before, slot), at(gradients, slot));
        let difference = place(u32::from_le_bytes(*found)).wrapping_sub(place(expected));
        number(out, zigzag(difference));
    }
}

/// Reads a column of `count` elements back; answers it and what follows.
///
/// # Errors
/// [`Malformed`] where the input ends, or a number has more bits than an element.
pub fn read<'a>(
    mut input: &'a [u8],
    count: usize,
    rule: Rule,
    before: Option<&[u8]>,
    gradients: Option<&[u8]>,
) -> Result<(Vec<u8>, &'a [u8]), Malformed> {
    let mut column = Vec::with_capacity(count.min(input.len()) * PACKED_SIZE);
    for slot in 0..count {
        let expected = rule.of(at(before, slot), at(gradients, slot));
        let (value, rest) = take(input)?;
        input = rest;
        let found = bits_at(place(expected).wrapping_add(unzigzag(value)));
        column.extend(found.to_le_bytes());
    }
    Ok((column, input))
}

/// The factor between two columns, from the first pair of elements that has one.
pub fn ratio(of: &[u8], to: &[u8]) -> Option<f64> {
    let elements = |bytes: &'_ [u8]| -> Vec<f64> {
        let chunks = bytes.as_chunks::<PACKED_SIZE>().0;
        chunks
            .iter()
            .map(|it| f64::from(f32::from_le_bytes(*it)))
            .collect()
    };
    let pairs = elements(of).into_iter().zip(elements(to));
    pairs
        .filter(|(of, to)| of.is_normal() && to.abs() > f64::from(f32::MIN_POSITIVE))
        .map(|(of, to)| of / to)
        .find(|ratio| ratio.is_normal())
}

fn at(column: Option<&[u8]>, slot: usize) -> f32 {
    column
        .and_then(|column| column.as_chunks::<PACKED_SIZE>().0.get(slot))
        .map_or(0.0, |bytes| f32::from_le_bytes(*bytes))
}

/// The place of a number among all: neighbours are one apart, below zero too.
fn place(bits: u32) -> i32 {
    let bits = bits.cast_signed();
    if bits < 0 {
        i32::MIN.wrapping_sub(bits).wrapping_sub(1)
    } else {
        bits
    }
}

fn bits_at(place: i32) -> u32 {
    let bits = if place < 0 {
        i32::MIN.wrapping_sub(place).wrapping_sub(1)
    } else {
        place
    };
    bits.cast_unsigned()
}

fn zigzag(value: i32) -> u32 {
    (value << 1 ^ value >> 31).cast_unsigned()
}

fn unzigzag(value: u32) -> i32 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

fn number(out: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        let [byte, ..] = value.to_le_bytes();
        out.push(byte | 0x80);
        value >>= 7;
    }
    let [byte, ..] = value.to_le_bytes();
    out.push(byte);
}

fn take(input: &[u8]) -> Result<(u32, &[u8]), Malformed> {
    let mut value = 0u32;
    let mut rest = input;
    for shift in (0..u32::BITS).step_by(7) {
        let (byte, after) = rest.split_first().ok_or(Malformed)?;
        rest = after;
        let part = u32::from(byte & 0x7f);
        if part << shift >> shift != part {
            return Err(Malformed);
        }
        value |= part << shift;
        if byte & 0x80 == 0 {
            // One way to write a number, and no other.
            return if *byte == 0 && shift > 0 {
                Err(Malformed)
            } else {
                Ok((value, rest))
            };
        }
    }
    Err(Malformed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn column(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|it| it.to_le_bytes()).collect()
    }

    proptest! {
        #[test]
        fn any_bits_come_back_under_any_rule(
            found in proptest::collection::vec(any::<u32>(), 0..20),
            before in proptest::collection::vec(any::<u32>(), 20),
            gradients in proptest::collection::vec(any::<u32>(), 20),
            (from, squared, whole) in any::<(f64, bool, bool)>(),
            there in any::<(bool, bool)>(),
        ) {
            let bytes = |bits: &[u32]| bits.iter().flat_map(|it| it.to_le_bytes()).collect::<Vec<u8>>();
            let (found, before, gradients) = (bytes(&found), bytes(&before), bytes(&gradients));
            let before = there.0.then_some(&before[..]);
            let gradients = there.1.then_some(&gradients[..]);
            let rule = Rule { from, squared, whole };
            let mut out = Vec::new();
            write(&mut out, &found, rule, before, gradients);
            let (back, rest) = read(&out, found.len() / 4, rule, before, gradients).unwrap();
            prop_assert_eq!(back, found);
            prop_assert!(rest.is_empty());
        }
    }

    #[test]
    fn a_good_rule_takes_a_byte_an_element() {
        let before: Vec<f32> = (1..40u8).map(|it| f32::from(it) * 0.37 - 5.0).collect();
        let gradients: Vec<f32> = (1..40u8).map(|it| f32::from(it).sin()).collect();
        let found: Vec<f32> = before
            .iter()
            .zip(&gradients)
            .map(|(m, g)| m * 0.9 + g * (1.0 - 0.9))
            .collect();
        let mut out = Vec::new();
        let rule = Rule {
            from: 0.9,
            squared: false,
            whole: false,
        };
        write(
            &mut out,
            &column(&found),
            rule,
            Some(&column(&before)),
            Some(&column(&gradients)),
        );
        assert_eq!(out.len(), found.len());
    }

    #[test]
    fn the_ratio_is_that_of_a_pair_that_has_one() {
        let (of, to) = (column(&[0.0, f32::NAN, 3.0]), column(&[1.0, 1.0, 2.0]));
        assert_eq!(ratio(&of, &to), Some(1.5));
        assert_eq!(ratio(&of, &column(&[0.0; 3])), None);
    }

    #[test]
    fn what_ends_early_or_is_too_long_is_malformed() {
        assert_eq!(read(&[0x80], 1, Rule::STILL, None, None), Err(Malformed));
        assert_eq!(read(&[0x80, 0], 1, Rule::STILL, None, None), Err(Malformed));
        assert_eq!(
            read(&[0xff, 0xff, 0xff, 0xff, 0x7f], 1, Rule::STILL, None, None),
            Err(Malformed)
        );
    }
}
