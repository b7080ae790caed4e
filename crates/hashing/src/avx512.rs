//! The rounds of SHA-256 (FIPS 180-4, section 6.2.2) for sixteen states at once, in registers of sixteen words.
//!
//! Each register holds one word of all sixteen states, so an instruction does the same for every lane, and no lane ever
//! reads a word of another. It costs the same for one lane as for sixteen: with few of them the SHA unit is faster.
#![expect(
    unsafe_code,
    reason = "code compiled for wide registers may only be called where there are some"
)]

use std::arch::x86_64::{
    __m512i, _mm_extract_epi32, _mm_set_epi64x, _mm512_add_epi32, _mm512_broadcast_i32x4,
    _mm512_extracti32x4_epi32, _mm512_ror_epi32, _mm512_set_epi32, _mm512_set_epi64,
    _mm512_set1_epi32, _mm512_shuffle_epi8, _mm512_shuffle_i32x4, _mm512_srli_epi32,
    _mm512_ternarylogic_epi32, _mm512_unpackhi_epi32, _mm512_unpackhi_epi64, _mm512_unpacklo_epi32,
    _mm512_unpacklo_epi64,
};

use crate::sha256::{Block, K, State};

/// States that are compressed at once.
pub(crate) const LANES: usize = 16;

/// A lane that carries nothing compresses this.
const NOTHING: Block = [0; 64];

// Truth tables of three inputs, as `vpternlog` counts them.
const EITHER: i32 = 0x96;
const CHOICE: i32 = 0xca;
const MAJORITY: i32 = 0xe8;

/// Proof that this processor has the registers and the system keeps them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Present(());

impl Present {
    pub(crate) fn look() -> Option<Self> {
        let there = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw");
        there.then_some(Self(()))
    }

    /// Compresses `count` blocks into each state. What becomes of the state of a lane with fewer means nothing.
    #[expect(clippy::unused_self, reason = "it is the proof that the call is sound")]
    pub(crate) fn compress(
        self,
        states: &mut [State; LANES],
        blocks: &[&[Block]; LANES],
        count: usize,
    ) {
        // SAFETY: `self` is made in `look` alone, which has asked this processor for both features of the function.
        unsafe { compress(states, blocks, count) }
    }
}

#[target_feature(enable = "avx512f,avx512bw")]
fn compress(states: &mut [State; LANES], blocks: &[&[Block]; LANES], count: usize) {
    let mut now = gather(states);
    for index in 0..count {
        let before = now;
        let mut words = [_mm512_set1_epi32(0); 16];
        for (row, lane) in words.iter_mut().zip(blocks) {
            *row = load(lane.get(index).unwrap_or(&NOTHING));
        }
        let mut words = transpose(&words);
        let (groups, _) = K.as_chunks::<4>();
        for (number, constants) in groups.iter().enumerate() {
            sixteen(&mut now, &mut words, constants, number < 3);
        }
        for (word, before) in now.iter_mut().zip(before) {
            *word = _mm512_add_epi32(*word, before);
        }
    }
    scatter(&now, states);
}

/// Sixteen rounds, with the words replaced by those of the next sixteen if there are `more`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn sixteen(
    now: &mut [__m512i; 8],
    words: &mut [__m512i; 16],
    constants: &[[u32; 4]; 4],
    more: bool,
) {
    // Written out: a loop would keep the words in memory.
    macro_rules! rounds {
        ($($at:literal)*) => { $(
            let constant = _mm512_set1_epi32(constants[$at / 4][$at % 4].cast_signed());
            round(now, _mm512_add_epi32(words[$at], constant));
            if more {
                words[$at] = next_word::<$at>(words);
            }
        )* };
    }
    rounds!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn round(now: &mut [__m512i; 8], word: __m512i) {
    let first = now[0];
    let fifth = now[4];
    let mixed = _mm512_ternarylogic_epi32::<EITHER>(
        _mm512_ror_epi32::<6>(fifth),
        _mm512_ror_epi32::<11>(fifth),
        _mm512_ror_epi32::<25>(fifth),
    );
    let chosen = _mm512_ternarylogic_epi32::<CHOICE>(fifth, now[5], now[6]);
    let one = _mm512_add_epi32(
        _mm512_add_epi32(now[7], word),
        _mm512_add_epi32(mixed, chosen),
    );
    let mixed = _mm512_ternarylogic_epi32::<EITHER>(
        _mm512_ror_epi32::<2>(first),
        _mm512_ror_epi32::<13>(first),
        _mm512_ror_epi32::<22>(first),
    );
    let most = _mm512_ternarylogic_epi32::<MAJORITY>(first, now[1], now[2]);
    let two = _mm512_add_epi32(mixed, most);
    *now = [
        _mm512_add_epi32(one, two),
        first,
        now[1],
        now[2],
        _mm512_add_epi32(now[3], one),
        fifth,
        now[5],
        now[6],
    ];
}

/// The word sixteen rounds after the one at `AT`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn next_word<const AT: usize>(words: &[__m512i; 16]) -> __m512i {
    let early = words[(AT + 1) % 16];
    let late = words[(AT + 14) % 16];
    let early = _mm512_ternarylogic_epi32::<EITHER>(
        _mm512_ror_epi32::<7>(early),
        _mm512_ror_epi32::<18>(early),
        _mm512_srli_epi32::<3>(early),
    );
    let late = _mm512_ternarylogic_epi32::<EITHER>(
        _mm512_ror_epi32::<17>(late),
        _mm512_ror_epi32::<19>(late),
        _mm512_srli_epi32::<10>(late),
    );
    _mm512_add_epi32(
        _mm512_add_epi32(words[AT % 16], early),
        _mm512_add_epi32(words[(AT + 9) % 16], late),
    )
}

/// The sixteen words of a block of one lane.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn load(block: &Block) -> __m512i {
    let mut quads = [0; 8];
    for (quad, bytes) in quads.iter_mut().zip(block.as_chunks::<8>().0) {
        *quad = i64::from_le_bytes(*bytes);
    }
    let all = _mm512_set_epi64(
        quads[7], quads[6], quads[5], quads[4], quads[3], quads[2], quads[1], quads[0],
    );
    let order = _mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203);
    _mm512_shuffle_epi8(all, _mm512_broadcast_i32x4(order))
}

/// From sixteen words of one lane each to one word of sixteen lanes each.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn transpose(rows: &[__m512i; 16]) -> [__m512i; 16] {
    let mut twos = *rows;
    for (to, from) in twos
        .as_chunks_mut::<2>()
        .0
        .iter_mut()
        .zip(rows.as_chunks::<2>().0)
    {
        to[0] = _mm512_unpacklo_epi32(from[0], from[1]);
        to[1] = _mm512_unpackhi_epi32(from[0], from[1]);
    }
    // Now fours: word `4 k + j` of four lanes is in quarter `k` of register `j`.
    let mut fours = twos;
    for (to, from) in fours
        .as_chunks_mut::<4>()
        .0
        .iter_mut()
        .zip(twos.as_chunks::<4>().0)
    {
        to[0] = _mm512_unpacklo_epi64(from[0], from[2]);
        to[1] = _mm512_unpackhi_epi64(from[0], from[2]);
        to[2] = _mm512_unpacklo_epi64(from[1], from[3]);
        to[3] = _mm512_unpackhi_epi64(from[1], from[3]);
    }
    let mut all = fours;
    for word in 0..4 {
        let low = _mm512_shuffle_i32x4::<0x44>(fours[word], fours[word + 4]);
        let high = _mm512_shuffle_i32x4::<0xee>(fours[word], fours[word + 4]);
        let low_after = _mm512_shuffle_i32x4::<0x44>(fours[word + 8], fours[word + 12]);
        let high_after = _mm512_shuffle_i32x4::<0xee>(fours[word + 8], fours[word + 12]);
        all[word] = _mm512_shuffle_i32x4::<0x88>(low, low_after);
        all[word + 4] = _mm512_shuffle_i32x4::<0xdd>(low, low_after);
        all[word + 8] = _mm512_shuffle_i32x4::<0x88>(high, high_after);
        all[word + 12] = _mm512_shuffle_i32x4::<0xdd>(high, high_after);
    }
    all
}

/// From states to one register for each of their words.
#[target_feature(enable = "avx512f,avx512bw")]
fn gather(states: &[State; LANES]) -> [__m512i; 8] {
    let mut now = [_mm512_set1_epi32(0); 8];
    for (word, register) in now.iter_mut().enumerate() {
        let of = |lane: usize| states[lane][word].cast_signed();
        *register = _mm512_set_epi32(
            of(15),
            of(14),
            of(13),
            of(12),
            of(11),
            of(10),
            of(9),
            of(8),
            of(7),
            of(6),
            of(5),
            of(4),
            of(3),
            of(2),
            of(1),
            of(0),
        );
    }
    now
}

#[target_feature(enable = "avx512f,avx512bw")]
fn scatter(now: &[__m512i; 8], states: &mut [State; LANES]) {
    let (fours, _) = states.as_chunks_mut::<4>();
    for (word, register) in now.iter().enumerate() {
        let quarters = [
            _mm512_extracti32x4_epi32::<0>(*register),
            _mm512_extracti32x4_epi32::<1>(*register),
            _mm512_extracti32x4_epi32::<2>(*register),
            _mm512_extracti32x4_epi32::<3>(*register),
        ];
        for (four, quarter) in fours.iter_mut().zip(quarters) {
            four[0][word] = _mm_extract_epi32::<0>(quarter).cast_unsigned();
            four[1][word] = _mm_extract_epi32::<1>(quarter).cast_unsigned();
            four[2][word] = _mm_extract_epi32::<2>(quarter).cast_unsigned();
            four[3][word] = _mm_extract_epi32::<3>(quarter).cast_unsigned();
        }
    }
}
