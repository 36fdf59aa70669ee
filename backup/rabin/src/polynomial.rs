//! Polynomials over GF(2): bit `i` is the coefficient of `x^i`; to add is to exclusive-or.

/// What a modulus of the fingerprint can do.
pub trait Polynom {
    /// The highest power in it; -1 for zero.
    fn degree(&self) -> i32;

    /// What is left of it after division by `m`; by zero: all of it.
    #[must_use]
    fn modulo(&self, m: &Self) -> Self;
}

/// A polynomial of degree 63 at most.
pub type Polynom64 = u64;

impl Polynom for Polynom64 {
    fn degree(&self) -> i32 {
        self.checked_ilog2().map_or(-1, u32::cast_signed)
    }

    fn modulo(&self, m: &Self) -> Self {
        let Some(divisor_degree) = m.checked_ilog2() else { return *self };
        let mut rest = *self;
        while let Some(above) = rest.checked_ilog2().and_then(|degree| degree.checked_sub(divisor_degree)) {
            rest ^= m << above;
        }
        rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_degree_is_the_highest_power() {
        assert_eq!([0, 1, 2, 0b1011, u64::MAX].map(|polynomial| polynomial.degree()), [-1, 0, 1, 3, 63]);
    }

    #[test]
    fn what_is_left_is_of_a_lower_degree_and_nothing_is_left_of_a_multiple() {
        // (x^2 + 1)(x + 1) = x^3 + x^2 + x + 1
        assert_eq!(0b1111.modulo(&0b101), 0);
        assert_eq!(0b1110.modulo(&0b101), 1);
        assert_eq!(0b11.modulo(&0b101), 0b11);
        assert_eq!(7.modulo(&0), 7);
    }
}
