//! Jumps of the wall clock while a run is going: whoever sets the clock moves it against the time since the machine's start.
//!
//! Both clocks go on while a machine is suspended, and both are slewed alike, so neither sleep nor a patient NTP daemon moves
//! them apart: only setting the clock does. What is far less than a second is left alone until it adds up.

/// From when on a difference is a jump, in microseconds.
const JUMP_US: i64 = 1_000_000;

/// Watches for jumps.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Jumps {
    /// Wall clock less time since the start, when it was last in order.
    apart_us: i64,
}

impl Jumps {
    /// Begins with both clocks, in microseconds.
    pub(crate) fn new(wall_us: i64, boot_us: i64) -> Self {
        Self {
            apart_us: wall_us.saturating_sub(boot_us),
        }
    }

    /// By how much the wall clock was set since, in microseconds, if by more than a second. It is told once.
    pub(crate) fn look(&mut self, wall_us: i64, boot_us: i64) -> Option<i64> {
        let apart = wall_us.saturating_sub(boot_us);
        let by = apart.saturating_sub(self.apart_us);
        if by.saturating_abs() <= JUMP_US {
            return None;
        }
        self.apart_us = apart;
        Some(by)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1_000_000;

    #[test]
    fn a_clock_that_is_set_is_told_once_in_both_directions() {
        let mut jumps = Jumps::new(1_000 * S, 10 * S);
        assert_eq!(jumps.look(1_005 * S, 15 * S), None);
        assert_eq!(jumps.look(1_000 * S, 16 * S), Some(-6 * S));
        assert_eq!(jumps.look(1_001 * S, 17 * S), None);
        assert_eq!(jumps.look(5_000 * S, 18 * S), Some(3_998 * S));
        assert_eq!(jumps.look(5_001 * S, 19 * S), None);
    }

    #[test]
    fn a_suspended_machine_is_no_jump_and_small_steps_add_up() {
        let mut jumps = Jumps::new(1_000 * S, 10 * S);
        assert_eq!(jumps.look(90_000 * S, 89_010 * S), None, "it slept");
        assert_eq!(jumps.look(90_001 * S - S * 6 / 10, 89_011 * S), None);
        let second = jumps.look(90_002 * S - S * 12 / 10, 89_012 * S);
        assert_eq!(second, Some(-S * 12 / 10));
    }
}
