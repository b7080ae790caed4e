//! What a package index offers, and which of it is the wheel that a package was installed from.
//!
//! An index is believed in nothing: only a file whose SHA-256 the lock file gives is wanted, and whoever fetches it digests
//! the bytes again. So a wrong page costs a reference and never makes one. Text in, data out: asking is the caller's
//! business. Both forms of the simple index are read: JSON (PEP 691) and HTML (PEP 503), where the digest stands behind `#`.

use std::collections::{BTreeMap, BTreeSet};

use domain::{Digest, PathText};
use serde::Deserialize;

use super::check::{Candidates, NoWheel};
use super::lock::{Lock, LockedSource, percent_decoded};
use crate::packages::has_suffix;
use crate::snapshot::Snapshot;

/// The most bytes of one page.
pub const MAX_PAGE_BYTES: u64 = 16 << 20;
/// The most files of one page that are looked at.
const MAX_FILES: usize = 200_000;
/// The most bytes of a package's `WHEEL`.
const MAX_WHEEL_PAPER: u64 = 64 << 10;

/// A wheel that the lock file names and that is not here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Normalised name of the package.
    pub name: String,
    /// The installed version.
    pub version: String,
    /// What the lock file allows.
    digests: BTreeSet<Digest>,
    /// For which Python, interface and system the installed one was built, as its `WHEEL` says.
    tags: BTreeSet<String>,
}

/// A file that an index offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offered {
    /// Its name.
    pub file: String,
    /// Its absolute address.
    pub url: String,
    /// Its SHA-256 as the index says.
    pub digest: Digest,
}

/// Why an index does not help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IndexError {
    /// Neither form.
    #[error("the page is neither a JSON nor an HTML list of files")]
    Form,
    /// It has none of the wheels.
    #[error("the index has no wheel of {0} with a digest that the lock file gives")]
    None(String),
    /// It has several, and nothing says which one was installed.
    #[error(
        "the lock file allows {count} wheels of {package}, and its papers do not say which one it came from"
    )]
    Several {
        /// Name and version.
        package: String,
        /// How many.
        count: usize,
    },
}

/// What is to be asked for: packages of which a lock file gives wheels by digest, and none of these is here.
pub fn wanted(snapshot: &Snapshot, lock: &Lock, found: &[Candidates]) -> Vec<Wanted> {
    let mut all = Vec::new();
    for (package, candidates) in snapshot.packages.iter().zip(found) {
        if !matches!(candidates, Candidates::None(NoWheel::NotFound)) {
            continue;
        }
        let allowed = lock.allowed(&package.name, &package.version);
        let digests: BTreeSet<Digest> = allowed
            .into_iter()
            .flatten()
            .filter(|locked| locked.source == LockedSource::Files)
            .flat_map(|locked| &locked.artifacts)
            .filter(|artifact| artifact.may_be_wheel())
            .map(|artifact| artifact.digest)
            .collect();
        if digests.is_empty() {
            continue;
        }
        let paper = [&package.papers.to_bytes(), b"/WHEEL".as_slice()].concat();
        let paper = snapshot.bytes(&PathText::from_bytes(&paper), MAX_WHEEL_PAPER);
        all.push(Wanted {
            name: package.normalized(),
            version: package.version.clone(),
            digests,
            tags: tags(&paper.unwrap_or_default()),
        });
    }
    all
}

impl Wanted {
    /// The offered file that the package came from. Where several are allowed, the one that was built for what is installed.
    pub fn choose<'a>(&self, offered: &'a [Offered]) -> Result<&'a Offered, IndexError> {
        let mut allowed: BTreeMap<Digest, &Offered> = BTreeMap::new();
        for one in offered {
            if has_suffix(&one.file, ".whl") && self.digests.contains(&one.digest) {
                allowed.insert(one.digest, one);
            }
        }
        let package = || format!("{} {}", self.name, self.version);
        if allowed.len() > 1 {
            let all = allowed.len();
            allowed.retain(|_, one| self.is_built_for(&one.file));
            if allowed.len() != 1 {
                return Err(IndexError::Several {
                    package: package(),
                    count: all,
                });
            }
        }
        let one = allowed.into_values().next();
        one.ok_or_else(|| IndexError::None(package()))
    }

    /// Whether one of the tags in the file's name is one of the package's.
    fn is_built_for(&self, file: &str) -> bool {
        let stem = file.strip_suffix(".whl").unwrap_or(file);
        let mut parts = stem.rsplit('-');
        let (Some(systems), Some(interfaces), Some(pythons)) =
            (parts.next(), parts.next(), parts.next())
        else {
            return false;
        };
        self.tags.iter().any(|tag| {
            let mut tag = tag.split('-');
            let mut is_in = |all: &str| {
                tag.next()
                    .is_some_and(|it| all.split('.').any(|one| one == it))
            };
            is_in(pythons) && is_in(interfaces) && is_in(systems)
        })
    }
}

/// The `Tag` lines of a `WHEEL`.
fn tags(paper: &[u8]) -> BTreeSet<String> {
    String::from_utf8_lossy(paper)
        .lines()
        .filter_map(|line| Some(line.strip_prefix("Tag:")?.trim().to_owned()))
        .collect()
}

/// Reads a page that was found at `address`. Files without a SHA-256 are left out.
pub fn offered(page: &[u8], address: &str) -> Result<Vec<Offered>, IndexError> {
    let first = page.iter().find(|byte| !byte.is_ascii_whitespace());
    let links = match first {
        Some(b'{') => of_json(page)?,
        Some(b'<') => of_html(&String::from_utf8_lossy(page)),
        _ => return Err(IndexError::Form),
    };
    let offer = |(file, link, digest): (String, String, Option<String>)| {
        let digest = digest?.parse().ok()?;
        let url = joined(address, &link)?;
        Some(Offered { file, url, digest })
    };
    Ok(links
        .into_iter()
        .take(MAX_FILES)
        .filter_map(offer)
        .collect())
}

/// Name, link and digest.
type Link = (String, String, Option<String>);

fn of_json(page: &[u8]) -> Result<Vec<Link>, IndexError> {
    #[derive(Deserialize)]
    struct Page {
        files: Vec<Entry>,
    }
    #[derive(Deserialize)]
    struct Entry {
        filename: String,
        url: String,
        #[serde(default)]
        hashes: BTreeMap<String, String>,
    }
    let page: Page = serde_json::from_slice(page).map_err(|_| IndexError::Form)?;
    let entries = page.files.into_iter();
    Ok(entries
        .map(|mut entry| (entry.filename, entry.url, entry.hashes.remove("sha256")))
        .collect())
}

fn of_html(page: &str) -> Vec<Link> {
    let mut links = Vec::new();
    for piece in page.split("href=").skip(1) {
        let mut characters = piece.chars();
        let Some(quote @ ('"' | '\'')) = characters.next() else {
            continue;
        };
        let Some((link, _)) = characters.as_str().split_once(quote) else {
            continue;
        };
        let link = link.replace("&amp;", "&");
        let (link, digest) = link
            .split_once("#sha256=")
            .map_or((link.as_str(), None), |(link, digest)| {
                (link, Some(digest.to_owned()))
            });
        let file = link.split(['?', '#']).next().unwrap_or(link);
        let file = percent_decoded(file.rsplit('/').next().unwrap_or(file));
        links.push((file, link.to_owned(), digest));
    }
    links
}

/// An address that stands on a page, absolute (RFC 3986, as far as indexes use it); `None` for one of another scheme.
fn joined(page: &str, link: &str) -> Option<String> {
    if let Some((scheme, _)) = link.split_once("://") {
        return ["http", "https"].contains(&scheme).then(|| link.to_owned());
    }
    let (scheme, rest) = page.split_once("://")?;
    if let Some(host) = link.strip_prefix("//") {
        return Some(format!("{scheme}://{host}"));
    }
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let path = path.split(['?', '#']).next().unwrap_or(path);
    let mut parts: Vec<&str> = if link.starts_with('/') {
        Vec::new()
    } else {
        let mut parts: Vec<&str> = path.split('/').collect();
        parts.pop(); // the page itself
        parts
    };
    for part in link.trim_start_matches('/').split('/') {
        match part {
            "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    Some(format!("{scheme}://{host}/{}", parts.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "https://x.test/root/simple/six/";

    fn digest(text: &str) -> Digest {
        Digest::of(text.as_bytes())
    }

    #[test]
    fn both_forms_of_a_page_say_the_same() {
        let (one, other) = (digest("1"), digest("2"));
        let json = format!(
            r#" {{"meta": {{"api-version": "1.1"}}, "files": [
            {{"filename": "six-1.0-py3-none-any.whl", "url": "../../files/six-1.0-py3-none-any.whl", "hashes": {{"sha256": "{one}", "md5": "x"}}}},
            {{"filename": "six-1.0.tar.gz", "url": "https://f.test/six-1.0.tar.gz", "hashes": {{"sha256": "{other}"}}}},
            {{"filename": "six-0.9.tar.gz", "url": "six-0.9.tar.gz", "hashes": {{}}}}]}}"#
        );
        let html = format!(
            "<!DOCTYPE html><html><body><a href=\"../../files/six-1.0-py3-none-any.whl#sha256={one}\" data-requires-python=\"&gt;=3\">six</a>\n\
             <a href='https://f.test/six-1.0.tar.gz#sha256={other}'>six</a><a href=\"six-0.9.tar.gz\">old</a></body></html>"
        );
        let expected = [
            Offered {
                file: "six-1.0-py3-none-any.whl".to_owned(),
                url: "https://x.test/root/files/six-1.0-py3-none-any.whl".to_owned(),
                digest: one,
            },
            Offered {
                file: "six-1.0.tar.gz".to_owned(),
                url: "https://f.test/six-1.0.tar.gz".to_owned(),
                digest: other,
            },
        ];
        assert_eq!(offered(json.as_bytes(), PAGE).unwrap(), expected);
        assert_eq!(offered(html.as_bytes(), PAGE).unwrap(), expected);
        for none in ["", "files", "{}", "{\"files\": 1}"] {
            assert_eq!(
                offered(none.as_bytes(), PAGE),
                Err(IndexError::Form),
                "{none}"
            );
        }
    }

    #[test]
    fn addresses_are_joined_as_a_browser_does_and_other_schemes_are_left_out() {
        for (link, whole) in [
            ("/a/b", Some("https://x.test/a/b")),
            ("//y.test/b", Some("https://y.test/b")),
            ("b", Some("https://x.test/root/simple/six/b")),
            ("./b", Some("https://x.test/root/simple/six/b")),
            ("../../../../../b", Some("https://x.test/b")),
            ("http://y.test/b", Some("http://y.test/b")),
            ("file:///etc/passwd", None),
        ] {
            assert_eq!(joined(PAGE, link).as_deref(), whole, "{link}");
        }
    }

    #[test]
    fn only_an_allowed_wheel_is_chosen_and_of_several_the_one_that_is_installed() {
        let file = |name: &str| Offered {
            file: name.to_owned(),
            url: String::new(),
            digest: digest(name),
        };
        let names = [
            "a-1-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
            "a-1-cp312-cp312-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
            "a-1-cp311-cp311-macosx_11_0_arm64.whl",
            "a-1.tar.gz",
        ];
        let offered = names.map(file);
        let wanted = |names: &[&str], tag: &str| Wanted {
            name: "a".to_owned(),
            version: "1".to_owned(),
            digests: names.iter().map(|name| digest(name)).collect(),
            tags: tags(format!("Wheel-Version: 1.0\nTag: {tag}\n").as_bytes()),
        };
        let choose = |names: &[&str], tag: &str| {
            let chosen = wanted(names, tag);
            chosen.choose(&offered).map(|one| one.file.clone())
        };
        let here = "cp311-cp311-manylinux2014_x86_64";
        assert_eq!(choose(&names, here).unwrap(), names[0]);
        assert_eq!(
            choose(&names[1..2], here).unwrap(),
            names[1],
            "the lock file's word"
        );
        assert!(matches!(
            choose(&names, "py3-none-any"),
            Err(IndexError::Several { count: 3, .. })
        ));
        assert!(matches!(
            choose(&names[3..], here),
            Err(IndexError::None(_))
        ));
        assert!(matches!(
            choose(&["another"], here),
            Err(IndexError::None(_))
        ));
    }
}
