//! A wheel (PEP 427) to its manifest.
//!
//! Only a wheel of which all readers agree what is in it is a reference: one that shows one file to one installer and another
//! to the next could vouch for either. So every oddity of the archive that could make readers differ refuses it as a whole.
//! Its own RECORD plays no role: the members themselves are digested. Work is bounded by the size of the wheel, however
//! much it claims to hold.

use std::collections::HashSet;
use std::io;

use domain::{Digest, Hasher, PathText};
use formats::ReadAt;
use formats::compressed::Budget;
use formats::zip::{self, Directory, Member, Oddity, ZipError};

use super::manifest::{Launcher, Manifest, Scheme, WheelFile};
use crate::packages::{has_suffix, normalized};

/// The most bytes that all members of a small wheel become.
pub(crate) const MAX_SMALL_UNPACKED: u64 = 256 << 20;

/// The most bytes that all members of a larger wheel become, for each of its bytes.
pub(crate) const MAX_RATIO: u64 = 60;

/// The most bytes of `WHEEL` and `entry_points.txt`.
const MAX_PAPER: u64 = 1 << 20;

/// The most launchers of one wheel.
const MAX_LAUNCHERS: usize = 2000;

/// A file that cannot be taken for a reference.
#[derive(Debug, thiserror::Error)]
pub enum WheelError {
    /// Reading failed.
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    /// Not an archive.
    #[error("it is no archive: {0}")]
    Zip(#[from] ZipError),
    /// Readers disagree.
    #[error("installers could disagree about what is in it: {0}")]
    Ambiguous(String),
    /// A member cannot be unpacked as the directory says.
    #[error("{name}: {why}")]
    Member {
        /// Its name.
        name: String,
        /// Why.
        why: String,
    },
    /// It becomes too large.
    #[error("it becomes more than {0} bytes")]
    TooLarge(u64),
    /// Not one folder of papers.
    #[error("it has {0} folders of papers (.dist-info); a wheel has one")]
    Papers(usize),
    /// A folder of `.data` that no installer knows.
    #[error("{0}: installers put nothing there")]
    Scheme(String),
}

/// The name of a wheel, taken apart (PEP 427).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WheelName {
    /// Normalised name.
    pub name: String,
    /// Version as spelled.
    pub version: String,
}

impl WheelName {
    /// Takes a file name apart; `None` where it is none of a wheel.
    pub fn parse(file: &str) -> Option<Self> {
        let stem = file.strip_suffix(".whl")?;
        let parts: Vec<&str> = stem.split('-').collect();
        let ([name, version, _, _, _] | [name, version, _, _, _, _]) = parts.as_slice() else {
            return None;
        };
        (!name.is_empty() && !version.is_empty()).then(|| Self {
            name: normalized(name),
            version: (*version).replace('_', "-"),
        })
    }
}

/// Reads a wheel whose digest the caller has computed from the same bytes.
pub fn read_wheel(input: &dyn ReadAt, wheel: Digest) -> Result<Manifest, WheelError> {
    let directory = zip::read(input)?;
    unambiguous(&directory)?;
    let members: Vec<&Member> = directory
        .members
        .iter()
        .filter(|member| !member.name.ends_with(b"/"))
        .collect();
    let papers = papers(&members)?;
    let limit = input
        .len()
        .saturating_mul(MAX_RATIO)
        .max(MAX_SMALL_UNPACKED);
    let mut manifest = Manifest {
        wheel,
        papers,
        files: Vec::with_capacity(members.len()),
        launchers: Vec::new(),
    };
    let mut left = limit;
    for member in members {
        left = left
            .checked_sub(member.size)
            .ok_or(WheelError::TooLarge(limit))?;
        take(input, member, &mut manifest)?;
    }
    manifest.files.sort();
    Ok(manifest)
}

/// One member into the manifest.
fn take(input: &dyn ReadAt, member: &Member, manifest: &mut Manifest) -> Result<(), WheelError> {
    let name = member.name_text().into_owned();
    let (scheme, path) = place(&name, &manifest.papers)?;
    if scheme == Scheme::Root && path == format!("{}/RECORD", manifest.papers) {
        return Ok(());
    }
    let is_points =
        scheme == Scheme::Root && path == format!("{}/entry_points.txt", manifest.papers);
    let mut kept = Vec::new();
    let mut whole = Hasher::new();
    let mut first = FirstLine::new(scheme == Scheme::Scripts);
    let budget = Budget {
        output: member.size,
        input: u64::MAX,
        ratio: u64::MAX,
    };
    let checked = zip::verify(input, member, budget, |piece| {
        whole.update(piece);
        first.feed(piece);
        if is_points && kept.len() as u64 <= MAX_PAPER {
            kept.extend_from_slice(piece);
        }
    })?;
    checked.map_err(|why| WheelError::Member {
        name: name.clone(),
        why: why.to_string(),
    })?;
    if is_points {
        manifest.launchers = launchers(&kept);
    }
    manifest.files.push(WheelFile {
        scheme,
        path: PathText::from_bytes(path.as_bytes()),
        size: member.size,
        digest: whole.finish(),
        body: first.finish(),
    });
    Ok(())
}

fn unambiguous(directory: &Directory) -> Result<(), WheelError> {
    let matters = |oddity: &&Oddity| {
        !matches!(
            oddity,
            // Names that differ in case alone are two files here; equal ones are looked for below.
            Oddity::DuplicateName(_)
                | Oddity::Unclaimed { .. }
                | Oddity::NotSearched(_)
                | Oddity::LocalDiffers {
                    field: zip::LocalField::Crc,
                    ..
                }
        )
    };
    if let Some(oddity) = directory.oddities.iter().find(matters) {
        return Err(WheelError::Ambiguous(oddity.to_string()));
    }
    let mut names = HashSet::with_capacity(directory.members.len());
    for member in &directory.members {
        let text = member.name_text();
        if std::str::from_utf8(&member.name).is_err() {
            return Err(WheelError::Ambiguous(format!(
                "the name {text:?} is no UTF-8"
            )));
        }
        if !names.insert(member.name.as_slice()) {
            let why = format!("the name {text:?} stands in it twice");
            return Err(WheelError::Ambiguous(why));
        }
        let plain = |part: &str| !matches!(part, "" | "." | "..");
        if !text.trim_end_matches('/').split('/').all(plain) {
            return Err(WheelError::Ambiguous(format!(
                "the name {text:?} is no plain path"
            )));
        }
    }
    if let Some(hidden) = directory.others.first() {
        let why = format!(
            "{:?} is in no directory, or in one of two",
            hidden.name_text()
        );
        return Err(WheelError::Ambiguous(why));
    }
    Ok(())
}

/// The one folder of papers.
fn papers(members: &[&Member]) -> Result<String, WheelError> {
    let mut found: Vec<String> = members
        .iter()
        .filter_map(|member| {
            let name = member.name_text();
            let (folder, _) = name.split_once('/')?;
            has_suffix(folder, ".dist-info").then(|| folder.to_owned())
        })
        .collect();
    found.sort();
    found.dedup();
    match <[String; 1]>::try_from(found) {
        Ok([papers]) => Ok(papers),
        Err(others) => Err(WheelError::Papers(others.len())),
    }
}

/// Where installers put a member.
fn place<'a>(name: &'a str, papers: &str) -> Result<(Scheme, &'a str), WheelError> {
    let (top, rest) = name.split_once('/').unwrap_or((name, ""));
    let Some(stem) = top.strip_suffix(".data") else {
        return Ok((Scheme::Root, name));
    };
    // Installers go by the exact name of this wheel's data folder; the spelling of the papers' name is the other one's.
    if papers.strip_suffix(".dist-info") != Some(stem) {
        return Ok((Scheme::Root, name));
    }
    let (scheme, path) = rest.split_once('/').unwrap_or((rest, ""));
    let known = Scheme::of_data(scheme).filter(|_| !path.is_empty());
    known
        .map(|scheme| (scheme, path))
        .ok_or_else(|| WheelError::Scheme(name.to_owned()))
}

/// Tells whether bytes begin with `#!python`, and the digest of what follows that line.
struct FirstLine {
    wanted: bool,
    head: Vec<u8>,
    rest: Option<Hasher>,
}

/// A first line that is longer is not replaced.
const FIRST_LINE: usize = 4096;

impl FirstLine {
    fn new(wanted: bool) -> Self {
        Self {
            wanted,
            head: Vec::new(),
            rest: None,
        }
    }

    fn feed(&mut self, piece: &[u8]) {
        if let Some(rest) = &mut self.rest {
            rest.update(piece);
            return;
        }
        if !self.wanted {
            return;
        }
        self.head.extend_from_slice(piece);
        let end = self.head.iter().position(|byte| *byte == b'\n');
        match end {
            Some(end) if self.head.starts_with(b"#!python") => {
                let mut rest = Hasher::new();
                rest.update(self.head.get(end + 1..).unwrap_or_default());
                self.rest = Some(rest);
            }
            None if self.head.len() <= FIRST_LINE => {}
            _ => self.wanted = false,
        }
    }

    fn finish(self) -> Option<Digest> {
        self.rest.map(Hasher::finish)
    }
}

/// The launchers that `entry_points.txt` asks for: sections `console_scripts` and `gui_scripts`, lines
/// `name = module:function [extras]`. A name that is no plain file name is no launcher.
pub(crate) fn launchers(text: &[u8]) -> Vec<Launcher> {
    let text = String::from_utf8_lossy(text);
    let mut inside = false;
    let mut found = Vec::new();
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(section) = line.strip_prefix('[').and_then(|it| it.strip_suffix(']')) {
            inside = matches!(section.trim(), "console_scripts" | "gui_scripts");
            continue;
        }
        let Some((name, value)) = line.split_once('=').filter(|_| inside) else {
            continue;
        };
        let value = value.split('[').next().unwrap_or(value).trim();
        let name = name.trim();
        let Some((module, function)) = value.split_once(':') else {
            continue;
        };
        if name.is_empty() || name.contains('/') || found.len() >= MAX_LAUNCHERS {
            continue;
        }
        found.push(Launcher {
            name: name.to_owned(),
            module: module.trim().to_owned(),
            function: function.trim().to_owned(),
        });
    }
    found.sort();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_wheels_are_taken_apart_and_others_are_not() {
        let parse = |name| WheelName::parse(name).map(|it| (it.name, it.version));
        assert_eq!(
            parse("Foo_Bar-1.0+cpu-1-cp311-cp311-linux_x86_64.whl"),
            Some(("foo-bar".to_owned(), "1.0+cpu".to_owned()))
        );
        assert_eq!(parse("six-1.16.0-py2.py3-none-any.whl").unwrap().0, "six");
        for no in [
            "six-1.16.0.tar.gz",
            "six.whl",
            "a-b-c-d.whl",
            "-1-py3-none-any.whl",
        ] {
            assert_eq!(parse(no), None, "{no}");
        }
    }

    #[test]
    fn entry_points_of_scripts_become_launchers() {
        let text = b"[other]\nx = a:b\n[console_scripts]\n# no\nrun = a.b:main.go [extra]\n../x = a:b\nbad = a\n[ gui_scripts ]\ng=a:b\n";
        let found = launchers(text);
        let names: Vec<_> = found
            .iter()
            .map(|it| format!("{} {} {}", it.name, it.module, it.function))
            .collect();
        assert_eq!(names, ["g a b", "run a.b main.go"]);
    }

    #[test]
    fn the_data_folder_of_this_wheel_alone_is_spread() {
        let of = |name: &'static str| place(name, "a-1.dist-info").ok();
        assert_eq!(of("a-1.data/scripts/x"), Some((Scheme::Scripts, "x")));
        assert_eq!(of("a-1.data/data/share/x"), Some((Scheme::Data, "share/x")));
        assert_eq!(
            of("b-1.data/scripts/x"),
            Some((Scheme::Root, "b-1.data/scripts/x"))
        );
        assert_eq!(of("a-1.data/evil/x"), None);
    }

    #[test]
    fn only_a_first_line_for_python_is_replaced_however_it_is_cut() {
        for cut in 1..20 {
            let of = |text: &[u8]| {
                let mut first = FirstLine::new(true);
                text.chunks(cut).for_each(|piece| first.feed(piece));
                first.finish()
            };
            assert_eq!(of(b"#!python -u\nrest\n"), Some(Digest::of(b"rest\n")));
            assert_eq!(of(b"#!/bin/sh\nrest"), None);
            assert_eq!(of(b"#!python"), None);
        }
    }
}
