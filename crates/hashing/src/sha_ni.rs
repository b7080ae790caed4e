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

/// What is compressed at a time.
pub(crate) type Block = [u8; 64];

/// The eight words of a state, `a` to `h`.
pub(crate) type State = [u32; 8];

/// The state before the first block (section 5.3.3).
pub(crate) const INITIAL: State = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

/// The constants of the rounds (section 4.2.2), four to a group.
const K: [[u32; 4]; 16] = [
    [0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5],
    [0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5],
    [0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3],
    [0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174],
    [0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc],
    [0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da],
    [0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7],
    [0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967],
    [0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13],
    [0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85],
    [0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3],
    [0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070],
    [0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5],
    [0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3],
    [0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208],
    [0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2],
];

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
