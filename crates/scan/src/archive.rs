//! Archives and compressed files: every member that some reader would find is examined, and what only some find is told.
//!
//! A flavour of ZIP that a framework writes (torch, Keras, NumPy …) is told by the members that it must have. It changes
//! how some members are read, a tensor's bytes are not a program because they begin like one, but never whether the rest
//! is looked at.

use std::collections::HashSet;

use domain::scan::{GapKind, Rule, Weight};
use formats::compressed::{Budget, Codec, Decoder, End, Limit, Oddity as StreamOddity};
use formats::native::Search;
use formats::zip::{self, Content, Directory, LocalField, Member, Oddity, ZipError};
use formats::{ReadAt, Window};

use crate::{Bytes, Examiner, full, models, torch};

/// Members of one archive that are examined; a checkpoint has one a tensor, and those are not.
const MAX_EXAMINED: usize = 20_000;
/// Members of one archive may be together so many times as large, stored, as the archive.
const SHARED: u64 = 3;
/// A stream that becomes more than so many times its size is a bomb, where it also becomes large.
const MAX_RATIO: u64 = 2000;

/// Examines the ZIP archive that `input` is.
pub(crate) fn zip(examiner: &mut Examiner<'_>, name: &str, input: &dyn ReadAt) {
    let parts = match zip::split(input) {
        Ok(parts) => parts,
        Err(error) => {
            return examiner.gap(GapKind::Unreadable, examiner.here(), error.to_string());
        }
    };
    if parts.is_empty() {
        return single(examiner, name, input);
    }
    examiner.part("archives one behind the other", input.len(), None);
    for (index, (offset, length)) in parts.into_iter().enumerate() {
        let window = Window::new(input, offset, length);
        examiner.inside(&format!("item {index} at {offset}"), |examiner| {
            if starts_as_archive(&window) {
                single(examiner, name, &window);
            } else {
                crate::dispatch::content(examiner, name, &window);
            }
        });
    }
}

fn starts_as_archive(window: &Window<'_>) -> bool {
    let mut head = [0; 2];
    window.read_at(0, &mut head).is_ok() && head == *b"PK"
}

fn single(examiner: &mut Examiner<'_>, name: &str, input: &dyn ReadAt) {
    match zip::read(input) {
        Ok(directory) => archive(examiner, name, input, &directory),
        Err(ZipError::Io(error)) => {
            examiner.gap(GapKind::Unreadable, examiner.here(), error.to_string());
        }
        Err(ZipError::NoEnd | ZipError::OutOfBounds) => salvage(examiner, name, input),
        Err(error) => examiner.gap(GapKind::Limit, examiner.here(), error.to_string()),
    }
}

/// An archive without a directory: a reader of streams would still take its members one by one.
fn salvage(examiner: &mut Examiner<'_>, name: &str, input: &dyn ReadAt) {
    let why = "it starts like a ZIP archive and has no directory";
    examiner.gap(GapKind::Broken, examiner.here(), why);
    match zip::salvage(input) {
        Ok(directory) => archive(examiner, name, input, &directory),
        Err(error) => examiner.gap(GapKind::Unreadable, examiner.here(), error.to_string()),
    }
}

fn archive(examiner: &mut Examiner<'_>, name: &str, input: &dyn ReadAt, directory: &Directory) {
    for oddity in &directory.oddities {
        odd(examiner, oddity);
    }
    if !torch::archive(examiner, name, input, directory) {
        examiner.part("a ZIP archive", input.len(), None);
        members(examiner, input, directory, &mut |_, _| Handling::Content);
    }
    unclaimed(examiner, input, directory);
}

/// What is done with a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Handling {
    /// Examined by its content.
    Content,
    /// Plain numbers: only counted.
    Raw,
    /// A pickle, whatever it begins with.
    Pickle(crate::pickle::Origin),
}

/// Goes through the members of all views; `handling` says what each is.
pub(crate) fn members(
    examiner: &mut Examiner<'_>,
    input: &dyn ReadAt,
    directory: &Directory,
    handling: &mut dyn FnMut(&mut Examiner<'_>, &Member) -> Handling,
) {
    let mut looked_at = 0;
    let (mut spent, most) = (0_u64, input.len().saturating_mul(SHARED));
    let names = signs(directory);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut known = HashSet::new();
    for member in directory.members_all_views() {
        if member.is_folder() {
            continue;
        }
        let how = handling(examiner, member);
        match how {
            Handling::Raw => {
                raw(examiner, input, member);
                continue;
            }
            Handling::Content | Handling::Pickle(_) => {}
        }
        // The same bytes under the same name say nothing new, however often they are listed.
        let same = (&member.name, member.data_offset, member.stored_size);
        if !known.insert((same, member.method, member.flags, member.size)) {
            continue;
        }
        spent = spent.saturating_add(member.stored_size);
        if spent > most {
            let why =
                "Its members share bytes, so that they are together many times as large as it is.";
            examiner.found(Rule::Bomb, Weight::Unknown, examiner.here(), "", why);
            let what = "members that share bytes are not all examined";
            return examiner.gap(GapKind::Limit, examiner.here(), what);
        }
        looked_at += 1;
        if looked_at > MAX_EXAMINED {
            let what = format!("it has more than {MAX_EXAMINED} members that are no tensors");
            return examiner.gap(GapKind::Limit, examiner.here(), what);
        }
        let name = member.name_text().into_owned();
        let role = models::role(&names, &name);
        match zip::open(input, member) {
            Ok(Content::Stored(window)) => {
                look(examiner, &name, &window, how, role);
                check(examiner, &name, &window, member);
            }
            Ok(Content::Compressed(window, codec)) => {
                let done = unpacked(examiner, &name, &window, codec, &mut |examiner, bytes| {
                    look(examiner, &name, &bytes, how, role);
                });
                rest(examiner, &name, input, member, done);
            }
            Err(refused) => examiner.inside(&name, |examiner| {
                let kind = gap_kind(refused);
                examiner.gap(kind, examiner.here(), refused.to_string());
            }),
        }
    }
}

/// A member that is numbers to every loader. Where every byte is asked for, its check sum is compared and it is searched.
fn raw(examiner: &mut Examiner<'_>, input: &dyn ReadAt, member: &Member) {
    examiner.raw(member.size);
    if !examiner.options().full {
        return;
    }
    let name = member.name_text().into_owned();
    examiner.inside(&name, |examiner| match zip::open(input, member) {
        Ok(Content::Stored(window)) => {
            examiner.search(&window, Bytes::Data);
            full::check(examiner, &window, member);
        }
        Ok(Content::Compressed(..)) => stream(examiner, input, member),
        Err(refused) => {
            let kind = gap_kind(refused);
            examiner.gap(kind, examiner.here(), refused.to_string());
        }
    });
}

/// Unpacks a member of numbers piece by piece, for its check sum and what hides in it.
fn stream(examiner: &mut Examiner<'_>, input: &dyn ReadAt, member: &Member) {
    if !full::spend(examiner, member.stored_size) {
        return;
    }
    let budget = Budget {
        ratio: MAX_RATIO,
        ..Budget::bytes(u64::MAX)
    };
    let mut search = Search::new();
    match zip::verify(input, member, budget, |piece| search.feed(piece)) {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            let members = examiner.here().members;
            full::wrong(examiner, members, &error);
        }
        Err(error) => examiner.gap(GapKind::Unreadable, examiner.here(), error.to_string()),
    }
    full::found(examiner, search, Bytes::Data);
}

/// Where every byte is asked for, compares the check sum of a member that was examined as it stands in the archive.
fn check(examiner: &mut Examiner<'_>, name: &str, window: &Window<'_>, member: &Member) {
    if examiner.options().full && !member.seen_by.nobody() {
        examiner.inside(name, |examiner| full::check(examiner, window, member));
    }
}

const fn gap_kind(refused: zip::Refused) -> GapKind {
    match refused {
        zip::Refused::Encrypted => GapKind::Encrypted,
        zip::Refused::Method(_) => GapKind::NotRead,
    }
}

/// The names of members that make others what they are.
fn signs(directory: &Directory) -> Vec<String> {
    const SIGNS: [&[u8]; 7] = [
        b"metadata.json",
        b"model.weights.h5",
        b"model.weights.json",
        b"constants.pkl",
        b"data.pkl",
        b"archive_format",
        b"version",
    ];
    let is_sign = |name: &[u8]| {
        let base = name.rsplit(|byte| matches!(byte, b'/' | b'\\')).next();
        base.is_some_and(|base| SIGNS.iter().any(|sign| sign.eq_ignore_ascii_case(base)))
    };
    let signs = directory
        .members_all_views()
        .filter(|member| is_sign(&member.name));
    signs
        .take(64)
        .map(|member| member.name_text().into_owned())
        .collect()
}

fn look(
    examiner: &mut Examiner<'_>,
    name: &str,
    input: &dyn ReadAt,
    how: Handling,
    role: Option<models::Role>,
) {
    match (how, role) {
        (Handling::Pickle(origin), _) => examiner.inside(name, |examiner| {
            examiner.search(input, Bytes::Data);
            let end = crate::pickle::examine(examiner, input, origin);
            crate::dispatch::behind(examiner, input, end);
        }),
        (_, Some(role)) => examiner.inside(name, |examiner| {
            models::examine_member(examiner, role, input);
        }),
        _ => examiner.member(name, input),
    }
}

/// Where every byte is asked for, what is left to do for a compressed member of which this much was unpacked.
fn rest(
    examiner: &mut Examiner<'_>,
    name: &str,
    input: &dyn ReadAt,
    member: &Member,
    done: Unpacked,
) {
    if !examiner.options().full {
        return;
    }
    examiner.inside(name, |examiner| match done {
        // A header that nobody goes by may leave the sum to what stands behind the bytes.
        Unpacked::All { .. } if member.seen_by.nobody() => {}
        Unpacked::All { bytes, sum } => full::check_sum(examiner, bytes, sum, member),
        Unpacked::Numbers => stream(examiner, input, member),
        // A gap is told already.
        Unpacked::Part => {}
    });
}

/// What of a stream was unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unpacked {
    /// So many bytes; the check sum only where every byte is asked for.
    All { bytes: u64, sum: u32 },
    /// The beginning, and the rest is plain numbers.
    Numbers,
    /// The beginning.
    Part,
}

/// Examines a file that is one compressed stream.
pub(crate) fn compressed(
    examiner: &mut Examiner<'_>,
    name: &str,
    input: &dyn ReadAt,
    codec: Codec,
) {
    examiner.part(
        &format!("compressed by {}", codec.name()),
        input.len(),
        None,
    );
    let inner = stripped(name);
    unpacked(examiner, inner, input, codec, &mut |examiner, bytes| {
        examiner.member(inner, &bytes);
    });
}

/// The name without the ending of the compression.
fn stripped(name: &str) -> &str {
    let endings = [".gz", ".bz2", ".xz", ".lzma", ".zst", ".lz4", ".z"];
    let ending = endings.iter().find(|ending| {
        name.len() > ending.len()
            && name
                .get(name.len() - ending.len()..)
                .is_some_and(|end| end.eq_ignore_ascii_case(ending))
    });
    let length = ending.map_or(0, |ending| ending.len());
    name.get(..name.len() - length).unwrap_or(name)
}

/// Unpacks what fits into the budget and hands it to `each`. What does not fit is a gap, unless what is there shows that
/// the rest is plain numbers.
fn unpacked(
    examiner: &mut Examiner<'_>,
    name: &str,
    stored: &dyn ReadAt,
    codec: Codec,
    each: &mut dyn FnMut(&mut Examiner<'_>, &[u8]),
) -> Unpacked {
    let output = examiner.holdable().min(examiner.unpackable());
    let budget = Budget {
        ratio: MAX_RATIO,
        ..Budget::bytes(output)
    };
    let (bytes, outcome) = match Decoder::new(stored, codec, budget).spool() {
        Ok(spooled) => spooled,
        Err(error) => {
            examiner.inside(name, |examiner| {
                examiner.gap(GapKind::Unreadable, examiner.here(), error.to_string());
            });
            return Unpacked::Part;
        }
    };
    examiner.unpacked(outcome.written);
    let held = bytes.capacity() as u64;
    examiner.hold(held);
    if !bytes.is_empty() || outcome.end == End::Complete {
        each(examiner, &bytes);
    }
    let numbers = matches!(outcome.end, End::Limit(_)) && crate::numpy::is_plain_head(&bytes);
    examiner.inside(name, |examiner| match outcome.end {
        End::Complete => {}
        End::Limit(Limit::Ratio(ratio)) => {
            let what = format!("It becomes more than {ratio} times its size when unpacked.");
            examiner.found(Rule::Bomb, Weight::Unknown, examiner.here(), "", what);
            examiner.gap(GapKind::Limit, examiner.here(), outcome.end.to_string());
        }
        End::Limit(_) if numbers => {}
        End::Limit(_) => examiner.gap(GapKind::Limit, examiner.here(), outcome.end.to_string()),
        End::Broken(_) => examiner.gap(GapKind::Broken, examiner.here(), outcome.end.to_string()),
    });
    let done = match outcome.end {
        End::Complete => Unpacked::All {
            bytes: bytes.len() as u64,
            sum: if examiner.options().full {
                zip::sum_of(&bytes)
            } else {
                0
            },
        },
        End::Limit(Limit::Output(_)) if numbers => Unpacked::Numbers,
        _ => Unpacked::Part,
    };
    drop(bytes);
    examiner.release(held);
    for oddity in &outcome.oddities {
        beside(examiner, stored, *oddity);
    }
    done
}

/// What a stream carries beside its own bytes.
fn beside(examiner: &mut Examiner<'_>, stored: &dyn ReadAt, oddity: StreamOddity) {
    let (offset, bytes, what) = match oddity {
        StreamOddity::CheckSum { offset } => {
            let why = "The check sum of a compressed stream is wrong; loaders may not notice.";
            return examiner.found(Rule::Broken, Weight::Note, examiner.at(offset), "", why);
        }
        StreamOddity::Trailing { offset, bytes } => (offset, bytes, "behind the compressed bytes"),
        StreamOddity::Skipped { offset, bytes } => (offset, bytes, "in a frame that readers skip"),
    };
    let window = Window::new(stored, offset, bytes);
    if !is_zero(&window) {
        examiner.member(what, &window);
    }
}

/// Whether there is nothing but zeros, as padding is; only the first bytes are asked.
fn is_zero(window: &Window<'_>) -> bool {
    let mut head = vec![0; usize::try_from(window.len().min(4096)).unwrap_or(0)];
    window.read_at(0, &mut head).is_ok() && head.iter().all(|byte| *byte == 0)
}

/// What an oddity of the directory means for who loads the archive.
fn odd(examiner: &mut Examiner<'_>, oddity: &Oddity) {
    let here = examiner.here();
    let (rule, weight) = match oddity {
        Oddity::DuplicateName(_) | Oddity::LocalName(_) | Oddity::TwoDirectories => {
            (Rule::ReadersDisagree, Weight::Unknown)
        }
        Oddity::Overlap(_) => (Rule::Bomb, Weight::Unknown),
        Oddity::LocalDiffers { field, .. } => (
            Rule::ReadersDisagree,
            match field {
                LocalField::Method | LocalField::Encryption | LocalField::Size => Weight::Unknown,
                LocalField::Crc => Weight::Note,
            },
        ),
        Oddity::UnsafeName(_) => (Rule::PathEscapes, Weight::Unknown),
        Oddity::Count { .. } => (Rule::ReadersDisagree, Weight::Note),
        Oddity::TrailingBytes(_) | Oddity::Unlisted { .. } | Oddity::Unclaimed { .. } => {
            (Rule::Hidden, Weight::Note)
        }
        Oddity::BytesMissing(_) | Oddity::BrokenDirectory(_) => {
            return examiner.gap(GapKind::Broken, here, oddity.to_string());
        }
        Oddity::NotSearched(_) => {
            return examiner.gap(GapKind::Limit, here, oddity.to_string());
        }
        // Told with the member, as a gap.
        Oddity::Encrypted(_) => return,
    };
    examiner.found(rule, weight, here, "", sentence(&oddity.to_string()));
}

/// With a capital and a full stop.
pub(crate) fn sentence(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next().into_iter().flat_map(char::to_uppercase);
    first
        .chain(characters)
        .chain(std::iter::once('.'))
        .collect()
}

/// Bytes of an archive that belong to no member may be a program of their own: a pickle in front of a ZIP is what torch's
/// older path runs.
fn unclaimed(examiner: &mut Examiner<'_>, input: &dyn ReadAt, directory: &Directory) {
    for (offset, bytes) in &directory.unclaimed {
        let window = Window::new(input, *offset, *bytes);
        examiner.member(&format!("{bytes} bytes at {offset} of no member"), &window);
    }
}
