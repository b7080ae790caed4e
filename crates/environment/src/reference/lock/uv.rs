//! `uv.lock`, version 1.

use serde::Deserialize;

use super::{
    Artifact, Lock, LockError, Locked, LockedSource, few_marks, file_name, sha256_of, syntax,
};

#[derive(Deserialize)]
struct File {
    version: u64,
    #[serde(default)]
    package: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: Option<String>,
    #[serde(default)]
    source: Source,
    sdist: Option<Archive>,
    #[serde(default)]
    wheels: Vec<Archive>,
}

/// Which of the keys there is says where the package comes from.
#[derive(Deserialize, Default)]
struct Source {
    git: Option<String>,
    editable: Option<String>,
    r#virtual: Option<String>,
    directory: Option<String>,
}

#[derive(Deserialize)]
struct Archive {
    url: Option<String>,
    path: Option<String>,
    filename: Option<String>,
    hash: Option<String>,
}

pub(super) fn parse(text: &str) -> Result<Lock, LockError> {
    few_marks(text)?;
    let file: File = toml::from_str(text).map_err(|error| syntax(text, &error))?;
    if file.version != 1 {
        return Err(LockError::Version(file.version.to_string()));
    }
    let mut lock = Lock::default();
    for package in file.package {
        let mut locked = Locked {
            version: package.version,
            artifacts: Vec::new(),
            other_digests: 0,
            source: source(&package.source),
        };
        for archive in package.wheels.iter().chain(&package.sdist) {
            let Some(hash) = &archive.hash else { continue };
            let place = archive.url.as_deref().or(archive.path.as_deref());
            match sha256_of(hash) {
                Some(digest) => locked.artifacts.push(Artifact {
                    digest,
                    file: archive.filename.clone().or_else(|| file_name(place?)),
                }),
                None => locked.other_digests += 1,
            }
        }
        lock.add(&package.name, locked)?;
    }
    Ok(lock)
}

fn source(source: &Source) -> LockedSource {
    if source.git.is_some() {
        LockedSource::Vcs
    } else if source.editable.is_some() || source.r#virtual.is_some() || source.directory.is_some()
    {
        LockedSource::Folder
    } else {
        LockedSource::Files
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::Digest;

    #[test]
    fn packages_of_all_sources_are_read() {
        let (wheel, sdist) = (Digest::of(b"w"), Digest::of(b"s"));
        let text = format!(
            r#"
version = 1
revision = 3
requires-python = ">=3.11"
[manifest]
members = ["x"]
[[package]]
name = "Any_IO"
version = "4.3.0"
source = {{ registry = "https://index.invalid/simple" }}
dependencies = [{{ name = "idna", marker = "python_version > '3'" }}]
sdist = {{ url = "https://h.invalid/anyio-4.3.0.tar.gz", hash = "sha256:{sdist}", size = 9 }}
wheels = [
    {{ url = "https://h.invalid/anyio-4.3.0-py3-none-any.whl", hash = "sha256:{wheel}", size = 8 }},
]
[[package]]
name = "mine"
version = "0.1"
source = {{ editable = "." }}
[[package]]
name = "theirs"
version = "0.1"
source = {{ git = "https://g.invalid/x?rev=1#abc" }}
"#
        );
        let lock = parse(&text).unwrap();
        assert_eq!((lock.len(), lock.digests()), (3, 2));
        let allowed = lock.allowed("any-io", "4.3").unwrap();
        let digests: Vec<_> = allowed[0].artifacts.iter().map(|it| it.digest).collect();
        assert_eq!(digests, [wheel, sdist]);
        assert!(allowed[0].artifacts[0].may_be_wheel() && !allowed[0].artifacts[1].may_be_wheel());
        assert_eq!(lock.versions("mine")[0].source, LockedSource::Folder);
        assert_eq!(lock.versions("theirs")[0].source, LockedSource::Vcs);
        assert_eq!(lock.allowed("any-io", "4.4"), None);
    }

    #[test]
    fn another_version_and_broken_text_are_named_with_their_line() {
        assert_eq!(
            parse("version = 2"),
            Err(LockError::Version("2".to_owned()))
        );
        let broken = parse("version = 1\n[[package]]\nname = 5\n").unwrap_err();
        assert!(
            matches!(broken, LockError::Syntax { line: 3, .. }),
            "{broken}"
        );
    }
}
