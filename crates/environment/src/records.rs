//! What the packages themselves say about their files: `RECORD` (PEP 376, PEP 427).
//!
//! **A weak reference.** RECORD lies beside the files that it vouches for, writable by whoever can write them: an edit of
//! both is not seen here. It finds the careless, and it says who owns a file, which [`crate::judge`] needs to tell an
//! upgrade from a change. About a quarter of its lines (byte code, its own) carry no digest at all.
//!
//! The text is hostile. Lines are bounded, names may climb (`..`) or be absolute: they are resolved by their text alone and
//! count only where they end in a root of this environment. What breaks the form is an [`Oddity`], and reading goes on.

use std::collections::{BTreeMap, HashSet};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::{Digest, Node, PathText};
use serde::Serialize;

use crate::compare::{is_in, unlisted};
use crate::layout::{Place, RootKind};
use crate::packages::{Claims, Package, has_suffix};
use crate::snapshot::Snapshot;

/// The most lines of all RECORDs of an environment together that are read.
pub const MAX_LINES: usize = 2_000_000;

/// The most bytes of one line.
pub const MAX_LINE_BYTES: usize = 16 * 1024;

/// The most oddities that are listed for one package.
pub const MAX_ODDITIES: usize = 20;

/// What a package says about one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Claim {
    /// It owns the file, and the digest is the file's.
    Vouched,
    /// It owns the file and gives no SHA-256.
    WithoutDigest,
    /// It owns the file, and the digest is another.
    Mismatched,
}

/// One package's claim on one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// Index into [`Snapshot::packages`].
    pub package: usize,
    /// What it says.
    pub claim: Claim,
}

/// A file that is not what its RECORD says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// The file.
    pub path: PathText,
    /// Index into [`Snapshot::packages`].
    pub package: usize,
    /// What RECORD says.
    pub expected: Digest,
    /// What the file is.
    pub found: Digest,
}

/// A file that a RECORD lists and that is not there. Byte code is never missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// Where it would be.
    pub path: PathText,
    /// Index into [`Snapshot::packages`].
    pub package: usize,
}

/// What is wrong with the form of a RECORD.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum OddityKind {
    /// A line of more than [`MAX_LINE_BYTES`]; an unclosed quote makes one.
    LongLine,
    /// Here [`MAX_LINES`] was reached; the rest was not read.
    TooManyLines,
    /// A line without a name, or with a NUL in it.
    NoName,
    /// A digest that is not base64 of 32 bytes.
    BadDigest,
}

/// A line of a RECORD that breaks the form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Oddity {
    /// Index into [`Snapshot::packages`].
    pub package: usize,
    /// The line, counted from 1; 0 where it is not known.
    pub line: u64,
    /// What is wrong.
    pub kind: OddityKind,
}

/// All RECORDs of an environment against its files.
#[derive(Debug, Clone, Default)]
pub struct RecordReport {
    /// Packages, with or without a RECORD.
    pub packages: u64,
    /// Packages that have no RECORD and so vouch for nothing.
    pub without_record: Vec<usize>,
    /// Files whose digest a package vouches for.
    pub vouched: u64,
    /// Files that are owned without any digest.
    pub without_digest: u64,
    /// Files that are owned and could not be read: neither vouched nor mismatched.
    pub unread: u64,
    /// Lines that name files outside of all roots; nothing is said about these.
    pub outside: u64,
    /// Files that are not what a RECORD says.
    pub mismatched: Vec<Mismatch>,
    /// Files that a RECORD lists and that are not there.
    pub missing: Vec<Missing>,
    /// Files in site folders that Python could load and that no package owns.
    pub unowned: Vec<PathText>,
    /// Lines that break the form.
    pub oddities: Vec<Oddity>,
    owners: BTreeMap<PathText, Vec<Owner>>,
    /// Path prefixes that packages without a list of files own.
    prefixes: Vec<(String, usize)>,
}

impl RecordReport {
    /// Who claims this file; more than one package can.
    pub fn owners(&self, path: &PathText) -> Vec<Owner> {
        if let Some(owners) = self.owners.get(path) {
            return owners.clone();
        }
        let by_prefix = self.by_prefix(path);
        by_prefix
            .map(|package| Owner {
                package,
                claim: Claim::WithoutDigest,
            })
            .collect()
    }

    /// Packages without a list of files that own the folder or module that `path` is in.
    fn by_prefix(&self, path: &PathText) -> impl Iterator<Item = usize> {
        let covers = move |prefix: &str| {
            path.as_str()
                .strip_prefix(prefix)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || rest == ".py")
        };
        self.prefixes
            .iter()
            .filter(move |(prefix, _)| covers(prefix))
            .map(|(_, package)| *package)
    }

    /// All files that RECORDs name and that are there.
    pub(crate) fn owned(&self) -> impl Iterator<Item = (&PathText, &[Owner])> {
        self.owners
            .iter()
            .map(|(path, owners)| (path, owners.as_slice()))
    }
}

/// Compares all RECORDs of `snapshot` with its files.
pub fn check(snapshot: &Snapshot) -> RecordReport {
    let mut report = RecordReport {
        packages: snapshot.packages.len() as u64,
        ..RecordReport::default()
    };
    let dark = unlisted(&snapshot.flat);
    let packages: Vec<_> = snapshot
        .packages
        .iter()
        .zip(&snapshot.claims)
        .enumerate()
        .map(|(index, (package, claims))| (index, package, claims))
        .collect();
    let (first, second) = packages.split_at(halfway(&packages));
    let read_all = |packages: &[Paper<'_>], lines_left: &mut usize| {
        let mut parts = Vec::with_capacity(packages.len());
        for (index, package, claims) in packages {
            let reader = Reader {
                snapshot,
                package,
                index: *index,
                report: RecordReport::default(),
                claims: Vec::new(),
                dark: &dark,
                lines_left: &mut *lines_left,
                oddities: 0,
            };
            parts.push(reader.read(claims));
        }
        parts
    };
    let lines = |packages: &[Paper<'_>]| -> usize {
        let of = |(_, _, claims): &Paper<'_>| claims.bytes().split(|it| *it == b'\n').count();
        packages.iter().map(of).sum()
    };
    let mut lines_left = MAX_LINES;
    // Only where the limit is far does it not matter who reads first.
    let parts = if lines(&packages) <= MAX_LINES {
        std::thread::scope(|scope| {
            let other = scope.spawn(|| read_all(second, &mut { MAX_LINES }));
            let mut parts = read_all(first, &mut lines_left);
            match other.join() {
                Ok(more) => parts.extend(more),
                Err(payload) => std::panic::resume_unwind(payload),
            }
            parts
        })
    } else {
        read_all(&packages, &mut lines_left)
    };
    let mut claims = Vec::new();
    for part in parts {
        report.take(part, &mut claims);
    }
    report.own(claims);
    for owners in report.owners.values() {
        let has = |claim: Claim| owners.iter().any(|owner| owner.claim == claim);
        if has(Claim::Mismatched) {
            continue;
        }
        *(if has(Claim::Vouched) {
            &mut report.vouched
        } else {
            &mut report.without_digest
        }) += 1;
    }
    report.unowned = unowned(snapshot, &report);
    report
}

/// A package, its number, and what it says that it owns.
type Paper<'a> = (usize, &'a Package, &'a Claims);

/// What one package says: everything of a report but the owners, and these as they come.
struct Part {
    report: RecordReport,
    claims: Vec<(PathText, Owner)>,
}

/// Where the packages are to be divided so that both parts have about as much to read.
fn halfway(packages: &[Paper<'_>]) -> usize {
    let size = |(_, _, claims): &Paper<'_>| claims.bytes().len();
    let half = packages.iter().map(size).sum::<usize>() / 2;
    let mut read = 0;
    let is_before = |paper: &&Paper<'_>| {
        let begins = read;
        read += size(paper);
        begins + size(paper) / 2 < half
    };
    packages.iter().take_while(is_before).count()
}

impl RecordReport {
    fn take(&mut self, part: Part, claims: &mut Vec<(PathText, Owner)>) {
        let more = part.report;
        self.unread += more.unread;
        self.outside += more.outside;
        self.without_record.extend(more.without_record);
        self.mismatched.extend(more.mismatched);
        self.missing.extend(more.missing);
        self.oddities.extend(more.oddities);
        self.prefixes.extend(more.prefixes);
        claims.extend(part.claims);
    }

    /// Makes the owners of all claims at once: one by one costs twice the time.
    fn own(&mut self, mut claims: Vec<(PathText, Owner)>) {
        claims.sort_by(|(one, _), (other, _)| one.cmp(other));
        let mut all: Vec<(PathText, Vec<Owner>)> = Vec::with_capacity(claims.len());
        for (path, owner) in claims {
            let Some((_, owners)) = all.last_mut().filter(|(last, _)| *last == path) else {
                all.push((path, vec![owner]));
                continue;
            };
            // A RECORD that names one file twice makes one claim, its worst.
            match owners.iter_mut().find(|it| it.package == owner.package) {
                Some(it) if owner.claim == Claim::Mismatched => it.claim = owner.claim,
                Some(_) => {}
                None => owners.push(owner),
            }
        }
        self.owners = BTreeMap::from_iter(all);
    }
}

struct Reader<'a> {
    snapshot: &'a Snapshot,
    package: &'a Package,
    index: usize,
    report: RecordReport,
    claims: Vec<(PathText, Owner)>,
    /// Folders that were not wholly listed: nothing in them is known to be missing.
    dark: &'a HashSet<&'a str>,
    lines_left: &'a mut usize,
    oddities: usize,
}

impl Reader<'_> {
    fn read(mut self, claims: &Claims) -> Part {
        match claims {
            Claims::Record(bytes) => self.record(bytes),
            Claims::InstalledFiles(bytes) => self.installed_files(bytes),
            Claims::TopLevel(bytes) => self.top_level(bytes),
            Claims::None => {}
        }
        if !matches!(claims, Claims::Record(_)) {
            self.report.without_record.push(self.index);
        }
        Part {
            report: self.report,
            claims: self.claims,
        }
    }

    fn record(&mut self, bytes: &[u8]) {
        let Some(resolver) = Resolver::new(&self.snapshot.places, &self.package.root, b"") else {
            return;
        };
        let mut lines = Lines::new(bytes);
        while let Some((at, line)) = lines.next() {
            if !self.spend_line() {
                return self.odd(at, OddityKind::TooManyLines);
            }
            let Ok((name, digest)) = line else {
                self.odd(at, OddityKind::LongLine);
                continue;
            };
            if name.is_empty() || name.contains(&0) {
                self.odd(at, OddityKind::NoName);
                continue;
            }
            let expected = match sha256(digest) {
                Ok(expected) => expected,
                Err(kind) => {
                    self.odd(at, kind);
                    None
                }
            };
            match resolver.resolve(name) {
                Some(path) => self.claim(path, expected),
                None => self.report.outside += 1,
            }
        }
    }

    /// `installed-files.txt` of old setuptools: one name a line, relative to the folder of papers.
    fn installed_files(&mut self, bytes: &[u8]) {
        let papers = self.package.papers.to_bytes();
        let folder = papers
            .get(self.package.root.len() + 1..)
            .unwrap_or_default();
        let Some(resolver) = Resolver::new(&self.snapshot.places, &self.package.root, folder)
        else {
            return;
        };
        for line in bytes.split(|byte| *byte == b'\n') {
            if !self.spend_line() {
                return self.odd(0, OddityKind::TooManyLines);
            }
            let name = line.trim_ascii();
            if name.is_empty() || name.contains(&0) || name.len() > MAX_LINE_BYTES {
                continue;
            }
            match resolver.resolve(name) {
                Some(path) => self.claim(path, None),
                None => self.report.outside += 1,
            }
        }
    }

    /// `top_level.txt`: names of modules, each a folder or a file at the top of the root.
    fn top_level(&mut self, bytes: &[u8]) {
        for line in bytes.split(|byte| *byte == b'\n').take(1000) {
            let name = PathText::from_bytes(line.trim_ascii());
            if !name.as_str().is_empty() && !name.as_str().contains('/') && name.as_str() != "." {
                self.report
                    .prefixes
                    .push((format!("{}/{name}", self.package.root), self.index));
            }
        }
    }

    fn claim(&mut self, path: PathText, expected: Option<Digest>) {
        let package = self.index;
        let claim = match (self.snapshot.flat.get(&path), expected) {
            (Some(Node::File { digest, .. }), Some(expected)) if *digest == expected => {
                Claim::Vouched
            }
            (Some(Node::File { digest, .. }), Some(expected)) => {
                self.report.mismatched.push(Mismatch {
                    path: path.clone(),
                    package,
                    expected,
                    found: *digest,
                });
                Claim::Mismatched
            }
            (Some(Node::Unread { .. }), _) => {
                self.report.unread += 1;
                return;
            }
            (Some(_), _) => Claim::WithoutDigest,
            (None, _) if is_in(&path, self.dark) => {
                self.report.unread += 1;
                return;
            }
            (None, _) => {
                if !has_suffix(path.file_name(), ".pyc") {
                    self.report.missing.push(Missing { path, package });
                }
                return;
            }
        };
        self.claims.push((path, Owner { package, claim }));
    }

    fn spend_line(&mut self) -> bool {
        let left = self.lines_left.checked_sub(1);
        *self.lines_left = left.unwrap_or(0);
        left.is_some()
    }

    fn odd(&mut self, line: u64, kind: OddityKind) {
        if self.oddities < MAX_ODDITIES {
            self.report.oddities.push(Oddity {
                package: self.index,
                line,
                kind,
            });
        }
        self.oddities += 1;
    }
}

/// `sha256=…` in base64 as RECORD writes it; another algorithm vouches for nothing here.
fn sha256(field: &[u8]) -> Result<Option<Digest>, OddityKind> {
    let Some(encoded) = field.strip_prefix(b"sha256=") else {
        return Ok(None);
    };
    let mut bytes = [0; 33];
    match URL_SAFE_NO_PAD.decode_slice(encoded.trim_ascii_end(), &mut bytes) {
        Ok(32) => {
            let digest = bytes.first_chunk().ok_or(OddityKind::BadDigest)?;
            Ok(Some(Digest::from_bytes(*digest)))
        }
        _ => Err(OddityKind::BadDigest),
    }
}

/// A line that does not fit the buffer.
struct LongLine;

/// Name and digest field of a line.
type Fields<'a> = (&'a [u8], &'a [u8]);

/// The lines of a RECORD as (name, digest field), in a buffer of [`MAX_LINE_BYTES`].
struct Lines<'a> {
    reader: csv_core::Reader,
    rest: &'a [u8],
    fields: Vec<u8>,
}

impl<'a> Lines<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self {
            reader: csv_core::Reader::new(),
            rest: bytes,
            fields: vec![0; MAX_LINE_BYTES],
        }
    }

    /// The next line and where it begins.
    fn next(&mut self) -> Option<(u64, Result<Fields<'_>, LongLine>)> {
        use csv_core::ReadRecordResult::{End, InputEmpty, OutputEndsFull, OutputFull, Record};
        let mut ends = [0; 8];
        let (mut used, mut marked, mut too_long) = (0, 0, false);
        let at = self.reader.line();
        loop {
            let output = self.fields.get_mut(used..).unwrap_or_default();
            let marks = ends.get_mut(marked..).unwrap_or_default();
            let (result, taken, written, new_marks) =
                self.reader.read_record(self.rest, output, marks);
            self.rest = self.rest.get(taken..).unwrap_or_default();
            used += written;
            marked += new_marks;
            match result {
                // An empty rest tells the reader that the text ends here.
                InputEmpty => {}
                OutputFull | OutputEndsFull => {
                    too_long = true;
                    (used, marked) = (0, 0);
                }
                Record => break,
                End => return None,
            }
        }
        if too_long {
            return Some((at, Err(LongLine)));
        }
        let [name_end, digest_end, ..] = ends;
        let name = self.fields.get(..name_end).unwrap_or_default();
        let digest = if marked > 1 {
            self.fields.get(name_end..digest_end).unwrap_or_default()
        } else {
            &[]
        };
        Some((at, Ok((name, digest))))
    }
}

/// Turns names in a RECORD into logical names.
pub(crate) struct Resolver<'a> {
    places: &'a [Place],
    root: &'a str,
    /// Absolute path of the folder that names are relative to.
    base: Vec<u8>,
    /// Whether `base` is the root itself, so that plain names need no resolving.
    at_root: bool,
}

impl<'a> Resolver<'a> {
    pub(crate) fn new(places: &'a [Place], root: &'a str, below: &[u8]) -> Option<Self> {
        let real = places
            .iter()
            .find(|place| place.name == root)?
            .real
            .as_ref()?;
        let base = [real.as_os_str().as_encoded_bytes(), b"/", below].concat();
        Some(Self {
            places,
            root,
            base,
            at_root: below.is_empty(),
        })
    }

    pub(crate) fn resolve(&self, name: &[u8]) -> Option<PathText> {
        let plain = |part: &[u8]| !matches!(part, b"" | b"." | b"..");
        if self.at_root && name.split(|byte| *byte == b'/').all(plain) {
            return Some(PathText::from_bytes(
                &[self.root.as_bytes(), b"/", name].concat(),
            ));
        }
        let whole = if name.starts_with(b"/") {
            name.to_vec()
        } else {
            [&self.base, b"/".as_slice(), name].concat()
        };
        let mut parts: Vec<&[u8]> = Vec::new();
        for part in whole.split(|byte| *byte == b'/') {
            match part {
                b"" | b"." => {}
                b".." => {
                    parts.pop();
                }
                part => parts.push(part),
            }
        }
        self.logical(&[b"/", parts.join(&b'/').as_slice()].concat())
    }

    /// The logical name of an absolute path: that of the innermost place that it is in.
    fn logical(&self, absolute: &[u8]) -> Option<PathText> {
        let mut best: Option<(usize, &Place)> = None;
        for place in self.places {
            let Some(real) = place
                .real
                .as_ref()
                .map(|real| real.as_os_str().as_encoded_bytes())
            else {
                continue;
            };
            let inside = absolute
                .strip_prefix(real)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"));
            if inside && best.is_none_or(|(length, _)| real.len() > length) {
                best = Some((real.len(), place));
            }
        }
        let (length, place) = best?;
        let name = place.same_as.as_ref().unwrap_or(&place.name);
        Some(PathText::from_bytes(
            &[name.as_bytes(), absolute.get(length..)?].concat(),
        ))
    }
}

/// Whether the interpreter or the loader could take this file in as code.
pub(crate) fn is_loadable(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    [".py", ".pyc", ".pth", ".so"]
        .iter()
        .any(|suffix| name.ends_with(suffix))
        || name.contains(".so.")
}

fn unowned(snapshot: &Snapshot, report: &RecordReport) -> Vec<PathText> {
    let sites: HashSet<&str> = snapshot
        .places
        .iter()
        .filter(|place| place.kind == RootKind::Site)
        .map(|place| place.name.as_str())
        .collect();
    let mut unowned = Vec::new();
    // Both lists are in order: one pass through each.
    let mut owned = report.owners.keys().peekable();
    for (path, node) in &snapshot.flat {
        while owned.next_if(|it| *it < path).is_some() {}
        if owned.peek() == Some(&path) {
            continue;
        }
        let (root, rest) = path.as_str().split_once('/').unwrap_or((path.as_str(), ""));
        let there = matches!(node, Node::File { .. });
        if there
            && sites.contains(root)
            && is_loadable(rest)
            && report.by_prefix(path).next().is_none()
        {
            unowned.push(path.clone());
        }
    }
    unowned
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Name and digest of each line, `-` for a long one.
    fn lines(text: &[u8]) -> Vec<String> {
        let mut lines = Lines::new(text);
        let mut all = Vec::new();
        while let Some((_, line)) = lines.next() {
            all.push(line.map_or("-".to_owned(), |(name, digest)| {
                String::from_utf8_lossy(&[name, b"|", digest].concat()).into_owned()
            }));
        }
        all
    }

    #[test]
    fn quotes_and_commas_in_names_are_read() {
        let text = b"a.py,sha256=x,3\r\n\"b,\"\"c\"\".py\",,\nlast.py";
        assert_eq!(lines(text), ["a.py|sha256=x", "b,\"c\".py|", "last.py|"]);
    }

    #[test]
    fn an_unclosed_quote_and_too_many_fields_are_one_odd_line_each() {
        let many = format!("x{}\nnext.py,,\n", ",".repeat(100));
        assert_eq!(lines(many.as_bytes()), ["-", "next.py|"]);
        let open = [b"a.py,,\n\"".as_slice(), &vec![b'x'; 5 * MAX_LINE_BYTES]].concat();
        assert_eq!(lines(&open), ["a.py|", "-"]);
    }

    #[test]
    fn a_digest_is_32_bytes_in_the_alphabet_of_record() {
        let good = format!(
            "sha256={}",
            URL_SAFE_NO_PAD.encode(Digest::of(b"a").as_bytes())
        );
        assert_eq!(sha256(good.as_bytes()), Ok(Some(Digest::of(b"a"))));
        assert_eq!(sha256(b"md5=abc"), Ok(None));
        assert_eq!(sha256(b""), Ok(None));
        for bad in [
            "sha256=",
            "sha256=AAAA",
            &format!("{good}="),
            &format!("{good}A"),
            "sha256=++++",
        ] {
            assert_eq!(sha256(bad.as_bytes()), Err(OddityKind::BadDigest), "{bad}");
        }
    }

    #[test]
    fn climbing_and_absolute_names_count_only_inside_of_roots() {
        let place = |name: &str, real: &str, same_as: Option<&str>| Place {
            name: name.to_owned(),
            kind: RootKind::Site,
            path: real.into(),
            real: Some(real.into()),
            same_as: same_as.map(str::to_owned),
        };
        let places = [
            place("purelib", "/v/lib/site", None),
            place("scripts", "/v/bin", None),
            place("lib", "/v/lib", None),
            place("twin", "/v/twin", Some("purelib")),
        ];
        let resolver = Resolver::new(&places, "purelib", b"").unwrap();
        let resolve = |name: &str| {
            resolver
                .resolve(name.as_bytes())
                .map(|path| path.to_string())
        };
        assert_eq!(resolve("torch/a.py").as_deref(), Some("purelib/torch/a.py"));
        assert_eq!(
            resolve("torch/../six.py").as_deref(),
            Some("purelib/six.py")
        );
        assert_eq!(
            resolve("../../bin/torchrun").as_deref(),
            Some("scripts/torchrun")
        );
        assert_eq!(resolve("../os.py").as_deref(), Some("lib/os.py"));
        assert_eq!(resolve("/v/bin/x").as_deref(), Some("scripts/x"));
        assert_eq!(resolve("/v/twin/x").as_deref(), Some("purelib/x"));
        assert_eq!(resolve("../../../../../../etc/passwd"), None);
        assert_eq!(resolve("/v/binary"), None);
    }
}
