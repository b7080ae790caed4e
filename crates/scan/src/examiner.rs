//! One examination: walks into what contains something, keeps within its budget, and collects what is found.
//!
//! Every format has a module with one function `examine(&mut Examiner, …, &dyn ReadAt)`. It tells the examiner what it
//! found ([`Examiner::found`]), what it could not read ([`Examiner::gap`]), what it read ([`Examiner::part`]), and hands
//! over what lies inside ([`Examiner::member`]). Depth, bytes and records are bounded here, once for all formats; a bound
//! that is reached is a gap and never silent.

use std::collections::BTreeSet;

use domain::scan::{Examination, Finding, Gap, GapKind, Listing, Need, Part, Place, Rule, Weight};
use domain::{Digest, Hasher};
use formats::ReadAt;

use crate::full::{self, Asked, Bytes, Whole};
use crate::{Rules, dispatch};

/// How much one examination may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// How deep archives within archives are followed.
    pub depth: usize,
    /// Bytes that may be held in memory for decompressed members, all depths together.
    pub held_bytes: u64,
    /// Bytes that may be decompressed in all, held or not.
    pub unpacked_bytes: u64,
    /// Opcodes of pickles that may be followed, all programs together; see [`formats::pickle::Limits::opcodes`].
    pub opcodes: u64,
    /// Findings, gaps and parts that are kept, each.
    pub records: usize,
    /// Names that are kept as needs.
    pub needs: usize,
    /// Read every byte: digests of all members, checksums, machine code in raw data.
    pub full: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            depth: 8,
            held_bytes: 24 << 20,
            unpacked_bytes: 512 << 20,
            // About a second. A list of thirty million numbers has as many.
            opcodes: 100_000_000,
            records: 256,
            needs: 4096,
            full: false,
        }
    }
}

/// Examines one file. `name` is its last path component, as text; it is compared with the content and never trusted.
pub fn examine(rules: &Rules, options: Options, name: &str, input: &dyn ReadAt) -> Examination {
    let mut examiner = Examiner::new(rules, options);
    examiner.whole(name, input);
    examiner.finish(input.len())
}

/// The same, and every program of the file as lines that a person can read.
pub fn explain(
    rules: &Rules,
    options: Options,
    name: &str,
    input: &dyn ReadAt,
) -> (Examination, Vec<Listing>) {
    let mut examiner = Examiner::new(rules, options);
    examiner.listings = Some(Vec::new());
    examiner.whole(name, input);
    let listings = examiner.listings.take().unwrap_or_default();
    (examiner.finish(input.len()), listings)
}

/// Lines that are listed of one file.
const LISTED: usize = 20_000;

/// The state of one examination.
pub struct Examiner<'r> {
    rules: &'r Rules,
    options: Options,
    members: Vec<String>,
    held: u64,
    unpacked: u64,
    needs: BTreeSet<Need>,
    opcodes: u64,
    listings: Option<Vec<Listing>>,
    /// Bytes of the file.
    size: u64,
    /// What is wanted of its bytes in the full-byte mode.
    asked: Asked,
    /// Parts that are the whole file; their digest is that of the file.
    wholes: Vec<usize>,
    done: Examination,
}

impl<'r> Examiner<'r> {
    /// Starts with nothing found.
    pub fn new(rules: &'r Rules, options: Options) -> Self {
        Self {
            rules,
            options,
            members: Vec::new(),
            held: 0,
            unpacked: 0,
            needs: BTreeSet::new(),
            opcodes: options.opcodes,
            listings: None,
            size: 0,
            asked: Asked::default(),
            wholes: Vec::new(),
            done: Examination::default(),
        }
    }

    /// The rules that judgement is made by.
    pub fn rules(&self) -> &'r Rules {
        self.rules
    }

    /// The bounds and wishes of this examination.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The place of the member that is being examined, as a whole.
    pub fn here(&self) -> Place {
        Place {
            members: self.members.clone(),
            ..Place::default()
        }
    }

    /// The place at `offset` of the member that is being examined.
    pub fn at(&self, offset: u64) -> Place {
        Place {
            offset: Some(offset),
            ..self.here()
        }
    }

    /// Tells a finding. `expression` and `why` may hold hostile text; both are cut where they grow too long.
    pub fn found(
        &mut self,
        rule: Rule,
        weight: Weight,
        place: Place,
        expression: impl Into<String>,
        why: impl Into<String>,
    ) {
        let finding = Finding {
            rule,
            weight,
            place,
            expression: cut(expression.into()),
            why: cut(why.into()),
        };
        // Most differ in their offsets: a flood of them is told apart without a look at the texts.
        let offset = finding.place.offset;
        let mut kept = self.done.findings.iter();
        if kept.any(|kept| kept.place.offset == offset && *kept == finding) {
            return;
        }
        if self.done.findings.len() < self.options.records {
            self.done.findings.push(finding);
            return;
        }
        // A flood of light findings must not drown a heavy one.
        let lightest = self.done.findings.iter().enumerate();
        let lightest = lightest.min_by_key(|(_, kept)| kept.weight);
        if let Some((index, kept)) = lightest
            && kept.weight < weight
        {
            self.done.findings[index] = finding;
        }
        self.done.left_out += 1;
    }

    /// Tells that the part at `place` was not examined, and why.
    pub fn gap(&mut self, kind: GapKind, place: Place, what: impl Into<String>) {
        let gap = Gap {
            kind,
            place,
            what: cut(what.into()),
        };
        if self.done.gaps.contains(&gap) {
            return;
        }
        if self.done.gaps.len() < self.options.records {
            self.done.gaps.push(gap);
        } else {
            self.done.left_out += 1;
        }
    }

    /// Tells that the member that is being examined was read as `format`. The verdict is bound to `digest`.
    pub fn part(&mut self, format: &str, size: u64, digest: Option<Digest>) {
        if self.members.is_empty() && !self.done.formats.iter().any(|known| known == format) {
            self.done.formats.push(format.to_owned());
        }
        let part = Part {
            place: self.here(),
            format: format.to_owned(),
            size,
            digest,
        };
        if self.done.parts.len() < self.options.records {
            self.done.parts.push(part);
        } else {
            self.done.left_out += 1;
        }
    }

    /// Tells that all of `input` was read as `format`, with its digest where that is cheap or every byte is asked for.
    pub fn part_of(&mut self, format: &str, input: &dyn ReadAt) {
        let is_whole = input.place() == Some(0) && input.len() == self.size;
        if self.options.full && is_whole && self.done.parts.len() < self.options.records {
            self.wholes.push(self.done.parts.len());
            return self.part(format, input.len(), None);
        }
        let digested = self.options.full || input.len() <= DIGESTED_BYTES;
        let digest = digested.then(|| digest(input)).and_then(Result::ok);
        self.part(format, input.len(), digest);
    }

    /// Tells what the program at `place` says, line by line, to those who asked for it. Nobody else pays for the lines.
    pub fn listing(&mut self, place: Place, mut lines: impl Iterator<Item = (u64, String)>) {
        let Some(listings) = &mut self.listings else {
            return;
        };
        let listed: usize = listings.iter().map(|known| known.lines.len()).sum();
        let room = LISTED.saturating_sub(listed);
        if room == 0 {
            return;
        }
        let listed = lines.by_ref().take(room).collect();
        let cut = lines.next().is_some();
        listings.push(Listing {
            place,
            lines: listed,
            cut,
        });
    }

    /// Tells that `bytes` bytes are plain numbers to every loader.
    pub fn raw(&mut self, bytes: u64) {
        self.done.raw_bytes = self.done.raw_bytes.saturating_add(bytes);
    }

    /// Searches all of `input`, which is all of the member that is being examined, for machine code, where every byte is
    /// asked for.
    pub fn search(&mut self, input: &dyn ReadAt, bytes: Bytes) {
        if self.options.full {
            full::search(self, input, bytes);
        }
    }

    /// What is wanted of the file's bytes.
    pub(crate) fn asked(&mut self) -> &mut Asked {
        &mut self.asked
    }

    /// Bytes of the file.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Tells that the file needs a name.
    pub fn need(&mut self, need: Need) {
        if self.needs.len() < self.options.needs {
            self.needs.insert(need);
        } else if !self.needs.contains(&need) {
            self.done.left_out += 1;
        }
    }

    /// Whether the member that is being examined was read as something.
    pub fn was_read(&self) -> bool {
        let here = |place: &Place| place.members == self.members;
        self.done.parts.iter().any(|part| here(&part.place))
    }

    /// Whether anything so far needs a name.
    pub fn needs_names(&self) -> bool {
        !self.needs.is_empty()
    }

    /// Examines something that lies inside, whatever it is. `name` is how the container calls it.
    pub fn member(&mut self, name: &str, input: &dyn ReadAt) {
        self.inside(name, |examiner| {
            let base = name.rsplit(['/', '\\']).next().unwrap_or(name);
            dispatch::content(examiner, base, input);
        });
    }

    /// Does `work` one member further in; a member that lies too deep is a gap.
    pub fn inside(&mut self, name: &str, work: impl FnOnce(&mut Self)) {
        self.members.push(cut(name.to_owned()));
        if self.members.len() > self.options.depth {
            self.gap(
                GapKind::TooDeep,
                self.here(),
                format!("more than {} containers deep", self.options.depth),
            );
        } else {
            work(self);
        }
        self.members.pop();
    }

    /// Asks for `bytes` bytes of memory for something unpacked; `false` when the budget is spent. Give them back with
    /// [`Examiner::release`].
    pub fn hold(&mut self, bytes: u64) -> bool {
        let held = self.held.saturating_add(bytes);
        if held > self.options.held_bytes {
            return false;
        }
        self.held = held;
        true
    }

    /// Gives memory back.
    pub fn release(&mut self, bytes: u64) {
        self.held = self.held.saturating_sub(bytes);
    }

    /// Bytes that may still be held.
    pub fn holdable(&self) -> u64 {
        self.options.held_bytes.saturating_sub(self.held)
    }

    /// Bytes that may still be unpacked.
    pub fn unpackable(&self) -> u64 {
        self.options.unpacked_bytes.saturating_sub(self.unpacked)
    }

    /// Opcodes of pickles that may still be followed, all programs of the file together.
    pub(crate) fn opcodes_left(&self) -> u64 {
        self.opcodes
    }

    /// So many opcodes are left.
    pub(crate) fn followed(&mut self, left: u64) {
        self.opcodes = self.opcodes.min(left);
    }

    /// Counts bytes that were unpacked.
    pub fn unpacked(&mut self, bytes: u64) {
        self.unpacked = self.unpacked.saturating_add(bytes);
    }

    /// Examines a whole file, and reads every byte of it where that is asked for.
    fn whole(&mut self, name: &str, input: &dyn ReadAt) {
        let input = Whole(input);
        self.size = input.len();
        dispatch::content(self, name, &input);
        if !self.options.full {
            return;
        }
        match full::read(self, &input) {
            Ok(digest) => {
                self.done.digest = Some(digest);
                for index in std::mem::take(&mut self.wholes) {
                    if let Some(part) = self.done.parts.get_mut(index) {
                        part.digest = Some(digest);
                    }
                }
            }
            Err(error) => self.gap(GapKind::Unreadable, self.here(), error.to_string()),
        }
    }

    /// What was learnt of a file of `size` bytes.
    pub fn finish(mut self, size: u64) -> Examination {
        self.done.size = size;
        self.done.needs = self.needs.into_iter().collect();
        self.done
            .findings
            .sort_by_key(|finding| std::cmp::Reverse(finding.weight));
        self.done
    }
}

/// The digest of all of `input`, or the error of reading it.
pub fn digest(input: &dyn ReadAt) -> std::io::Result<Digest> {
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; 64 << 10];
    let mut offset = 0;
    while offset < input.len() {
        let size = usize::try_from(input.len() - offset)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let chunk = &mut buffer[..size];
        input.read_at(offset, chunk)?;
        hasher.update(chunk);
        offset += size as u64;
    }
    Ok(hasher.finish())
}

/// Parts up to this size are digested.
const DIGESTED_BYTES: u64 = 64 << 20;
/// The longest text that is kept of anything, in characters.
const MAX_TEXT: usize = 600;

fn cut(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(MAX_TEXT) {
        text.truncate(end);
        text.push('…');
    }
    text
}
