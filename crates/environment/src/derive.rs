//! The layout of an environment from its files alone: no interpreter is started.
//!
//! An interpreter that is asked where its folders are runs code of the environment before it answers (`.pth`,
//! `sitecustomize`), and a dead one answers nothing. So what `site` and `getpath` would find is found here the same way:
//! from where the interpreter lies, `pyvenv.cfg` beside or above it, and the folders around. What that cannot tell, such as
//! folders that a `.pth` adds or that a variable names, is said as a note and not guessed.

use std::path::{Path, PathBuf};

use crate::file::read_small;
use crate::layout::{Layout, RootKind};

/// The most bytes of a `pyvenv.cfg`.
const MAX_CONFIG: u64 = 64 << 10;

/// An environment that was found.
#[derive(Debug, Clone)]
pub struct Derived {
    /// Its folders.
    pub layout: Layout,
    /// The interpreter, as it is called: through the links of the environment.
    pub executable: PathBuf,
    /// The folder that it is in (`sys.prefix`).
    pub prefix: PathBuf,
    /// The folder of the interpreter itself (`sys.base_prefix`), where it is there.
    pub base: Option<PathBuf>,
    /// `3.11`, where it is known.
    pub python: Option<String>,
    /// What could not be found out.
    pub gaps: Vec<String>,
}

/// Something that is no environment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeriveError {
    /// Nothing is there.
    #[error("{}: there is nothing", .0.display())]
    Absent(PathBuf),
    /// A script, such as those that choose among several interpreters.
    #[error("{}: it is a script and no interpreter", .0.display())]
    Script(PathBuf),
    /// A folder without any interpreter or `pyvenv.cfg`.
    #[error("{}: no Python environment is in it", .0.display())]
    NoEnvironment(PathBuf),
}

/// Finds the layout of the environment of an interpreter, or of the environment whose folder is named. `home` is the user's
/// own folder, for the packages that an interpreter outside of virtual environments reads from there.
pub fn derive(named: &Path, home: Option<&Path>) -> Result<Derived, DeriveError> {
    let executable = executable(named)?;
    let folder = executable.parent().unwrap_or(Path::new("/"));
    let above = folder.parent().unwrap_or(Path::new("/"));
    let config = [folder, above]
        .into_iter()
        .find(|folder| folder.join("pyvenv.cfg").exists());
    match config {
        Some(prefix) => Ok(of_venv(prefix, &executable)),
        None if executable.exists() => Ok(of_base(&executable, home)),
        None => Err(DeriveError::NoEnvironment(named.to_owned())),
    }
}

/// The interpreter that is meant: the path itself, not what it leads to, for the environment is where the link is.
fn executable(named: &Path) -> Result<PathBuf, DeriveError> {
    if named.is_dir() {
        for name in ["bin/python", "bin/python3", "python", "python3"] {
            let path = named.join(name);
            if path.symlink_metadata().is_ok() {
                return Ok(path);
            }
        }
        return Err(DeriveError::NoEnvironment(named.to_owned()));
    }
    if named.symlink_metadata().is_err() {
        return Err(DeriveError::Absent(named.to_owned()));
    }
    let mut head = vec![0; 2];
    let script = std::fs::File::open(named)
        .and_then(|file| std::os::unix::fs::FileExt::read_exact_at(&file, &mut head, 0))
        .is_ok_and(|()| head == b"#!");
    if script {
        return Err(DeriveError::Script(named.to_owned()));
    }
    Ok(named.to_owned())
}

fn of_venv(prefix: &Path, executable: &Path) -> Derived {
    let config = Config::read(&prefix.join("pyvenv.cfg"));
    let mut all = Builder::new(prefix, executable);
    if config.home.is_none() {
        all.gap("pyvenv.cfg names no interpreter (home)");
    }
    all.versions(&config, prefix);
    all.sites(prefix);
    let real = executable.canonicalize().ok();
    let base = real
        .as_deref()
        .and_then(|path| path.parent()?.parent())
        .map(Path::to_owned)
        .filter(|base| base != prefix);
    let from_home = config.home.as_deref().and_then(Path::parent);
    let base = base.or_else(|| from_home.filter(|it| it.is_dir()).map(Path::to_owned));
    match &base {
        Some(base) => all.stdlib(base),
        None => all.gap(
            "the interpreter that it was made with is gone: nothing is known of it and its library",
        ),
    }
    if config.system_sites
        && let Some(base) = &base
    {
        all.base_sites(base);
    }
    all.data(prefix);
    all.layout.add_file("pyvenv.cfg", prefix.join("pyvenv.cfg"));
    all.layout
        .add_root("scripts", RootKind::Scripts, prefix.join("bin"));
    all.finish(executable, base)
}

fn of_base(executable: &Path, home: Option<&Path>) -> Derived {
    let real = executable
        .canonicalize()
        .unwrap_or_else(|_| executable.to_owned());
    let prefix = real
        .parent()
        .and_then(Path::parent)
        .unwrap_or(Path::new("/"))
        .to_owned();
    let mut all = Builder::new(&prefix, &real);
    let config = Config {
        version: version_in(&real.file_name().unwrap_or_default().to_string_lossy()),
        ..Config::default()
    };
    all.versions(&config, &prefix);
    all.stdlib(&prefix);
    all.base_sites(&prefix);
    let is_shared = prefix == Path::new("/usr") || prefix == Path::new("/usr/local");
    // What packages put below the environment's folder; conda's holds whole other programs there.
    if !is_shared && !prefix.join("conda-meta").is_dir() {
        all.data(&prefix);
    }
    if let (Some(home), Some(version)) = (home, all.version.clone()) {
        let user = home.join(format!(".local/lib/python{version}/site-packages"));
        if user.is_dir() {
            all.layout.add_root("usersite", RootKind::Site, user);
        }
    }
    if !is_shared {
        all.layout
            .add_root("scripts", RootKind::Scripts, prefix.join("bin"));
    }
    all.finish(&real, Some(prefix))
}

struct Builder {
    layout: Layout,
    prefix: PathBuf,
    version: Option<String>,
    gaps: Vec<String>,
}

impl Builder {
    fn new(prefix: &Path, executable: &Path) -> Self {
        let mut layout = Layout::new();
        layout.add_file("interpreter/python", executable);
        Self {
            layout,
            prefix: prefix.to_owned(),
            version: None,
            gaps: Vec::new(),
        }
    }

    fn gap(&mut self, what: &str) {
        self.gaps.push(what.to_owned());
    }

    /// Which Python it is: by `pyvenv.cfg` or the name, else by the only folder that there is.
    fn versions(&mut self, config: &Config, prefix: &Path) {
        let found = pythons(prefix);
        self.version = match (&config.version, found.as_slice()) {
            (Some(version), _) => Some(version.clone()),
            (None, [one]) => Some(one.clone()),
            (None, [.., last]) => {
                self.gap("several versions of Python are in it, and nothing says which is meant: the last is taken");
                Some(last.clone())
            }
            (None, []) => {
                self.gap("nothing says which version of Python it is");
                None
            }
        };
    }

    fn sites(&mut self, prefix: &Path) {
        let Some(version) = self.version.clone() else {
            return;
        };
        for (name, lib) in [("purelib", "lib"), ("platlib", "lib64")] {
            let folder = prefix.join(format!("{lib}/python{version}/site-packages"));
            if name == "purelib" || folder.is_dir() {
                self.layout.add_root(name, RootKind::Site, folder);
            }
        }
    }

    /// The library of the interpreter, without the packages that were installed into it.
    fn stdlib(&mut self, base: &Path) {
        let Some(version) = self.version.clone() else {
            return;
        };
        let folder = base.join(format!("lib/python{version}"));
        if !folder.join("os.py").is_file() {
            let zip = base.join(format!("lib/python{}.zip", version.replace('.', "")));
            self.gaps.push(format!(
                "the library of Python {version} is not in {}",
                folder.display()
            ));
            if zip.is_file() {
                self.layout.add_file("stdlib.zip", zip);
            }
        }
        for name in ["site-packages", "dist-packages"] {
            self.layout.leave_out(folder.join(name));
        }
        self.layout.add_root("stdlib", RootKind::Stdlib, folder);
        let native = base.join(format!("lib64/python{version}"));
        if native.is_dir() {
            self.layout.leave_out(native.join("site-packages"));
            self.layout.add_root("platstdlib", RootKind::Stdlib, native);
        }
        let shared = format!("lib/libpython{version}.so.1.0");
        if base.join(&shared).is_file() {
            self.layout
                .add_file("interpreter/libpython", base.join(shared));
        }
    }

    /// Folders for data of packages.
    fn data(&mut self, prefix: &Path) {
        for name in ["include", "share", "etc"] {
            self.layout
                .add_root(name, RootKind::Other, prefix.join(name));
        }
    }

    /// Where an interpreter outside of virtual environments reads packages from, Debian's ways included.
    fn base_sites(&mut self, base: &Path) {
        let Some(version) = self.version.clone() else {
            return;
        };
        let mut folders = vec![base.join(format!("lib/python{version}/site-packages"))];
        if base == Path::new("/usr") {
            folders.push(format!("/usr/local/lib/python{version}/dist-packages").into());
            folders.push("/usr/lib/python3/dist-packages".into());
            folders.push(format!("/usr/lib/python{version}/dist-packages").into());
        } else {
            folders.push(base.join(format!("lib/python{version}/dist-packages")));
            folders.push(base.join(format!("lib64/python{version}/site-packages")));
        }
        for folder in folders.into_iter().filter(|folder| folder.is_dir()) {
            let taken = |name: &str| self.layout.roots().iter().any(|root| root.name == name);
            let name = if taken("purelib") { "site" } else { "purelib" };
            self.layout.add_root(name, RootKind::Site, folder);
        }
    }

    fn finish(self, executable: &Path, base: Option<PathBuf>) -> Derived {
        Derived {
            executable: executable.to_owned(),
            layout: self.layout,
            prefix: self.prefix,
            base,
            python: self.version,
            gaps: self.gaps,
        }
    }
}

/// What matters of a `pyvenv.cfg`.
#[derive(Default)]
struct Config {
    home: Option<PathBuf>,
    version: Option<String>,
    system_sites: bool,
}

impl Config {
    /// Lines `key = value`, as `site` reads them; one that cannot be read says nothing.
    fn read(path: &Path) -> Self {
        let mut config = Self::default();
        let bytes = read_small(path, MAX_CONFIG, &mut vec![0; 4096]);
        let bytes = bytes.ok().flatten().unwrap_or_default();
        for line in String::from_utf8_lossy(&bytes).lines() {
            let Some((key, value)) = line.split_once('=') else {
                continue;
            };
            let value = value.trim();
            match key.trim().to_ascii_lowercase().as_str() {
                "home" => config.home = Some(PathBuf::from(value)),
                "version" | "version_info" => config.version = version_in(value),
                "include-system-site-packages" => {
                    config.system_sites = value.eq_ignore_ascii_case("true");
                }
                _ => {}
            }
        }
        config
    }
}

/// `3.11` in `3.11.7` or `python3.11`.
fn version_in(text: &str) -> Option<String> {
    let digits = text.trim_start_matches(|c: char| !c.is_ascii_digit());
    let mut parts = digits.split('.');
    let number = |part: &str| {
        let end = part
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(part.len());
        part.get(..end)
            .filter(|digits| (1..=3).contains(&digits.len()))
            .map(str::to_owned)
    };
    let (major, minor) = (number(parts.next()?)?, number(parts.next()?)?);
    Some(format!("{major}.{minor}"))
}

/// The versions whose folders are in `PREFIX/lib`, in order.
fn pythons(prefix: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(prefix.join("lib"));
    let mut found: Vec<String> = entries
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter_map(|name| {
            let version = version_in(name.strip_prefix("python")?)?;
            (name == format!("python{version}")).then_some(version)
        })
        .take(100)
        .collect();
    found.sort_by_key(|version| {
        let mut parts = version
            .split('.')
            .map(|part| part.parse::<u32>().unwrap_or(0));
        (parts.next(), parts.next())
    });
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, text: &str) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn names(derived: &Derived) -> Vec<&str> {
        let roots = derived
            .layout
            .roots()
            .iter()
            .filter(|root| root.path.exists());
        roots.map(|root| root.name.as_str()).collect()
    }

    #[test]
    fn a_virtual_environment_is_found_with_the_library_that_it_uses() {
        let home = tempfile::tempdir().unwrap();
        let (base, venv) = (home.path().join("base"), home.path().join("venv"));
        write(&base.join("bin/python3.11"), "elf");
        write(&base.join("lib/python3.11/os.py"), "");
        write(&venv.join("lib/python3.11/site-packages/a.py"), "");
        write(&venv.join("lib/python3.9/site-packages/a.py"), "");
        write(
            &venv.join("pyvenv.cfg"),
            &format!("home = {}/bin\nversion = 3.11.7\n", base.display()),
        );
        std::fs::create_dir_all(venv.join("bin")).unwrap();
        std::os::unix::fs::symlink(base.join("bin/python3.11"), venv.join("bin/python")).unwrap();
        for named in [venv.clone(), venv.join("bin/python")] {
            let found = derive(&named, None).unwrap();
            assert_eq!(found.python.as_deref(), Some("3.11"));
            assert_eq!(
                (found.prefix.as_path(), found.gaps.len()),
                (venv.as_path(), 0)
            );
            assert_eq!(names(&found), ["purelib", "stdlib", "scripts"]);
        }
        std::fs::remove_dir_all(&base).unwrap();
        let dead = derive(&venv, None).unwrap();
        assert_eq!(names(&dead), ["purelib", "scripts"]);
        assert!(dead.gaps[0].contains("is gone"), "{:?}", dead.gaps);
    }

    #[test]
    fn an_interpreter_of_its_own_is_found_with_its_packages() {
        let home = tempfile::tempdir().unwrap();
        let base = home.path().join("base");
        write(&base.join("bin/python3.12"), "elf");
        write(&base.join("lib/python3.12/os.py"), "");
        write(&base.join("lib/python3.12/site-packages/a.py"), "");
        let found = derive(&base.join("bin/python3.12"), None).unwrap();
        assert_eq!(names(&found), ["stdlib", "purelib", "scripts"]);
    }

    #[test]
    fn a_script_nothing_and_an_empty_folder_are_no_interpreters() {
        let home = tempfile::tempdir().unwrap();
        write(&home.path().join("python3"), "#!/bin/sh\n");
        let error = |path: &str| derive(&home.path().join(path), None).unwrap_err();
        assert!(matches!(error("python3"), DeriveError::Script(_)));
        assert!(matches!(error("absent"), DeriveError::Absent(_)));
        std::fs::create_dir(home.path().join("empty")).unwrap();
        assert!(matches!(error("empty"), DeriveError::NoEnvironment(_)));
    }
}
