//! Native machine code: programs and libraries of ELF, PE and Mach-O, at the start of a file or anywhere in raw bytes.
//!
//! A magic of two or four bytes turns up by chance in every large tensor. So the magic only says where to look: the header
//! behind it has to be one that a loader of the operating system would take, field by field, which leaves less than one
//! false alarm in 10^19 random bytes. The search runs over chunks in order and keeps a kilobyte between them.

use std::ops::{Range, RangeInclusive};

use aho_corasick::{Span, packed};
use memchr::memmem::Finder;

/// A kind of native file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Native {
    /// A program or library of Linux and its like.
    Elf,
    /// One of Windows.
    Pe,
    /// One of macOS, for one processor.
    MachO,
    /// One of macOS, for several processors.
    FatMachO,
}

impl Native {
    /// What a person calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Elf => "an ELF program or library",
            Self::Pe => "a Windows program or library",
            Self::MachO | Self::FatMachO => "a macOS program or library",
        }
    }
}

/// Bytes of a header that the judgement may need, before and behind the magic.
const BEFORE: usize = 1024;
const BEHIND: usize = 128;
/// How far a PE signature stands behind the start: Windows wants a multiple of four, and takes one within the old header.
const PE_DISTANCES: RangeInclusive<usize> = PE_STEP..=BEFORE;
const PE_STEP: usize = 4;
/// Processors of ELF that Linux, Android and accelerators' tools use.
const ELF_MACHINES: [u16; 22] = [
    2, 3, 4, 7, 8, 20, 21, 22, 40, 42, 43, 50, 62, 94, 164, 183, 190, 224, 243, 247, 251, 258,
];
const PE_MACHINES: [u16; 9] = [
    0x14c, 0x8664, 0xaa64, 0x1c0, 0x1c4, 0x200, 0x5064, 0x6264, 0xa641,
];
/// Processors of Mach-O: x86, ARM and PowerPC, of 32 and of 64 bits.
const MACH_MACHINES: [u32; 7] = [
    7,
    12,
    18,
    0x0100_0007,
    0x0100_000c,
    0x0100_0012,
    0x0200_000c,
];

/// What starts at the beginning of `bytes`, judged by its first [`HEADER_BYTES`] bytes.
pub fn recognise(bytes: &[u8]) -> Option<Native> {
    if bytes.starts_with(b"MZ") {
        let place = usize::try_from(u32_le(bytes, 0x3c)?).ok()?;
        let is_pe = PE_DISTANCES.contains(&place)
            && place.is_multiple_of(PE_STEP)
            && bytes.get(place..)?.starts_with(b"PE\0\0")
            && is_pe(bytes, place);
        return is_pe.then_some(Native::Pe);
    }
    at(bytes, 0)
}

/// Bytes of the start that [`recognise`] may need.
pub const HEADER_BYTES: usize = BEFORE + BEHIND;

/// The file whose magic, other than that of PE, stands at `place`.
fn at(bytes: &[u8], place: usize) -> Option<Native> {
    let header = bytes.get(place..)?;
    match header.first_chunk::<4>()? {
        b"\x7fELF" => is_elf(header).then_some(Native::Elf),
        b"\xce\xfa\xed\xfe" | b"\xcf\xfa\xed\xfe" => {
            is_mach(header, u32_le).then_some(Native::MachO)
        }
        b"\xfe\xed\xfa\xce" | b"\xfe\xed\xfa\xcf" => {
            is_mach(header, u32_be).then_some(Native::MachO)
        }
        b"\xca\xfe\xba\xbe" => is_fat(header).then_some(Native::FatMachO),
        _ => None,
    }
}

fn is_elf(header: &[u8]) -> bool {
    let byte = |place: usize| header.get(place).copied().unwrap_or_default();
    let little = byte(5) == 1;
    let number = |place: usize| {
        let pair = header.get(place..)?.first_chunk().copied()?;
        Some(if little {
            u16::from_le_bytes(pair)
        } else {
            u16::from_be_bytes(pair)
        })
    };
    let version = if little {
        u32_le(header, 20)
    } else {
        u32_be(header, 20)
    };
    let header_size = if byte(4) == 1 { (40, 52) } else { (52, 64) };
    matches!(byte(4), 1 | 2)
        && matches!(byte(5), 1 | 2)
        && byte(6) == 1
        && matches!(byte(7), 0..=18 | 51 | 64 | 97 | 255)
        && number(16).is_some_and(|kind| (1..=4).contains(&kind))
        && number(18).is_some_and(|machine| ELF_MACHINES.contains(&machine))
        && version == Some(1)
        && number(header_size.0) == Some(header_size.1)
}

/// The signature stands at `place`; the header before it has to point here.
fn is_pe(bytes: &[u8], place: usize) -> bool {
    let number = |offset: usize| {
        let pair = bytes.get(place + offset..)?.first_chunk().copied()?;
        Some(u16::from_le_bytes(pair))
    };
    number(4).is_some_and(|machine| PE_MACHINES.contains(&machine))
        && number(6).is_some_and(|sections| (1..=96).contains(&sections))
        && number(20).is_some_and(|size| (96..=1024).contains(&size))
        && matches!(number(24), Some(0x10b | 0x20b))
}

/// Where the file starts whose signature stands at `place`: of several starts that point there the earliest, for that is
/// the one that a loader of all these bytes would take.
fn pe_start(bytes: &[u8], place: usize) -> Option<usize> {
    if !is_pe(bytes, place) {
        return None;
    }
    let steps = place.min(*PE_DISTANCES.end()) / PE_STEP;
    let distances = (1..=steps).map(|step| step * PE_STEP);
    let mut starts = distances.rev().map(|distance| (distance, place - distance));
    starts
        .find(|(distance, start)| {
            let header = bytes.get(*start..).unwrap_or_default();
            header.starts_with(b"MZ")
                && u32_le(header, 0x3c).and_then(|to| usize::try_from(to).ok()) == Some(*distance)
        })
        .map(|(_, start)| start)
}

fn is_mach(header: &[u8], read: fn(&[u8], usize) -> Option<u32>) -> bool {
    let field = |place| read(header, place);
    field(4).is_some_and(|machine| MACH_MACHINES.contains(&machine))
        && field(12).is_some_and(|kind| (1..=12).contains(&kind))
        && field(16).is_some_and(|commands| (1..=4096).contains(&commands))
        && field(20).is_some_and(|size| (8..=1 << 20).contains(&size))
}

/// Java classes share this magic; their second word is a version beyond any number of processors.
fn is_fat(header: &[u8]) -> bool {
    let count = u32_be(header, 4).filter(|count| (1..=8).contains(count));
    let Some(count) = count.and_then(|count| usize::try_from(count).ok()) else {
        return false;
    };
    // As many entries as the header's bytes are sure to have here.
    (0..count.min(3)).all(|index| {
        let entry = 8 + 20 * index;
        u32_be(header, entry).is_some_and(|machine| MACH_MACHINES.contains(&machine))
            && u32_be(header, entry + 16).is_some_and(|align| align <= 20)
    })
}

fn u32_le(bytes: &[u8], place: usize) -> Option<u32> {
    let word = bytes.get(place..)?.first_chunk().copied()?;
    Some(u32::from_le_bytes(word))
}

fn u32_be(bytes: &[u8], place: usize) -> Option<u32> {
    u32_le(bytes, place).map(u32::swap_bytes)
}

/// The magics, that of PE aside from `MZ`, which is too short to look for.
const MAGICS: [&[u8; 4]; 7] = [
    b"\x7fELF",
    b"PE\0\0",
    b"\xce\xfa\xed\xfe",
    b"\xcf\xfa\xed\xfe",
    b"\xfe\xed\xfa\xce",
    b"\xfe\xed\xfa\xcf",
    b"\xca\xfe\xba\xbe",
];

/// How places are found at which a magic may stand.
enum Starts {
    /// The first two bytes of all magics at once: numbers have such a pair every ten thousand bytes, which costs less than
    /// to look for four.
    Together(packed::Searcher),
    /// One magic after the other, on processors for which there is no search for several.
    Apart(Vec<Finder<'static>>),
}

impl Starts {
    fn new() -> Self {
        let pairs = MAGICS.iter().filter_map(|magic| magic.get(..2));
        let mut pairs: Vec<&[u8]> = pairs.collect();
        pairs.sort_unstable();
        pairs.dedup();
        match packed::Config::new().builder().extend(pairs).build() {
            Some(searcher) => Self::Together(searcher),
            None => Self::apart(),
        }
    }

    fn apart() -> Self {
        let finders = MAGICS.iter().map(|magic| Finder::new(*magic).into_owned());
        Self::Apart(finders.collect())
    }

    /// Every place in `window` at which a magic may stand, in no order.
    fn each(&self, window: &[u8], mut sink: impl FnMut(usize)) {
        match self {
            Self::Together(searcher) => {
                let mut span = Span::from(0..window.len());
                while let Some(pair) = searcher.find_in(window, span) {
                    sink(pair.start());
                    // The second byte of one pair may be the first of another.
                    span.start = pair.start() + 1;
                }
            }
            Self::Apart(finders) => {
                for finder in finders {
                    finder.find_iter(window).for_each(&mut sink);
                }
            }
        }
    }
}

/// A search through raw bytes that arrive in chunks.
pub struct Search {
    starts: Starts,
    kept: Vec<u8>,
    /// Offset of the first kept byte.
    start: u64,
    /// Everything before this offset was judged.
    judged: u64,
    /// Where finds count, in order and apart; `None` is everywhere.
    within: Option<Vec<Range<u64>>>,
    found: Vec<(u64, Native)>,
}

/// The most finds that are kept.
pub const MAX_FINDS: usize = 64;

impl Default for Search {
    fn default() -> Self {
        Self::new()
    }
}

impl Search {
    /// Nothing seen yet.
    pub fn new() -> Self {
        Self {
            starts: Starts::new(),
            kept: Vec::new(),
            start: 0,
            judged: 0,
            within: None,
            found: Vec::new(),
        }
    }

    /// The same, for files that start within one of `ranges`, in any order; others are not kept, and do not count towards
    /// [`MAX_FINDS`].
    pub fn within(mut ranges: Vec<Range<u64>>) -> Self {
        ranges.sort_unstable_by_key(|range| (range.start, range.end));
        ranges.dedup_by(|next, before| {
            let joined = next.start <= before.end;
            if joined {
                before.end = before.end.max(next.end);
            }
            joined
        });
        Self {
            within: Some(ranges),
            ..Self::new()
        }
    }

    fn counts(&self, place: u64) -> bool {
        let Some(ranges) = &self.within else {
            return true;
        };
        let behind = ranges.partition_point(|range| range.start <= place);
        let last = behind.checked_sub(1).and_then(|index| ranges.get(index));
        last.is_some_and(|range| place < range.end)
    }

    /// The next bytes. Chunks of 64 KiB to 1 MiB, which stay in the processor's cache, are fastest.
    pub fn feed(&mut self, chunk: &[u8]) {
        let joint = chunk.len().min(BEFORE + 2 * BEHIND);
        self.kept.extend(chunk.iter().take(joint));
        let end = self.start + self.kept.len() as u64;
        if joint == chunk.len() {
            self.look_at_kept(end.saturating_sub(BEHIND as u64));
            self.forget(end.saturating_sub((BEFORE + BEHIND) as u64));
            return;
        }
        let chunk_start = end - joint as u64;
        self.look_at_kept(chunk_start + BEFORE as u64);
        let chunk_end = chunk_start + chunk.len() as u64;
        let limit = chunk_end.saturating_sub(BEHIND as u64);
        self.look(chunk, chunk_start, limit);
        let tail = chunk.len().saturating_sub(BEFORE + BEHIND);
        self.kept.clear();
        self.kept.extend(chunk.iter().skip(tail));
        self.start = chunk_start + tail as u64;
    }

    /// The finds in the order of their places: offsets of first bytes in all that was fed.
    pub fn finish(mut self) -> Vec<(u64, Native)> {
        self.look_at_kept(u64::MAX);
        self.found.sort_unstable_by_key(|(place, _)| *place);
        self.found.dedup();
        self.found
    }

    fn look_at_kept(&mut self, limit: u64) {
        let kept = std::mem::take(&mut self.kept);
        self.look(&kept, self.start, limit);
        self.kept = kept;
    }

    /// Judges magics in `bytes`, which start at offset `start`, from what was judged before up to `limit`.
    fn look(&mut self, bytes: &[u8], start: u64, limit: u64) {
        let from = usize::try_from(self.judged.saturating_sub(start)).unwrap_or(usize::MAX);
        let to = usize::try_from(limit.saturating_sub(start)).unwrap_or(usize::MAX);
        // A magic that starts before the limit may end behind it.
        let end = to.saturating_add(3).min(bytes.len());
        let Some(window) = bytes.get(from..end) else {
            return;
        };
        let mut found = Vec::new();
        self.starts.each(window, |place| {
            let place = from + place;
            let native = if bytes
                .get(place..)
                .is_some_and(|rest| rest.starts_with(b"PE\0\0"))
            {
                pe_start(bytes, place).map(|place| (place, Native::Pe))
            } else {
                at(bytes, place).map(|native| (place, native))
            };
            let find = native.map(|(place, native)| (start + place as u64, native));
            found.extend(find.filter(|(place, _)| self.counts(*place)));
            // The same file is found once more where chunks meet.
            found.truncate(MAX_FINDS);
        });
        for find in found {
            if self.found.len() < MAX_FINDS && !self.found.contains(&find) {
                self.found.push(find);
            }
        }
        self.judged = self.judged.max(limit.min(start + bytes.len() as u64));
    }

    fn forget(&mut self, before: u64) {
        let gone = usize::try_from(before.saturating_sub(self.start)).unwrap_or_default();
        let gone = gone.min(self.kept.len());
        self.kept.drain(..gone);
        self.start += gone as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elf() -> Vec<u8> {
        let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x3e\0\x01\0\0\0".to_vec();
        elf.resize(64, 0);
        elf[52] = 64;
        elf
    }

    fn pe() -> Vec<u8> {
        let mut pe = b"MZ".to_vec();
        pe.resize(0x80, 0);
        pe[0x3c] = 0x80;
        pe.extend(b"PE\0\0\x64\x86\x06\0\0\0\0\0\0\0\0\0\0\0\0\0\xf0\0\x22\0\x0b\x02");
        pe.resize(0x200, 0);
        pe
    }

    fn mach() -> Vec<u8> {
        let mut mach =
            b"\xcf\xfa\xed\xfe\x0c\0\0\x01\0\0\0\0\x06\0\0\0\x10\0\0\0\0\x08\0\0".to_vec();
        mach.resize(64, 0);
        mach
    }

    fn search(bytes: &[u8], chunk: usize) -> Vec<(u64, Native)> {
        let mut search = Search::new();
        bytes.chunks(chunk).for_each(|chunk| search.feed(chunk));
        search.finish()
    }

    #[test]
    fn the_start_and_the_search_agree_on_how_far_behind_it_a_signature_stands() {
        for distance in [4, 8, 0x38, 0x3c, 0x40, 0x41, 0x101, 0x400, 0x404] {
            let mut moved = b"MZ".to_vec();
            moved.resize(distance.max(0x40), 0);
            moved.truncate(distance);
            moved.extend(&pe()[0x80..]);
            moved.resize(0x800, 0);
            moved[0x3c..0x40].copy_from_slice(&u32::try_from(distance).unwrap().to_le_bytes());
            let found = search(&moved, 13).first() == Some(&(0, Native::Pe));
            assert_eq!(found, recognise(&moved).is_some(), "{distance:#x}");
            // Where the signature stands on the field that points to it, the field is also the kind of section.
            let is_possible = distance % 4 == 0 && distance <= 0x400;
            assert!(!found || is_possible, "{distance:#x}");
            assert!(found || !is_possible || distance < 0x40, "{distance:#x}");
        }
    }

    #[test]
    fn of_two_starts_with_one_signature_the_earliest_is_told() {
        let mut twice = pe();
        twice[0x40..0x42].copy_from_slice(b"MZ");
        twice[0x7c..0x80].copy_from_slice(&0x40_u32.to_le_bytes());
        assert_eq!(recognise(&twice), Some(Native::Pe));
        assert_eq!(search(&twice, 13), [(0, Native::Pe)]);
        assert_eq!(recognise(&twice[0x40..]), Some(Native::Pe));
        assert_eq!(search(&twice[0x40..], 13), [(0, Native::Pe)]);
    }

    /// Bytes without structure, the same at each run.
    fn noise(size: usize) -> Vec<u8> {
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        };
        (0..size).map(|_| next()).collect()
    }

    #[test]
    fn code_is_found_wherever_chunks_are_cut() {
        for place in [0, 1, 900, 4000, 8190, 20_000] {
            let files = [
                (elf(), Native::Elf),
                (pe(), Native::Pe),
                (mach(), Native::MachO),
            ];
            for (file, native) in files {
                let mut bytes = noise(30_000);
                bytes[place..place + file.len()].copy_from_slice(&file);
                for chunk in [1, 7, 100, 1500, 4096, 8192, 30_000] {
                    assert_eq!(
                        search(&bytes, chunk),
                        [(place as u64, native)],
                        "{place} by {chunk}"
                    );
                }
            }
        }
    }

    #[test]
    fn one_search_for_all_magics_finds_what_one_for_each_finds() {
        let mut bytes = noise(200_000);
        for (index, magic) in MAGICS.iter().cycle().take(2000).enumerate() {
            let place = index * 97 % (bytes.len() - 4);
            bytes[place..place + 4].copy_from_slice(*magic);
        }
        // Pairs that share a byte.
        bytes[500..508].copy_from_slice(b"\xca\xfe\xed\xfa\xce\xfa\xed\xfe");
        let places = |starts: &Starts| {
            let mut places = Vec::new();
            starts.each(&bytes, |place| places.push(place));
            places.retain(|place| MAGICS.iter().any(|m| bytes[*place..].starts_with(*m)));
            places.sort_unstable();
            places
        };
        let (together, apart) = (places(&Starts::new()), places(&Starts::apart()));
        assert!(apart.len() > 1000 && apart.contains(&501) && apart.contains(&504));
        assert_eq!(together, apart);
    }

    #[test]
    fn what_lies_outside_of_the_ranges_takes_no_room() {
        let mut bytes: Vec<u8> = std::iter::repeat_n(elf(), MAX_FINDS + 9)
            .flatten()
            .collect();
        let start = bytes.len() as u64;
        bytes.extend(pe());
        let end = bytes.len() as u64;
        bytes.extend(mach());
        let mut search = Search::within(vec![start + 9..end, start..start + 10, 3..3]);
        bytes.chunks(1000).for_each(|chunk| search.feed(chunk));
        assert_eq!(search.finish(), [(start, Native::Pe)]);
    }

    #[test]
    fn a_magic_alone_is_no_code() {
        let mut bytes = noise(100_000);
        for (index, magic) in [
            &b"\x7fELF"[..],
            b"PE\0\0",
            b"MZ",
            b"\xcf\xfa\xed\xfe",
            b"\xca\xfe\xba\xbe",
        ]
        .iter()
        .cycle()
        .take(500)
        .enumerate()
        {
            let place = index * 199;
            bytes[place..place + magic.len()].copy_from_slice(magic);
        }
        assert_eq!(search(&bytes, 4096), []);
        assert_eq!(recognise(b"MZ is a fine start of a text"), None);
        assert_eq!(recognise(b"\xca\xfe\xba\xbe\0\0\0\x3d\0\x10 java"), None);
    }

    #[test]
    fn the_start_of_a_file_is_recognised() {
        assert_eq!(recognise(&elf()), Some(Native::Elf));
        assert_eq!(recognise(&pe()), Some(Native::Pe));
        assert_eq!(recognise(&mach()), Some(Native::MachO));
    }
}
