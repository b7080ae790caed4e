//! `pylock.toml` (PEP 751), lock version 1.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Artifact, Lock, LockError, Locked, LockedSource, few_marks, file_name, syntax};

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct File {
    lock_version: String,
    #[serde(default)]
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: Option<String>,
    vcs: Option<serde::de::IgnoredAny>,
    directory: Option<serde::de::IgnoredAny>,
    archive: Option<Archive>,
    sdist: Option<Archive>,
    #[serde(default)]
    wheels: Vec<Archive>,
}

#[derive(Deserialize)]
struct Archive {
    name: Option<String>,
    url: Option<String>,
    path: Option<String>,
    #[serde(default)]
    hashes: BTreeMap<String, String>,
}

pub(super) fn parse(text: &str) -> Result<Lock, LockError> {
    few_marks(text)?;
    let file: File = toml::from_str(text).map_err(|error| syntax(text, &error))?;
    if file.lock_version.split('.').next() != Some("1") {
        let version = file.lock_version.chars().take(20).collect();
        return Err(LockError::Version(version));
    }
    let mut lock = Lock::default();
    for package in file.packages {
        let mut locked = Locked {
            version: package.version,
            artifacts: Vec::new(),
            other_digests: 0,
            source: match (package.vcs, package.directory) {
                (Some(_), _) => LockedSource::Vcs,
                (_, Some(_)) => LockedSource::Folder,
                _ => LockedSource::Files,
            },
        };
        let archives = package.wheels.iter().chain(&package.sdist);
        for archive in archives.chain(&package.archive) {
            let place = archive.url.as_deref().or(archive.path.as_deref());
            let named = archive
                .hashes
                .iter()
                .find(|(algorithm, _)| algorithm.eq_ignore_ascii_case("sha256"));
            let digest = named.and_then(|(_, digits)| digits.to_ascii_lowercase().parse().ok());
            match digest {
                Some(digest) => locked.artifacts.push(Artifact {
                    digest,
                    file: archive.name.clone().or_else(|| file_name(place?)),
                }),
                None => locked.other_digests += archive.hashes.len() as u64,
            }
        }
        lock.add(&package.name, locked)?;
    }
    Ok(lock)
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::Digest;

    #[test]
    fn wheels_and_archives_of_a_package_are_read() {
        let (one, other) = (Digest::of(b"1"), Digest::of(b"2"));
        let text = format!(
            r#"
lock-version = "1.0"
created-by = "somebody"
[[packages]]
name = "attrs"
version = "25.1.0"
[[packages.wheels]]
name = "attrs-25.1.0-py3-none-any.whl"
url = "https://h.invalid/attrs-25.1.0-py3-none-any.whl"
hashes = {{ sha256 = "{one}" }}
[packages.sdist]
url = "https://h.invalid/attrs-25.1.0.tar.gz"
hashes = {{ sha256 = "{other}", md5 = "ab" }}
[[packages]]
name = "only-sha512"
version = "1"
wheels = [{{ name = "only_sha512-1-py3-none-any.whl", hashes = {{ sha512 = "ab" }} }}]
[[packages]]
name = "mine"
directory = {{ path = ".", editable = true }}
"#
        );
        let lock = parse(&text).unwrap();
        assert_eq!((lock.len(), lock.digests()), (3, 2));
        let attrs = &lock.versions("Attrs")[0];
        assert_eq!(
            attrs.artifacts[1].file.as_deref(),
            Some("attrs-25.1.0.tar.gz")
        );
        assert_eq!(lock.versions("only.sha512")[0].other_digests, 1);
        assert!(
            lock.allowed("mine", "7").is_some(),
            "the version is left open"
        );
    }

    #[test]
    fn a_later_lock_version_is_refused() {
        let later = parse("lock-version = \"2.0\"");
        assert_eq!(later, Err(LockError::Version("2.0".to_owned())));
    }
}
