//! How far two tensors of the same shape lie apart, measured on every element.
//!
//! `compare` estimates a change from sketches because the earlier bytes are usually gone. When both checkpoints are at
//! hand nothing needs to be estimated: this module adds up what two runs of elements have in common and what not. It is fed
//! in pieces of any size, in any order and from any number of threads; [`Apart`] of two pieces is their sum. Where the
//! bytes are equal the caller may ask for [`Apart::same`], which costs half.

use crate::ElementKind;
use crate::element::{brain, half};

/// Elements that are converted at a time: two blocks of doubles stay in the first-level cache.
const BLOCK: usize = 512;
/// Sums that run side by side; the order of addition is fixed by this number, so results can be repeated.
const LANES: usize = 8;

/// What was measured of one piece, or of all pieces of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Apart {
    /// Pairs of elements that were looked at.
    pub elements: u64,
    /// Pairs of which the bytes differ.
    pub changed: u64,
    /// Elements that are infinite or not a number: before, after. Pairs with such an element are in no sum.
    pub non_finite: (u64, u64),
    /// Sum of the squares before.
    pub before: f64,
    /// Sum of the squares after.
    pub after: f64,
    /// Sum of the squares of (after − before).
    pub delta: f64,
    /// Sum of (after − before).
    pub drift: f64,
    /// Sum of before × after.
    pub product: f64,
    /// The largest absolute value of (after − before).
    pub largest: f64,
}

impl Apart {
    /// Measures two pieces of `kind`, little endian and of equal length; `None` for a kind whose values are not understood,
    /// or pieces that are no whole number of elements.
    pub fn measure(kind: ElementKind, before: &[u8], after: &[u8]) -> Option<Self> {
        let size = kind.size();
        if matches!(kind, ElementKind::Other { .. })
            || before.len() != after.len()
            || !before.len().is_multiple_of(size)
        {
            return None;
        }
        let mut total = Self::default();
        let (mut old, mut new) = ([0.0; BLOCK], [0.0; BLOCK]);
        for (left, right) in before.chunks(BLOCK * size).zip(after.chunks(BLOCK * size)) {
            let count = left.len() / size;
            values(kind, left, &mut old);
            values(kind, right, &mut new);
            let (old, new) = (old.get(..count)?, new.get(..count)?);
            if !total.add_block(old, new) {
                total.add_careful(old, new);
            }
            total.elements += count as u64;
            total.changed += differing(size, left, right);
        }
        Some(total)
    }

    /// Measures a piece that is equal on both sides.
    pub fn same(kind: ElementKind, bytes: &[u8]) -> Option<Self> {
        let size = kind.size();
        if matches!(kind, ElementKind::Other { .. }) || !bytes.len().is_multiple_of(size) {
            return None;
        }
        let mut total = Self::default();
        let mut block = [0.0; BLOCK];
        for piece in bytes.chunks(BLOCK * size) {
            let count = piece.len() / size;
            values(kind, piece, &mut block);
            let block = block.get(..count)?;
            let squares = finite_squares(block);
            let strange = block.iter().filter(|value| !value.is_finite()).count() as u64;
            total.elements += count as u64;
            total.non_finite.0 += strange;
            total.non_finite.1 += strange;
            total.before += squares;
            total.after += squares;
            total.product += squares;
        }
        Some(total)
    }

    /// Adds what was measured of another piece.
    pub fn add(&mut self, other: &Self) {
        self.elements += other.elements;
        self.changed += other.changed;
        self.non_finite.0 += other.non_finite.0;
        self.non_finite.1 += other.non_finite.1;
        self.before += other.before;
        self.after += other.after;
        self.delta += other.delta;
        self.drift += other.drift;
        self.product += other.product;
        self.largest = self.largest.max(other.largest);
    }

    /// Norm of the difference divided by the norm before; 0 if nothing differs, infinite if there is nothing to divide by.
    pub fn relative(&self) -> f64 {
        match (self.delta > 0.0, self.before > 0.0) {
            (false, _) => 0.0,
            (true, false) => f64::INFINITY,
            (true, true) => (self.delta / self.before).sqrt(),
        }
    }

    /// Cosine of the angle between before and after; `None` if one of them has no length.
    pub fn cosine(&self) -> Option<f64> {
        let lengths = (self.before * self.after).sqrt();
        (lengths > 0.0).then(|| (self.product / lengths).clamp(-1.0, 1.0))
    }

    /// The factor `c` if after = c × before up to `tolerance` (a fraction of the norm after) and c is not 1.
    pub fn factor(&self, tolerance: f64) -> Option<f64> {
        let factor = (self.before > 0.0).then(|| self.product / self.before)?;
        let rest = self.after - factor * self.product;
        let multiple = rest.max(0.0).sqrt() <= tolerance * self.after.sqrt();
        (multiple && self.after > 0.0 && (factor - 1.0).abs() > tolerance).then_some(factor)
    }

    /// Adds a block by lanes. `false`, with nothing added, if an element is not finite: sums tell, since one such
    /// element makes its lane so.
    fn add_block(&mut self, old: &[f64], new: &[f64]) -> bool {
        let mut lanes = Lanes::default();
        let (old_lanes, old_rest) = old.as_chunks::<LANES>();
        let (new_lanes, new_rest) = new.as_chunks::<LANES>();
        for (a, b) in old_lanes.iter().zip(new_lanes) {
            lanes.add(a, b);
        }
        if !old_rest.is_empty() {
            let (mut a, mut b) = ([0.0; LANES], [0.0; LANES]);
            a.iter_mut()
                .zip(old_rest)
                .for_each(|(to, from)| *to = *from);
            b.iter_mut()
                .zip(new_rest)
                .for_each(|(to, from)| *to = *from);
            lanes.add(&a, &b);
        }
        let sum = |lane: &[f64; LANES]| lane.iter().sum::<f64>();
        let sums = [
            sum(&lanes.before),
            sum(&lanes.after),
            sum(&lanes.delta),
            sum(&lanes.drift),
            sum(&lanes.product),
        ];
        if !sums.iter().all(|value| value.is_finite()) {
            return false;
        }
        let [before, after, delta, drift, product] = sums;
        self.before += before;
        self.after += after;
        self.delta += delta;
        self.drift += drift;
        self.product += product;
        self.largest = lanes.largest.iter().fold(self.largest, |a, b| a.max(*b));
        true
    }

    fn add_careful(&mut self, old: &[f64], new: &[f64]) {
        for (a, b) in old.iter().zip(new) {
            self.non_finite.0 += u64::from(!a.is_finite());
            self.non_finite.1 += u64::from(!b.is_finite());
            if a.is_finite() && b.is_finite() {
                let delta = b - a;
                self.before += a * a;
                self.after += b * b;
                self.delta += delta * delta;
                self.drift += delta;
                self.product += a * b;
                self.largest = self.largest.max(delta.abs());
            }
        }
    }
}

#[derive(Default)]
struct Lanes {
    before: [f64; LANES],
    after: [f64; LANES],
    delta: [f64; LANES],
    drift: [f64; LANES],
    product: [f64; LANES],
    largest: [f64; LANES],
}

impl Lanes {
    #[inline]
    fn add(&mut self, a: &[f64; LANES], b: &[f64; LANES]) {
        for lane in 0..LANES {
            let (a, b) = (a[lane], b[lane]);
            let delta = b - a;
            self.before[lane] += a * a;
            self.after[lane] += b * b;
            self.delta[lane] += delta * delta;
            self.drift[lane] += delta;
            self.product[lane] += a * b;
            let size = delta.abs();
            self.largest[lane] = if size > self.largest[lane] {
                size
            } else {
                self.largest[lane]
            };
        }
    }
}

fn finite_squares(block: &[f64]) -> f64 {
    let (lanes, rest) = block.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for values in lanes {
        for (sum, value) in sums.iter_mut().zip(values) {
            *sum += value * value;
        }
    }
    let total = sums.iter().sum::<f64>() + rest.iter().map(|value| value * value).sum::<f64>();
    if total.is_finite() {
        return total;
    }
    let finite = block.iter().filter(|value| value.is_finite());
    finite.map(|value| value * value).sum()
}

/// Elements of `size` bytes of which the bytes differ.
fn differing(size: usize, left: &[u8], right: &[u8]) -> u64 {
    fn count<const N: usize>(left: &[u8], right: &[u8]) -> u64 {
        let (left, _) = left.as_chunks::<N>();
        let (right, _) = right.as_chunks::<N>();
        left.iter().zip(right).map(|(a, b)| u64::from(a != b)).sum()
    }
    match size {
        1 => count::<1>(left, right),
        2 => count::<2>(left, right),
        4 => count::<4>(left, right),
        _ => count::<8>(left, right),
    }
}

/// The values of `bytes` into `into`, as far as both reach.
fn values(kind: ElementKind, bytes: &[u8], into: &mut [f64; BLOCK]) {
    fn fill<const N: usize>(bytes: &[u8], into: &mut [f64], value: impl Fn([u8; N]) -> f64) {
        let (chunks, _) = bytes.as_chunks::<N>();
        for (to, chunk) in into.iter_mut().zip(chunks) {
            *to = value(*chunk);
        }
    }
    match kind {
        ElementKind::F64 => fill(bytes, into, f64::from_le_bytes),
        ElementKind::F32 => fill(bytes, into, |b| f64::from(f32::from_le_bytes(b))),
        ElementKind::F16 => fill(bytes, into, |b| f64::from(half(u16::from_le_bytes(b)))),
        ElementKind::Bf16 => fill(bytes, into, |b| f64::from(brain(u16::from_le_bytes(b)))),
        ElementKind::I64 => fill(bytes, into, |b| i64::from_le_bytes(b) as f64),
        ElementKind::I32 => fill(bytes, into, |b| f64::from(i32::from_le_bytes(b))),
        ElementKind::I16 => fill(bytes, into, |b| f64::from(i16::from_le_bytes(b))),
        ElementKind::I8 => fill(bytes, into, |b| f64::from(i8::from_le_bytes(b))),
        ElementKind::U64 => fill(bytes, into, |b| u64::from_le_bytes(b) as f64),
        ElementKind::U32 => fill(bytes, into, |b| f64::from(u32::from_le_bytes(b))),
        ElementKind::U16 => fill(bytes, into, |b| f64::from(u16::from_le_bytes(b))),
        ElementKind::U8 | ElementKind::Other { .. } => fill(bytes, into, |[b]| f64::from(b)),
        ElementKind::Bool => fill(bytes, into, |[b]| f64::from(u8::from(b != 0))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats(values: &[f32]) -> Vec<u8> {
        values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect()
    }

    fn ramp(count: u16) -> Vec<f32> {
        (0..count).map(|i| f32::from(i) * 0.25 - 100.0).collect()
    }

    #[test]
    fn sums_are_those_of_the_definition() {
        let old = ramp(1301);
        let mut new = old.clone();
        new[7] += 3.0;
        new[1300] -= 4.0;
        let apart = Apart::measure(ElementKind::F32, &floats(&old), &floats(&new)).unwrap();
        let square = |values: &[f32]| values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>();
        assert_eq!((apart.elements, apart.changed), (1301, 2));
        assert!((apart.before - square(&old)).abs() < 1e-6 * apart.before);
        assert!((apart.after - square(&new)).abs() < 1e-6 * apart.after);
        assert_eq!((apart.delta, apart.drift, apart.largest), (25.0, -1.0, 4.0));
        assert!((apart.relative() - 5.0 / square(&old).sqrt()).abs() < 1e-12);
    }

    #[test]
    fn a_multiple_is_told_with_its_factor() {
        let old = ramp(600);
        let new: Vec<f32> = old.iter().map(|value| value * -0.5).collect();
        let apart = Apart::measure(ElementKind::F32, &floats(&old), &floats(&new)).unwrap();
        assert!((apart.factor(1e-6).unwrap() + 0.5).abs() < 1e-12);
        assert!((apart.cosine().unwrap() + 1.0).abs() < 1e-12);
        let same = Apart::measure(ElementKind::F32, &floats(&old), &floats(&old)).unwrap();
        assert_eq!((same.factor(1e-6), same.relative()), (None, 0.0));
    }

    #[test]
    fn elements_that_are_not_finite_are_counted_and_left_out() {
        let mut old = ramp(700);
        let mut new = old.clone();
        old[3] = f32::NAN;
        new[600] = f32::INFINITY;
        let apart = Apart::measure(ElementKind::F32, &floats(&old), &floats(&new)).unwrap();
        assert_eq!((apart.non_finite, apart.changed), ((1, 1), 2));
        assert_eq!((apart.delta, apart.largest), (0.0, 0.0));
        assert!(apart.before.is_finite() && apart.before > 0.0);
    }

    #[test]
    fn a_piece_that_is_equal_on_both_sides_measures_the_same_either_way() {
        let mut values = ramp(1500);
        values[9] = f32::NEG_INFINITY;
        let bytes = floats(&values);
        let apart = Apart::measure(ElementKind::F32, &bytes, &bytes).unwrap();
        let same = Apart::same(ElementKind::F32, &bytes).unwrap();
        assert_eq!(apart.non_finite, same.non_finite);
        assert!((apart.before - same.before).abs() <= 1e-12 * same.before);
        assert_eq!((same.changed, same.delta), (0, 0.0));
    }

    #[test]
    fn pieces_add_up_to_the_whole() {
        let (old, new) = (ramp(2048), ramp(2049)[1..].to_vec());
        let (a, b) = (floats(&old), floats(&new));
        let whole = Apart::measure(ElementKind::F32, &a, &b).unwrap();
        let mut parts = Apart::default();
        for at in (0..a.len()).step_by(1000) {
            let end = (at + 1000).min(a.len());
            parts.add(&Apart::measure(ElementKind::F32, &a[at..end], &b[at..end]).unwrap());
        }
        assert_eq!(
            (whole.changed, whole.elements),
            (parts.changed, parts.elements)
        );
        assert!(
            (whole.delta - parts.delta).abs() < 1e-9
                && whole.largest.total_cmp(&parts.largest).is_eq()
        );
    }

    #[test]
    fn what_cannot_be_measured_is_not() {
        assert_eq!(Apart::measure(ElementKind::F32, &[0; 8], &[0; 4]), None);
        assert_eq!(Apart::measure(ElementKind::F32, &[0; 6], &[0; 6]), None);
        let other = ElementKind::Other { size: 1 };
        assert_eq!(Apart::measure(other, &[0], &[0]), None);
        assert_eq!(Apart::same(other, &[0]), None);
    }

    #[test]
    fn every_kind_has_its_values() {
        let one: [(ElementKind, &[u8]); 6] = [
            (ElementKind::F16, &[0x00, 0x3c]),
            (ElementKind::Bf16, &[0x80, 0x3f]),
            (ElementKind::I8, &[0xff]),
            (ElementKind::U8, &[1]),
            (ElementKind::Bool, &[7]),
            (ElementKind::I64, &[0xff; 8]),
        ];
        for (kind, bytes) in one {
            let zero = vec![0; bytes.len()];
            let apart = Apart::measure(kind, &zero, bytes).unwrap();
            assert_eq!((apart.delta, apart.changed), (1.0, 1), "{kind:?}");
        }
    }
}
