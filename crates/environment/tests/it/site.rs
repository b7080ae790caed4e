//! A small environment that tests can build, change and scan.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use domain::{Digest, Node, PathText};
use taintline_environment::{Cache, Layout, Options, RootKind, Snapshot, scan};
use tempfile::TempDir;

pub(crate) struct Site {
    home: TempDir,
}

impl Site {
    /// A standard library, an interpreter, a launcher and three packages.
    pub(crate) fn new() -> Self {
        let site = Self {
            home: tempfile::tempdir().unwrap(),
        };
        site.write("lib/python3.11/os.py", "os");
        site.write("lib/python3.11/lib2to3/Grammar.txt", "grammar");
        site.write("bin/python3.11", "elf");
        site.install(
            "torch",
            "2.0",
            &[
                ("torch/__init__.py", "torch"),
                ("torch/optim/adamw.py", "adamw"),
                ("torch/data.json", "{}"),
            ],
        );
        site.install("six", "1.16", &[("six.py", "six")]);
        site.install(
            "shared-a",
            "1.0",
            &[("shared/__init__.py", ""), ("shared/a.py", "a")],
        );
        site
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    pub(crate) fn in_site(name: &str) -> String {
        format!("lib/python3.11/site-packages/{name}")
    }

    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub(crate) fn write_in_site(&self, name: &str, text: impl AsRef<[u8]>) {
        self.write(&Self::in_site(name), text);
    }

    pub(crate) fn remove_in_site(&self, name: &str) {
        let path = self.path(&Self::in_site(name));
        if path.is_dir() {
            std::fs::remove_dir_all(path).unwrap();
        } else {
            std::fs::remove_file(path).unwrap();
        }
    }

    /// Installs as pip does: files, then the papers.
    pub(crate) fn install(&self, name: &str, version: &str, files: &[(&str, &str)]) {
        let papers = format!("{}-{version}.dist-info", name.replace('-', "_"));
        for (path, text) in files {
            self.write_in_site(path, text);
        }
        let metadata =
            format!("Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n\nName: not-this\n");
        self.write_in_site(&format!("{papers}/METADATA"), &metadata);
        self.write_in_site(&format!("{papers}/INSTALLER"), "pip\n");
        self.write_in_site(&format!("{papers}/REQUESTED"), "");
        let mut record: String = files.iter().map(|(path, text)| line(path, text)).collect();
        record += &line(&format!("{papers}/METADATA"), &metadata);
        record += &line(&format!("{papers}/INSTALLER"), "pip\n");
        record += &format!("{papers}/REQUESTED,,\n{papers}/RECORD,,\n");
        self.write_in_site(&format!("{papers}/RECORD"), record);
    }

    pub(crate) fn layout(&self) -> Layout {
        let mut layout = Layout::new();
        layout.add_root("stdlib", RootKind::Stdlib, self.path("lib/python3.11"));
        layout.add_root(
            "purelib",
            RootKind::Site,
            self.path("lib/python3.11/site-packages"),
        );
        layout.add_root(
            "platlib",
            RootKind::Site,
            self.path("lib64/python3.11/site-packages"),
        );
        layout.add_root("scripts", RootKind::Scripts, self.path("bin"));
        layout.add_root("usersite", RootKind::Site, self.path("nowhere"));
        layout.add_file("interpreter/python3.11", self.path("bin/python3.11"));
        layout
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        scan(&self.layout(), &mut Cache::empty(), &options())
    }
}

/// A line of a RECORD.
pub(crate) fn line(path: &str, text: &str) -> String {
    let digest = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .encode(Digest::of(text.as_bytes()).as_bytes());
    format!("{path},sha256={digest},{}\n", text.len())
}

/// As if the scan were an hour later, so that what tests just wrote is old enough to be remembered.
pub(crate) fn options() -> Options<'static> {
    Options {
        sample_rehash_per_mille: 0,
        ..Options::new(SystemTime::now() + Duration::from_hours(1), 7)
    }
}

/// Scans one folder under the name `root`, with one thread.
pub(crate) fn scan_folder(folder: &Path, cache: &mut Cache, options: &Options<'_>) -> Snapshot {
    let mut layout = Layout::new();
    layout.add_root("root", RootKind::Site, folder);
    scan(&layout, cache, options)
}

pub(crate) fn name(path: &str) -> PathText {
    PathText::from_bytes(path.as_bytes())
}

pub(crate) fn file_digest(names: &BTreeMap<PathText, Node>, path: &str) -> Option<Digest> {
    match names.get(&name(path)) {
        Some(Node::File { digest, .. }) => Some(*digest),
        _ => None,
    }
}
