//! The rounds of SHA-256 (FIPS 180-4, section 6.2.2) by the SHA unit of x86-64, for one state or two.
//!
//! Two states of one [`Present::compress`] never meet: each of the sixteen groups of four rounds is done for the one, then for
//! the other, so that the processor has always a second instruction that needs not wait. Both are the same generic
//! function, so one lane cannot compute anything else than two.
#![expect(
    unsafe_code,
    reason = "code compiled for the SHA unit may only be called where there is one"
)]

use std::arch::x86_64::{
    __m128i, _mm_add_epi32, _mm_alignr_epi8, _mm_extract_epi32, _mm_set_epi32, _mm_set_epi64x,
    _mm_sha256msg1_epu32, _mm_sha256msg2_epu32, _mm_sha256rnds2_epu32, _mm_shuffle_epi8,
    _mm_shuffle_epi32,
};

use crate::sha256::{Block, K, State};

/// Proof that this processor has the SHA unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Present(());

impl Present {
    pub(crate) fn look() -> Option<Self> {
        let there = is_x86_feature_detected!("sha")
            && is_x86_feature_detected!("sse4.1")
            && is_x86_feature_detected!("ssse3");
        there.then_some(Self(()))
    }

    /// Compresses as many blocks into each state as the shortest list has.
    #[expect(clippy::unused_self, reason = "it is the proof that the call is sound")]
    pub(crate) fn compress<const LANES: usize>(
        self,
        states: [&mut State; LANES],
        blocks: [&[Block]; LANES],
    ) {
        // SAFETY: `self` is made in `look` alone, which has asked this processor for the three features of the function.
        unsafe { compress(states, blocks) }
    }
}

/// A state as the unit wants it: the words `f e b a` and `h g d c`, lowest first.
#[derive(Clone, Copy)]
struct Halves {
    abef: __m128i,
    cdgh: __m128i,
}

#[target_feature(enable = "sha,sse4.1,ssse3")]
fn compress<const LANES: usize>(states: [&mut State; LANES], blocks: [&[Block]; LANES]) {
    let nothing = _mm_set_epi64x(0, 0);
    let mut now = [Halves {
        abef: nothing,
        cdgh: nothing,
    }; LANES];
    for (halves, state) in now.iter_mut().zip(&states) {
        *halves = pack(state);
    }
    let count = blocks.iter().fold(usize::MAX, fewest);
    for index in 0..count {
        let before = now;
        let mut words = [[nothing; 4]; LANES];
        for (words, lane) in words.iter_mut().zip(&blocks) {
            if let Some(block) = lane.get(index) {
                *words = load(block);
            }
        }
        let (groups, _) = K.as_chunks::<4>();
        for (number, [k0, k1, k2, k3]) in groups.iter().enumerate() {
            let more = number < 3;
            group::<LANES, 0>(&mut now, &mut words, k0, more);
            group::<LANES, 1>(&mut now, &mut words, k1, more);
            group::<LANES, 2>(&mut now, &mut words, k2, more);
            group::<LANES, 3>(&mut now, &mut words, k3, more);
        }
        for (halves, before) in now.iter_mut().zip(before) {
            halves.abef = _mm_add_epi32(halves.abef, before.abef);
            halves.cdgh = _mm_add_epi32(halves.cdgh, before.cdgh);
        }
    }
    for (state, halves) in states.into_iter().zip(now) {
        *state = unpack(halves);
    }
}

/// Four rounds of each lane with the words at `AT`, which are then replaced by those sixteen rounds later.
#[inline]
#[target_feature(enable = "sha,sse4.1,ssse3")]
fn group<const LANES: usize, const AT: usize>(
    now: &mut [Halves; LANES],
    words: &mut [[__m128i; 4]; LANES],
    constants: &[u32; 4],
    more: bool,
) {
    let constants = quad(*constants);
    for (halves, words) in now.iter_mut().zip(words) {
        let (a, b) = (words[AT % 4], words[(AT + 1) % 4]);
        let (c, d) = (words[(AT + 2) % 4], words[(AT + 3) % 4]);
        let sum = _mm_add_epi32(a, constants);
        halves.cdgh = _mm_sha256rnds2_epu32(halves.cdgh, halves.abef, sum);
        let high = _mm_shuffle_epi32::<0b1110>(sum);
        halves.abef = _mm_sha256rnds2_epu32(halves.abef, halves.cdgh, high);
        if more {
            let sum = _mm_add_epi32(_mm_sha256msg1_epu32(a, b), _mm_alignr_epi8::<4>(d, c));
            words[AT % 4] = _mm_sha256msg2_epu32(sum, d);
        }
    }
}

/// The sixteen words of a block.
#[inline]
#[target_feature(enable = "sha,sse4.1,ssse3")]
fn load(block: &Block) -> [__m128i; 4] {
    let order = _mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203);
    let mut words = [order; 4];
    let (pairs, _) = block.as_chunks::<8>().0.as_chunks::<2>();
    for (words, [low, high]) in words.iter_mut().zip(pairs) {
        let quad = _mm_set_epi64x(i64::from_le_bytes(*high), i64::from_le_bytes(*low));
        *words = _mm_shuffle_epi8(quad, order);
    }
    words
}

/// Four words in a register, the first lowest.
#[inline]
#[target_feature(enable = "sha,sse4.1,ssse3")]
fn quad([a, b, c, d]: [u32; 4]) -> __m128i {
    _mm_set_epi32(
        d.cast_signed(),
        c.cast_signed(),
        b.cast_signed(),
        a.cast_signed(),
    )
}

#[target_feature(enable = "sha,sse4.1,ssse3")]
fn pack(state: &State) -> Halves {
    Halves {
        abef: quad([state[5], state[4], state[1], state[0]]),
        cdgh: quad([state[7], state[6], state[3], state[2]]),
    }
}

#[target_feature(enable = "sha,sse4.1,ssse3")]
fn unpack(halves: Halves) -> State {
    let (one, two) = (halves.abef, halves.cdgh);
    [
        _mm_extract_epi32::<3>(one),
        _mm_extract_epi32::<2>(one),
        _mm_extract_epi32::<3>(two),
        _mm_extract_epi32::<2>(two),
        _mm_extract_epi32::<1>(one),
        _mm_extract_epi32::<0>(one),
        _mm_extract_epi32::<1>(two),
        _mm_extract_epi32::<0>(two),
    ]
    .map(i32::cast_unsigned)
}

fn fewest(count: usize, lane: &&[Block]) -> usize {
    count.min(lane.len())
}
