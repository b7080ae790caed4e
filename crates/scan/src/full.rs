//! The full-byte mode: what formats want to know of bytes that nothing interprets, answered while the file is read once.
//!
//! A digest of the file, check sums of members and the search for machine code each have to see every byte, and what
//! costs is the digest. So a format only says what it wants of which range ([`Asked`]), and [`read`] goes over the file
//! a single time, in pieces that stay in the processor's cache, and does everything with each piece. Reading at once, format by
//! format, was rejected: it is three passes and half the speed.
//!
//! One digest is enough: that of the file binds every byte of every member that is stored in it, so a digest of each tensor
//! would say the same again at twice the price. What is unpacked in memory is looked at where it is unpacked; what shares
//! its bytes with something else is read again, within a budget, so that a file cannot ask for more than it is worth.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;

use domain::scan::{GapKind, Place, Rule, Weight};
use domain::{Digest, Hasher};
use formats::native::{MAX_FINDS, Native, Search};
use formats::zip::{self, Member, Sums};
use formats::{ReadAt, Window};

use crate::Examiner;
use crate::archive::sentence;

/// Bytes that are read at a time: what stays in the processor's cache.
const CHUNK: usize = 256 << 10;
/// Ranges that wait for the one pass; what is beyond is read at once.
const MAX_ASKED: usize = 1 << 15;
/// Bytes of names that the waiting ranges may have.
const MAX_NAMES: usize = 4 << 20;
/// Bytes that are read beside the one pass, in files as large as that allows them to be.
const AGAIN_BYTES: u64 = 512 << 20;
/// How many times as large as the file that may be, where it is more.
const AGAIN_TIMES: u64 = 3;

/// What bytes are to those who load them; that decides what machine code in them means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bytes {
    /// Numbers and texts of a model: no honest writer puts machine code there.
    Data,
    /// A model that may bring a part that is compiled for a device.
    Compiled,
    /// No format that is known; the numbers of another file may lie there.
    Nameless,
}

impl Bytes {
    const fn weight(self) -> Weight {
        match self {
            Self::Data => Weight::Dangerous,
            Self::Compiled | Self::Nameless => Weight::Unknown,
        }
    }

    const fn why(self) -> &'static str {
        match self {
            Self::Data => "Numbers of a model hold the header of machine code.",
            Self::Compiled => {
                "A compiled part of the model holds machine code, which cannot be examined here."
            }
            Self::Nameless => "Bytes of no known format hold the header of machine code.",
        }
    }
}

struct Wanted {
    range: Range<u64>,
    members: Vec<String>,
    bytes: Bytes,
}

struct Said {
    members: Vec<String>,
    sum: u32,
}

/// A file as a whole: its bytes know where they stand in it.
pub(crate) struct Whole<'a>(pub(crate) &'a dyn ReadAt);

impl ReadAt for Whole<'_> {
    fn len(&self) -> u64 {
        self.0.len()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.0.read_at(offset, buffer)
    }

    fn place(&self) -> Option<u64> {
        Some(0)
    }
}

/// What is wanted of ranges of the file.
#[derive(Default)]
pub(crate) struct Asked {
    searches: Vec<Wanted>,
    sums: BTreeMap<(u64, u64), Vec<Said>>,
    count: usize,
    names: usize,
    again: u64,
    /// Archives of which it is told that they were written without check sums.
    unstated: BTreeSet<Vec<String>>,
}

impl Asked {
    /// The range of the file that `input` is, if there is room to remember it.
    fn room(&mut self, input: &dyn ReadAt, members: &[String]) -> Option<Range<u64>> {
        let start = input.place()?;
        let end = start.checked_add(input.len())?;
        let names: usize = members.iter().map(String::len).sum();
        if self.count >= MAX_ASKED || self.names + names > MAX_NAMES {
            return None;
        }
        self.count += 1;
        self.names += names;
        Some(start..end)
    }

    /// Takes `bytes` from what may be read beside the one pass over a file of `size` bytes; `false` if it is used up.
    fn spend(&mut self, bytes: u64, size: u64) -> bool {
        self.again = self.again.saturating_add(bytes);
        self.again <= AGAIN_BYTES.max(size.saturating_mul(AGAIN_TIMES))
    }
}

/// Searches all of `input` for machine code, now or with the file.
pub(crate) fn search(examiner: &mut Examiner<'_>, input: &dyn ReadAt, bytes: Bytes) {
    let members = examiner.here().members;
    if let Some(range) = examiner.asked().room(input, &members) {
        let wanted = Wanted {
            range,
            members,
            bytes,
        };
        return examiner.asked().searches.push(wanted);
    }
    if !spend(examiner, input.len()) {
        return;
    }
    let mut search = Search::new();
    let read = Window::from(input, 0).for_each(|piece| search.feed(piece));
    if let Err(error) = read {
        examiner.gap(GapKind::Unreadable, examiner.here(), error.to_string());
    }
    found(examiner, search, bytes);
}

/// Tells what `search`, which was given all bytes of the member that is being examined, has found.
pub(crate) fn found(examiner: &mut Examiner<'_>, search: Search, bytes: Bytes) {
    for (offset, native) in search.finish() {
        let place = examiner.at(offset);
        tell(examiner, place, native, bytes);
    }
}

fn tell(examiner: &mut Examiner<'_>, place: Place, native: Native, bytes: Bytes) {
    examiner.found(
        Rule::NativeCode,
        bytes.weight(),
        place,
        native.name(),
        bytes.why(),
    );
}

/// Compares the check sum of a stored member, whose bytes `window` is, with what the directory says, now or with the file.
pub(crate) fn check(examiner: &mut Examiner<'_>, window: &Window<'_>, member: &Member) {
    let members = examiner.here().members;
    if window.len() != member.size {
        return wrong(examiner, members, &zip::CrcError::Size);
    }
    if let Some(range) = examiner.asked().room(window, &members) {
        let sum = member.crc;
        let same = examiner.asked().sums.entry((range.start, range.end));
        return same.or_default().push(Said { members, sum });
    }
    if spend(examiner, window.len()) {
        let found = sum_of(window);
        compare(examiner, members, found, member.crc);
    }
}

/// The same of a member that was unpacked into so many bytes of that sum.
pub(crate) fn check_sum(examiner: &mut Examiner<'_>, bytes: u64, sum: u32, member: &Member) {
    let members = examiner.here().members;
    if bytes == member.size {
        compare(examiner, members, Ok(sum), member.crc);
    } else {
        wrong(examiner, members, &zip::CrcError::Size);
    }
}

fn compare(examiner: &mut Examiner<'_>, members: Vec<String>, found: io::Result<u32>, said: u32) {
    match found {
        Ok(found) if found == said => {}
        Ok(found) => wrong(examiner, members, &zip::CrcError::Differs { found, said }),
        Err(error) => examiner.gap(GapKind::Unreadable, place(members), error.to_string()),
    }
}

/// A check sum of zero beside other bytes is how writers say that they made none (PyTorch does so on request): no damage, and
/// nothing that the bytes can be held against. Once an archive.
fn unstated(examiner: &mut Examiner<'_>, members: Vec<String>) {
    let mut archive = members.clone();
    archive.pop();
    if examiner.asked().unstated.insert(archive) {
        let why = "the archive was written without check sums: whether its bytes are as they were written cannot be told";
        examiner.found(Rule::Broken, Weight::Note, place(members), "", why);
    }
}

pub(crate) fn wrong(examiner: &mut Examiner<'_>, members: Vec<String>, error: &zip::CrcError) {
    if matches!(error, zip::CrcError::Differs { said: 0, .. }) {
        return unstated(examiner, members);
    }
    let why = sentence(&error.to_string());
    examiner.found(Rule::Broken, Weight::Unknown, place(members), "", why);
}

fn place(members: Vec<String>) -> Place {
    Place {
        members,
        ..Place::default()
    }
}

/// Whether `bytes` more may be read beside the one pass; if not, that is told.
pub(crate) fn spend(examiner: &mut Examiner<'_>, bytes: u64) -> bool {
    let size = examiner.size();
    let may = examiner.asked().spend(bytes, size);
    if !may {
        let what = "parts that share bytes are together many times as large as the file: not all were searched";
        examiner.gap(GapKind::Limit, Place::default(), what);
    }
    may
}

fn sum_of(window: &Window<'_>) -> io::Result<u32> {
    let mut sums = Sums::new(std::iter::once(0..window.len()).collect());
    window.for_each(|piece| sums.feed(piece))?;
    Ok(sums.finish().first().copied().unwrap_or_default())
}

/// Reads all of `input` once, answers what was asked, and gives the digest of the file.
pub(crate) fn read(examiner: &mut Examiner<'_>, input: &dyn ReadAt) -> io::Result<Digest> {
    let asked = std::mem::take(examiner.asked());
    examiner.asked().again = asked.again;
    examiner.asked().unstated = asked.unstated;
    let (apart, shared) = apart(asked.sums);
    let ranges = apart.iter().map(|((start, end), _)| *start..*end);
    let mut sums = Sums::new(ranges.collect());
    let ranges = asked.searches.iter().map(|wanted| wanted.range.clone());
    let mut search = (!asked.searches.is_empty()).then(|| Search::within(ranges.collect()));
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; CHUNK];
    let mut offset = 0;
    while offset < input.len() {
        let rest = usize::try_from(input.len() - offset).unwrap_or(usize::MAX);
        let chunk = buffer.get_mut(..rest.min(CHUNK)).unwrap_or_default();
        input.read_at(offset, chunk)?;
        hasher.update(chunk);
        sums.feed(chunk);
        if let Some(search) = &mut search {
            search.feed(chunk);
        }
        offset += chunk.len() as u64;
    }
    for ((_, said), found) in apart.into_iter().zip(sums.finish()) {
        compare_all(examiner, said, found);
    }
    for ((start, end), said) in shared {
        if !spend(examiner, end.saturating_sub(start)) {
            break;
        }
        let found = sum_of(&Window::new(input, start, end.saturating_sub(start)))?;
        compare_all(examiner, said, found);
    }
    if let Some(search) = search {
        attribute(examiner, search, &asked.searches);
    }
    Ok(hasher.finish())
}

type Sum = ((u64, u64), Vec<Said>);

/// Ranges that share no bytes, in order, and the others.
fn apart(sums: BTreeMap<(u64, u64), Vec<Said>>) -> (Vec<Sum>, Vec<Sum>) {
    let mut end = 0;
    sums.into_iter().partition(|(range, _)| {
        let fits = range.0 >= end;
        if fits {
            end = range.1;
        }
        fits
    })
}

fn compare_all(examiner: &mut Examiner<'_>, said: Vec<Said>, found: u32) {
    for Said { members, sum } in said {
        compare(examiner, members, Ok(found), sum);
    }
}

/// Tells each find once: at its place in the innermost of the parts in which it weighs most.
fn attribute(examiner: &mut Examiner<'_>, search: Search, searches: &[Wanted]) {
    let finds = search.finish();
    let many = finds.len() >= MAX_FINDS;
    for (offset, native) in finds {
        let around = searches
            .iter()
            .filter(|wanted| wanted.range.contains(&offset));
        let length = |wanted: &Wanted| wanted.range.end - wanted.range.start;
        let innermost =
            around.max_by_key(|wanted| (wanted.bytes.weight(), Reverse(length(wanted))));
        if let Some(wanted) = innermost {
            let place = Place {
                offset: Some(offset - wanted.range.start),
                ..place(wanted.members.clone())
            };
            tell(examiner, place, native, wanted.bytes);
        }
    }
    if many {
        let what = format!("{MAX_FINDS} headers of machine code were found, and there may be more");
        examiner.gap(GapKind::Limit, Place::default(), what);
    }
}
