//! Torch's generator of the processor (MT19937) and its permutations, from a state or a seed.
//!
//! As ATen has them: `randperm` below 2^32 / 20 elements takes 32 bits for each place and their rest by what is left.

/// Bytes of a state as `Generator.get_state` gives it.
pub const STATE_BYTES: usize = 5056;

/// Words that a generator makes at a time.
pub const WORDS: usize = 624;
const SHIFT: usize = 397;
/// Most elements that torch permutes in the known way.
pub const LENGTH_MAX: u64 = (u32::MAX / 20) as u64;

/// The next word of a state as `Generator.get_state` gives it.
#[must_use]
pub fn place(state: &[u8]) -> Option<usize> {
    let next = u64::from_le_bytes(state.get(16..24)?.try_into().ok()?);
    usize::try_from(next).ok().filter(|next| *next <= WORDS)
}

/// The generator.
#[derive(Clone)]
pub struct Generator {
    words: [u32; WORDS],
    /// Words that are left before they are made anew.
    left: usize,
    next: usize,
}

impl Generator {
    /// As `Generator().manual_seed(seed)`: the low 32 bits count.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "torch cuts it as well")]
    pub fn seeded(seed: u64) -> Self {
        let mut words = [0_u32; WORDS];
        let mut last = seed as u32;
        for (number, word) in words.iter_mut().enumerate() {
            if number > 0 {
                last = 1_812_433_253_u32
                    .wrapping_mul(last ^ (last >> 30))
                    .wrapping_add(number as u32);
            }
            *word = last;
        }
        Self {
            words,
            left: 1,
            next: 0,
        }
    }

    /// From what `Generator.get_state` gave; `None` if it is no such state.
    #[must_use]
    pub fn from_state(state: &[u8]) -> Option<Self> {
        if state.len() != STATE_BYTES {
            return None;
        }
        // The seed, what is left, whether it was seeded, the next word, the words as 64 bits each.
        let left = u32::from_le_bytes(state.get(8..12)?.try_into().ok()?);
        let next = u64::from_le_bytes(state.get(16..24)?.try_into().ok()?);
        let mut words = [0_u32; WORDS];
        let told = state.get(24..24 + WORDS * 8)?;
        for (word, bytes) in words.iter_mut().zip(told.chunks_exact(8)) {
            *word = u32::try_from(u64::from_le_bytes(bytes.try_into().ok()?)).ok()?;
        }
        let (left, next) = (usize::try_from(left).ok()?, usize::try_from(next).ok()?);
        // A word is read while more than one is left: what is left and what is next must fit together.
        (left >= 1 && next <= WORDS && next + left <= WORDS + 1).then_some(Self {
            words,
            left,
            next,
        })
    }

    /// How many words were drawn from here to `later`; `None` if that is not reached within so many renewals of the words.
    #[must_use]
    pub fn drawn_until(&self, later: &Self, renewals: usize) -> Option<usize> {
        let mut here = self.clone();
        let mut drawn = 0;
        for _ in 0..=renewals {
            if here.words == later.words && here.next <= later.next {
                return Some(drawn + later.next - here.next);
            }
            // Whoever finds one left makes the words anew and takes the first of them.
            drawn += if here.left == 1 { 0 } else { WORDS - here.next };
            here.renew();
        }
        None
    }

    fn renew(&mut self) {
        let mixed = |high: u32, low: u32| (high & 0x8000_0000) | (low & 0x7fff_ffff);
        for at in 0..WORDS {
            let one = self.words[at];
            let two = self.words[(at + 1) % WORDS];
            let far = self.words[(at + SHIFT) % WORDS];
            let odd = if two & 1 == 1 { 0x9908_b0df } else { 0 };
            self.words[at] = far ^ (mixed(one, two) >> 1) ^ odd;
        }
        self.left = WORDS;
        self.next = 0;
    }

    /// 32 bits.
    pub fn next_u32(&mut self) -> u32 {
        self.left -= 1;
        if self.left == 0 {
            self.renew();
        }
        let mut word = self.words.get(self.next).copied().unwrap_or_default();
        self.next += 1;
        word ^= word >> 11;
        word ^= (word << 7) & 0x9d2c_5680;
        word ^= (word << 15) & 0xefc6_0000;
        word ^ (word >> 18)
    }

    /// 64 bits: the first draw is the upper half.
    pub fn next_u64(&mut self) -> u64 {
        let upper = u64::from(self.next_u32());
        (upper << 32) | u64::from(self.next_u32())
    }

    /// As `torch.empty((), dtype=torch.int64).random_()`.
    pub fn next_i64(&mut self) -> u64 {
        self.next_u64() & (u64::MAX >> 1)
    }

    /// As `torch.randperm(length)`; `None` where torch takes another way.
    pub fn permutation(&mut self, length: u64) -> Option<Vec<u32>> {
        if length >= LENGTH_MAX {
            return None;
        }
        let length = u32::try_from(length).ok()?;
        let mut order: Vec<u32> = (0..length).collect();
        for place in 0..length.saturating_sub(1) {
            let other = place + self.next_u32() % (length - place);
            order.swap(place as usize, other as usize);
        }
        Some(order)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From torch 2.15: `torch.randperm(n, generator=torch.Generator().manual_seed(seed)).tolist()[:8]`.
    const PERMUTATIONS: &[(u64, u64, &[u32])] = &[
        (0, 1, &[0]),
        (0, 2, &[0, 1]),
        (1, 10, &[5, 6, 1, 2, 0, 8, 9, 3]),
        (1234, 1000, &[775, 760, 390, 842, 624, 4, 138, 865]),
        (1_099_511_627_781, 77, &[64, 11, 69, 62, 22, 75, 41, 10]),
        (
            99,
            100_000,
            &[14401, 15293, 22689, 96999, 16589, 32538, 69308, 21725],
        ),
    ];

    #[test]
    fn draws_are_counted_over_renewals_and_given_up_behind_them() {
        let start = Generator::seeded(5);
        let mut here = start.clone();
        let mut before = start.clone();
        for count in 0..1300 {
            assert_eq!(start.drawn_until(&here, 4), Some(count), "{count}");
            if count == 700 {
                before = here.clone();
            }
            here.next_u32();
        }
        assert_eq!(before.drawn_until(&here, 4), Some(600));
        assert_eq!(start.drawn_until(&here, 2), None);
        assert_eq!(here.drawn_until(&start, 4), None);
    }

    #[test]
    fn permutations_are_those_of_torch() {
        for (seed, length, first) in PERMUTATIONS {
            let order = Generator::seeded(*seed).permutation(*length).unwrap();
            assert_eq!(order.len() as u64, *length);
            assert_eq!(
                &order[..first.len()],
                *first,
                "seed {seed}, {length} elements"
            );
        }
    }

    #[test]
    fn a_drawn_seed_is_that_of_torch() {
        assert_eq!(Generator::seeded(7).next_i64(), 1_407_639_518_939_636_932);
        assert_eq!(
            Generator::seeded(1 << 40 | 5).next_i64(),
            4_095_051_218_741_643_470
        );
    }

    #[test]
    fn a_state_that_none_can_be_is_refused() {
        assert!(Generator::from_state(&[0; 5055]).is_none());
        assert!(Generator::from_state(&[0; STATE_BYTES]).is_none());
        assert!(Generator::from_state(&[255; STATE_BYTES]).is_none());
    }
}
