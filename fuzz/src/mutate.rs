//! A small generator of hostile inputs: good ones, damaged in the ways that break parsers.
//!
//! It knows no coverage; libFuzzer does that better. Its worth is that it needs nothing, that the same number gives the
//! same inputs on any machine, and that it starts behind the first checks, because the seeds are good.

/// The longest input that is made, in bytes.
pub const MAX_INPUT: usize = 1 << 20;

/// Growth beyond this is rare: most bugs need few bytes, and small inputs are many.
const USUAL: usize = 16 << 10;

/// Values at the edges of what fields hold.
const EDGES: [u64; 12] = [
    0,
    1,
    0x7f,
    0xff,
    0x7fff,
    0xffff,
    0x1_0000,
    0x7fff_ffff,
    0xffff_ffff,
    1 << 32,
    i64::MAX as u64,
    u64::MAX,
];

/// Numbers that only look random (SplitMix64).
pub struct Random(u64);

impl Random {
    /// Starts at `seed`; equal seeds give equal numbers.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`; 0 when there is none.
    pub fn below(&mut self, bound: usize) -> usize {
        let bound = (bound as u64).max(1);
        usize::try_from(self.next() % bound).unwrap_or_default()
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }

    fn pick<'a, T>(&mut self, list: &'a [T]) -> Option<&'a T> {
        list.get(self.below(list.len()))
    }
}

/// One input: a seed, damaged up to 16 times, sometimes grown until it is heavy.
pub fn input(random: &mut Random, seeds: &[Vec<u8>], words: &[&[u8]]) -> Vec<u8> {
    let mut data = random.pick(seeds).cloned().unwrap_or_default();
    let rounds = 1 << random.below(5);
    for _ in 0..rounds {
        damage(random, &mut data, seeds, words);
        data.truncate(USUAL.max(seeds.iter().map(Vec::len).max().unwrap_or(0)));
    }
    if random.below(200) == 0 {
        swell(random, &mut data, words);
    }
    data
}

fn damage(random: &mut Random, data: &mut Vec<u8>, seeds: &[Vec<u8>], words: &[&[u8]]) {
    let at = random.below(data.len() + 1);
    match random.below(13) {
        0 => change(data, at, |byte| byte ^ (1 << random.below(8))),
        1 => change(data, at, |_| random.byte()),
        2 => digit(random, data),
        3 => drop(data.drain(at..at + random.below((data.len() - at).min(64) + 1))),
        4 => insert(data, at, &[random.byte()]),
        5 | 6 => {
            if let Some(word) = random.pick(words).copied() {
                put(random, data, at, word);
            }
        }
        7 => {
            let edge = random.pick(&EDGES).copied().unwrap_or_default();
            number(random, data, at, edge);
        }
        8 => {
            let length = data.len() as u64;
            let near = length.wrapping_add(random.next() % 7).wrapping_sub(3);
            number(random, data, at, near);
        }
        9 => copy(random, data, at),
        10 => {
            if let Some(other) = random.pick(seeds) {
                data.truncate(at);
                data.extend(&other[random.below(other.len())..]);
            }
        }
        11 => swap_lines(random, data),
        _ => {
            if random.below(4) == 0 {
                data.truncate(at);
            }
        }
    }
}

fn change(data: &mut [u8], at: usize, new: impl FnOnce(u8) -> u8) {
    if let Some(byte) = data.get_mut(at) {
        *byte = new(*byte);
    }
}

fn insert(data: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    data.splice(at..at, bytes.iter().copied());
}

/// Writes `bytes` between or over those at `at`.
fn put(random: &mut Random, data: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    let over = random.below(2) * bytes.len();
    let end = (at + over).min(data.len());
    data.splice(at..end, bytes.iter().copied());
}

/// Another digit where a digit stands, or one more.
fn digit(random: &mut Random, data: &mut Vec<u8>) {
    let start = random.below(data.len());
    let found = data[start.min(data.len())..]
        .iter()
        .position(u8::is_ascii_digit);
    if let Some(at) = found.map(|offset| start + offset) {
        let other = [random.pick(b"0123456789abcdef+-.").copied().unwrap_or(b'0')];
        put(random, data, at, &other);
    }
}

/// A field of one, two, four or eight bytes, in either order.
fn number(random: &mut Random, data: &mut Vec<u8>, at: usize, value: u64) {
    let width = 1 << random.below(4);
    let (little, big) = (value.to_le_bytes(), value.to_be_bytes());
    let bytes = if random.below(2) == 0 {
        &little[..width]
    } else {
        &big[8 - width..]
    };
    let end = (at + width).min(data.len());
    data.splice(at..end, bytes.iter().copied());
}

/// A piece of the input once more, elsewhere.
fn copy(random: &mut Random, data: &mut Vec<u8>, at: usize) {
    let start = random.below(data.len());
    let end = start + random.below((data.len() - start).min(256) + 1);
    let piece = data[start..end].to_vec();
    insert(data, at, &piece);
}

fn swap_lines(random: &mut Random, data: &mut Vec<u8>) {
    let mut lines: Vec<&[u8]> = data.split_inclusive(|byte| *byte == b'\n').collect();
    let (one, other) = (random.below(lines.len()), random.below(lines.len()));
    if random.below(2) == 0 {
        if !lines.is_empty() {
            lines.swap(one, other);
        }
    } else if let Some(line) = lines.get(one).copied() {
        lines.insert(other, line);
    }
    *data = lines.concat();
}

/// One piece or word very often: what costs more than it should per byte shows itself here.
fn swell(random: &mut Random, data: &mut Vec<u8>, words: &[&[u8]]) {
    let word = random.pick(words).copied().unwrap_or(b"a");
    let start = random.below(data.len());
    let end = start + random.below((data.len() - start).min(64) + 1);
    let piece = if random.below(2) == 0 && end > start {
        data[start..end].to_vec()
    } else {
        word.to_vec()
    };
    let room = MAX_INPUT.saturating_sub(data.len()) >> random.below(8);
    let many = piece.repeat(room / piece.len().max(1));
    let at = random.below(data.len() + 1);
    insert(data, at, &many);
    data.truncate(MAX_INPUT);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_number_gives_the_same_inputs_and_all_are_bounded() {
        let seeds = [b"one line\nand 2\n".to_vec(), Vec::new()];
        let words: [&[u8]; 2] = [b"word", b"\n"];
        let many = |seed| {
            let mut random = Random::new(seed);
            (0..5000)
                .map(|_| input(&mut random, &seeds, &words))
                .collect::<Vec<_>>()
        };
        assert_eq!(many(1), many(1));
        assert_ne!(many(1), many(2));
        assert!(many(3).iter().all(|data| data.len() <= MAX_INPUT));
        assert!(many(3).iter().any(|data| data.len() > USUAL));
    }
}
