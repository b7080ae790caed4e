//! What a wheel holds, file by file: the reference that single files are compared with.
//!
//! Made once from the wheel's own bytes ([`super::wheel`]) and then kept outside of every environment, under the wheel's
//! digest, so that the wheel need not be there again. The encoding is text with one line a file and carries its own digest
//! at its end; what keeps others from writing one is the business of whoever keeps it.

use domain::{Digest, PathText};

/// Where an installer puts a file (the keys of `sysconfig`'s schemes).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    /// The folder of packages, by the wheel's own `Root-Is-Purelib`.
    Root,
    /// The folder of packages of pure Python.
    Purelib,
    /// The folder of packages with native code.
    Platlib,
    /// The folder of launchers.
    Scripts,
    /// Below the environment's folder.
    Data,
    /// The folder of headers.
    Headers,
}

impl Scheme {
    const ALL: [(Self, &'static str); 6] = [
        (Self::Root, "root"),
        (Self::Purelib, "purelib"),
        (Self::Platlib, "platlib"),
        (Self::Scripts, "scripts"),
        (Self::Data, "data"),
        (Self::Headers, "headers"),
    ];

    /// By the name of the folder in a wheel's `.data`.
    pub(crate) fn of_data(name: &str) -> Option<Self> {
        let all = Self::ALL.iter().skip(1);
        all.clone()
            .find(|(_, word)| *word == name)
            .map(|(scheme, _)| *scheme)
    }

    fn word(self) -> &'static str {
        let all = Self::ALL.iter();
        all.clone()
            .find(|(scheme, _)| *scheme == self)
            .map_or("root", |(_, word)| word)
    }
}

/// One file of a wheel.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct WheelFile {
    /// Where it goes.
    pub scheme: Scheme,
    /// Its path there.
    pub path: PathText,
    /// Its bytes.
    pub size: u64,
    /// Their digest.
    pub digest: Digest,
    /// The digest of all behind the first line, where installers replace that line (`#!python`).
    pub body: Option<Digest>,
}

/// A launcher that installers write from `entry_points.txt`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Launcher {
    /// The file's name.
    pub name: String,
    /// The module that it imports.
    pub module: String,
    /// The function that it calls, with dots.
    pub function: String,
}

/// A wheel, file by file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// SHA-256 of the wheel.
    pub wheel: Digest,
    /// The folder of papers, such as `six-1.16.0.dist-info`.
    pub papers: String,
    /// Its files in order; without `RECORD`, which installers write anew.
    pub files: Vec<WheelFile>,
    /// What installers generate.
    pub launchers: Vec<Launcher>,
}

const HEADER: &str = "taintline-wheel 1";

impl Manifest {
    /// The text that is kept.
    pub fn encode(&self) -> Vec<u8> {
        let mut text = format!("{HEADER}\n{} {}\n", self.wheel, word(&self.papers));
        for file in &self.files {
            let body = file
                .body
                .map_or_else(|| "-".to_owned(), |it| it.to_string());
            text.push_str(&format!(
                "f {} {} {} {body} {}\n",
                file.scheme.word(),
                file.size,
                file.digest,
                file.path
            ));
        }
        for launcher in &self.launchers {
            let [name, module, function] =
                [&launcher.name, &launcher.module, &launcher.function].map(|text| word(text));
            text.push_str(&format!("l {module} {function} {name}\n"));
        }
        let end = Digest::of(text.as_bytes());
        text.push_str(&format!("end {end}\n"));
        text.into_bytes()
    }

    /// Reads what [`Manifest::encode`] wrote; `None` for anything else.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let at = text.strip_suffix('\n')?.rfind('\n')? + 1;
        let (body, end) = text.split_at_checked(at)?;
        let stated: Digest = end.trim_end().strip_prefix("end ")?.parse().ok()?;
        if Digest::of(body.as_bytes()) != stated {
            return None;
        }
        let mut lines = body.lines();
        if lines.next() != Some(HEADER) {
            return None;
        }
        let (wheel, papers) = lines.next()?.split_once(' ')?;
        let mut manifest = Self {
            wheel: wheel.parse().ok()?,
            papers: plain(papers),
            files: Vec::new(),
            launchers: Vec::new(),
        };
        for line in lines {
            let (kind, rest) = line.split_once(' ')?;
            match kind {
                "f" => manifest.files.push(file(rest)?),
                "l" => manifest.launchers.push(launcher(rest)?),
                _ => return None,
            }
        }
        Some(manifest)
    }
}

fn file(line: &str) -> Option<WheelFile> {
    let mut fields = line.splitn(5, ' ');
    let name = fields.next()?;
    let (scheme, _) = Scheme::ALL.iter().find(|(_, word)| *word == name)?;
    Some(WheelFile {
        scheme: *scheme,
        size: fields.next()?.parse().ok()?,
        digest: fields.next()?.parse().ok()?,
        body: match fields.next()? {
            "-" => None,
            digest => Some(digest.parse().ok()?),
        },
        path: PathText::from_text(fields.next()?),
    })
}

fn launcher(line: &str) -> Option<Launcher> {
    let mut fields = line.splitn(3, ' ').map(plain);
    let (module, function) = (fields.next()?, fields.next()?);
    Some(Launcher {
        module,
        function,
        name: fields.next()?,
    })
}

/// Text without control characters, reversibly; spaces stand only in the last field of a line.
fn word(text: &str) -> String {
    PathText::from_bytes(text.as_bytes()).as_str().to_owned()
}

fn plain(word: &str) -> String {
    String::from_utf8_lossy(&PathText::from_text(word).to_bytes()).into_owned()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn sample() -> Manifest {
        let file = |scheme, path: &str, body: Option<&[u8]>| WheelFile {
            scheme,
            path: PathText::from_bytes(path.as_bytes()),
            size: 3,
            digest: Digest::of(path.as_bytes()),
            body: body.map(Digest::of),
        };
        Manifest {
            wheel: Digest::of(b"wheel"),
            papers: "a-1.dist-info".to_owned(),
            files: vec![
                file(Scheme::Root, "a/b c\n.py", None),
                file(Scheme::Scripts, "tool", Some(b"rest")),
            ],
            launchers: vec![Launcher {
                name: "run it".to_owned(),
                module: "a.b".to_owned(),
                function: "main".to_owned(),
            }],
        }
    }

    #[test]
    fn what_is_kept_comes_back() {
        assert_eq!(Manifest::decode(&sample().encode()), Some(sample()));
    }

    #[test]
    fn a_text_cut_or_changed_anywhere_is_no_manifest() {
        let whole = sample().encode();
        for at in 0..whole.len() {
            assert_eq!(Manifest::decode(&whole[..at]), None, "cut at {at}");
            let mut changed = whole.clone();
            changed[at] ^= 1;
            assert_eq!(Manifest::decode(&changed), None, "changed at {at}");
        }
    }
}
