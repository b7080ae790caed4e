//! Numbers that are known to lie between two bounds, and arithmetic on them that is at least as coarse as the machine's.
//!
//! Every operation is evaluated in binary64 on both bounds and then widened by what the training's own arithmetic may have
//! lost there: [`Arithmetic::ulp`] of the result and [`Arithmetic::tiny`]. So a chain of operations carries its own
//! conditioning: where two large numbers cancel, the bounds stay as far apart as the numbers' errors, and where a divisor may
//! be zero they are infinite. Nothing here knows an optimizer. Rejected: one relative tolerance for all results, because
//! it is too tight after a cancellation and too loose everywhere else.

use crate::ElementKind;

/// A number between `low` and `high`, both included; either may be infinite.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bounds {
    /// Not greater than the number.
    pub low: f64,
    /// Not less than the number.
    pub high: f64,
}

impl Bounds {
    /// Nothing is known.
    pub const ANY: Self = Self {
        low: f64::NEG_INFINITY,
        high: f64::INFINITY,
    };

    /// Exactly `value`.
    pub const fn exact(value: f64) -> Self {
        Self {
            low: value,
            high: value,
        }
    }

    /// Whether a training that did as it should may have `value` here. What overflows on the way may become anything.
    pub fn allows(self, value: f64) -> bool {
        if value.is_nan() {
            return !(self.low.is_finite() && self.high.is_finite());
        }
        self.low <= value && value <= self.high
    }

    /// Half of the distance of the bounds.
    pub fn radius(self) -> f64 {
        (self.high - self.low) / 2.0
    }

    /// Between the bounds.
    pub fn middle(self) -> f64 {
        f64::midpoint(self.low, self.high)
    }

    /// Bounds that are `by` farther out on both sides.
    #[must_use]
    pub fn widened(self, by: f64) -> Self {
        Self {
            low: self.low - by,
            high: self.high + by,
        }
    }

    /// The number with the other sign: exact in every arithmetic.
    #[must_use]
    pub fn negated(self) -> Self {
        Self {
            low: -self.high,
            high: -self.low,
        }
    }

    /// Its absolute value: exact in every arithmetic.
    #[must_use]
    pub fn absolute(self) -> Self {
        if self.low >= 0.0 {
            self
        } else if self.high <= 0.0 {
            self.negated()
        } else {
            Self {
                low: 0.0,
                high: self.high.max(-self.low),
            }
        }
    }

    /// The greater of two numbers: exact in every arithmetic.
    #[must_use]
    pub fn maximum(self, other: Self) -> Self {
        Self {
            low: self.low.max(other.low),
            high: self.high.max(other.high),
        }
    }

    /// What lies within either.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            low: self.low.min(other.low),
            high: self.high.max(other.high),
        }
    }
}

/// What one operation may lose.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Arithmetic {
    /// Distance of a number to the next one, relative to it: twice what a correctly rounded operation loses.
    pub ulp: f64,
    /// As [`Arithmetic::ulp`], for numbers that are no tensors: the coarsest that one is ever held in.
    pub scalar_ulp: f64,
    /// Absolute loss near zero: subnormal numbers may be flushed.
    pub tiny: f64,
    /// What is greater may have become infinite.
    pub largest: f64,
}

impl Arithmetic {
    /// The arithmetic of elements of `kind`; `None` if they are no floating-point numbers that are rechecked.
    pub fn of(kind: ElementKind) -> Option<Self> {
        // Mantissa with its hidden bit, smallest number below which something may be lost, greatest number.
        let (digits, tiny, largest) = match kind {
            ElementKind::F64 => (53, f64::MIN_POSITIVE, f64::MAX),
            ElementKind::F32 => (24, f64::from(f32::MIN_POSITIVE), f64::from(f32::MAX)),
            ElementKind::Bf16 => (8, f64::from(f32::MIN_POSITIVE), 3.389_531_389_251_535_5e38),
            // Subnormal halves are never flushed; their distance is 2^-24.
            ElementKind::F16 => (11, 2f64.powi(-24), 65_504.0),
            _ => return None,
        };
        let ulp = 2f64.powi(1 - digits);
        Some(Self {
            ulp,
            scalar_ulp: ulp,
            tiny,
            largest,
        })
    }

    /// The same with scalars of `digits` bits of mantissa, where these are fewer.
    #[must_use]
    pub fn with_scalars(self, digits: i32) -> Self {
        Self {
            scalar_ulp: self.scalar_ulp.max(2f64.powi(1 - digits)),
            ..self
        }
    }

    /// A hyperparameter, or what was computed from several: held in the arithmetic's own precision.
    pub fn scalar(&self, value: f64) -> Bounds {
        Bounds::exact(value).widened(value.abs() * self.scalar_ulp * 2.0 + self.tiny)
    }

    /// Sum.
    pub fn add(&self, left: Bounds, right: Bounds) -> Bounds {
        self.rounded(left.low + right.low, left.high + right.high)
    }

    /// Difference.
    pub fn subtract(&self, left: Bounds, right: Bounds) -> Bounds {
        self.add(left, right.negated())
    }

    /// Product.
    pub fn multiply(&self, left: Bounds, right: Bounds) -> Bounds {
        let products = [
            left.low * right.low,
            left.low * right.high,
            left.high * right.low,
            left.high * right.high,
        ];
        self.hull(products)
    }

    /// Square.
    pub fn square(&self, value: Bounds) -> Bounds {
        let value = value.absolute();
        self.rounded(value.low * value.low, value.high * value.high)
    }

    /// Quotient; anything where the divisor may be zero.
    pub fn divide(&self, left: Bounds, right: Bounds) -> Bounds {
        if right.low <= 0.0 && right.high >= 0.0 {
            return Bounds::ANY;
        }
        let quotients = [
            left.low / right.low,
            left.low / right.high,
            left.high / right.low,
            left.high / right.high,
        ];
        self.hull(quotients)
    }

    /// Square root; anything where the number may be negative.
    pub fn root(&self, value: Bounds) -> Bounds {
        if value.low < -self.tiny {
            return Bounds::ANY;
        }
        self.rounded(value.low.max(0.0).sqrt(), value.high.max(0.0).sqrt())
    }

    fn hull(&self, values: [f64; 4]) -> Bounds {
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if values.iter().any(|value| value.is_nan()) {
            return Bounds::ANY;
        }
        self.rounded(low, high)
    }

    /// Widened by one operation, and to infinity where it may have overflown.
    fn rounded(&self, low: f64, high: f64) -> Bounds {
        if low.is_nan() || high.is_nan() {
            return Bounds::ANY;
        }
        let low = low - low.abs() * self.ulp - self.tiny;
        let high = high + high.abs() * self.ulp + self.tiny;
        Bounds {
            low: if low < -self.largest {
                f64::NEG_INFINITY
            } else {
                low.min(self.largest)
            },
            high: if high > self.largest {
                f64::INFINITY
            } else {
                high.max(-self.largest)
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn single() -> Arithmetic {
        Arithmetic::of(ElementKind::F32).unwrap()
    }

    #[test]
    fn a_cancellation_keeps_the_error_of_what_cancelled() {
        let a = single();
        let large = a.multiply(a.scalar(1000.0), a.scalar(1.0 / 3.0));
        let rest = a.subtract(large, Bounds::exact(333.333_343_505_859_4));
        assert!(rest.radius() > 1e-5, "{rest:?}");
        assert!(rest.allows(0.0));
    }

    #[test]
    fn what_may_divide_by_zero_or_overflow_may_be_anything_there() {
        let a = single();
        let zero = a.subtract(a.scalar(0.5), a.scalar(0.5));
        assert_eq!(a.divide(Bounds::exact(1.0), zero), Bounds::ANY);
        assert!(a.square(Bounds::exact(1e30)).allows(f64::INFINITY));
        assert!(!a.square(Bounds::exact(1e10)).allows(f64::INFINITY));
        assert!(!a.square(Bounds::exact(1e10)).allows(f64::NAN));
        assert!(a.root(Bounds::exact(-1.0)).allows(f64::NAN));
    }

    proptest! {
        /// Single-precision arithmetic of this machine never leaves the bounds, fused or not.
        #[test]
        fn single_precision_stays_within(x in -1e6f32..1e6, y in -1e6f32..1e6, z in -1e6f32..1e6) {
            let a = single();
            let [bx, by, bz] = [x, y, z].map(|value| Bounds::exact(f64::from(value)));
            let sum = a.add(a.multiply(bx, by), bz);
            prop_assert!(sum.allows(f64::from(x * y + z)));
            prop_assert!(sum.allows(f64::from(x.mul_add(y, z))));
            prop_assert!(a.divide(a.root(a.square(bx)), a.add(bz.absolute(), a.scalar(1.0)))
                .allows(f64::from((x * x).sqrt() / (z.abs() + 1.0))));
        }
    }
}
