//! A private copy of an environment that costs no space: links to everything, and real files where something is changed.
//!
//! This is also how `uv` can lay out an environment, so the copy is an ordinary one to every tool that looks at it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{DemoError, io_error};

/// A copied environment.
pub(super) struct Copy {
    /// Its interpreter.
    pub(super) python: PathBuf,
    site: PathBuf,
}

/// What the interpreter says of itself: prefix, folder that torch lies in, version, folder of its own executable.
const ASK: &str = "import sys, os, torch
base = os.path.dirname(os.path.realpath(getattr(sys, '_base_executable', sys.executable)))
print(sys.prefix, os.path.dirname(os.path.dirname(torch.__file__)), '%d.%d' % sys.version_info[:2], base, sep='\\n')";

/// Copies the environment of `python` to `to`.
pub(super) fn copy(python: &Path, to: &Path) -> Result<Copy, DemoError> {
    let answer = Command::new(python)
        .args(["-c", ASK])
        .output()
        .ok()
        .filter(|output| output.status.success());
    let answer = answer.ok_or(DemoError::Step {
        what: "asking the interpreter where it is",
    })?;
    let answer = String::from_utf8_lossy(&answer.stdout).into_owned();
    let lines: Vec<&str> = answer.lines().collect();
    let &[prefix, packages, version, base] = lines.as_slice() else {
        return Err(DemoError::Step {
            what: "asking the interpreter where it is",
        });
    };
    let site = to.join(format!("lib/python{version}/site-packages"));
    fs::create_dir_all(&site).map_err(io_error("make", &site))?;
    link_all(Path::new(packages), &site, &["torch", "__pycache__"])?;
    link_all(
        &Path::new(packages).join("torch"),
        &make(&site.join("torch"))?,
        &["optim", "__pycache__"],
    )?;
    link_all(
        &Path::new(packages).join("torch/optim"),
        &make(&site.join("torch/optim"))?,
        &["adam.py", "__pycache__"],
    )?;
    let adam = site.join("torch/optim/adam.py");
    fs::copy(Path::new(packages).join("torch/optim/adam.py"), &adam)
        .map_err(io_error("copy", &adam))?;
    let bin = make(&to.join("bin"))?;
    let settings = to.join("pyvenv.cfg");
    if Path::new(prefix).join("pyvenv.cfg").is_file() {
        fs::copy(Path::new(prefix).join("pyvenv.cfg"), &settings)
            .map_err(io_error("copy", &settings))?;
        link_all(&Path::new(prefix).join("bin"), &bin, &[])?;
    } else {
        let text =
            format!("home = {base}\ninclude-system-site-packages = false\nversion = {version}\n");
        fs::write(&settings, text).map_err(io_error("write", &settings))?;
    }
    let copied = bin.join("python");
    if !copied.exists() {
        symlink(python, &copied).map_err(io_error("link", &copied))?;
    }
    Ok(Copy {
        python: copied,
        site,
    })
}

/// Changes one line of Adam: the first moment is forgotten faster than the user asked for.
pub(super) fn change_optimizer(copy: &Copy) -> Result<PathBuf, DemoError> {
    let path = copy.site.join("torch/optim/adam.py");
    let text = fs::read_to_string(&path).map_err(io_error("read", &path))?;
    let line = text.lines().find(|line| {
        line.trim_start().starts_with("beta1, beta2 = ") && line.contains("group[\"betas\"]")
    });
    let line = line.ok_or_else(|| DemoError::OtherOptimizer(path.clone()))?;
    let changed = text.replacen(line, &format!("{line}; beta1 = 0.5 * beta1"), 1);
    fs::write(&path, changed).map_err(io_error("write", &path))?;
    Ok(path)
}

fn make(folder: &Path) -> Result<PathBuf, DemoError> {
    fs::create_dir_all(folder).map_err(io_error("make", folder))?;
    Ok(folder.to_owned())
}

fn link_all(from: &Path, to: &Path, except: &[&str]) -> Result<(), DemoError> {
    for entry in fs::read_dir(from).map_err(io_error("list", from))? {
        let entry = entry.map_err(io_error("list", from))?;
        if except.iter().any(|name| entry.file_name() == *name) {
            continue;
        }
        let link = to.join(entry.file_name());
        symlink(entry.path(), &link).map_err(io_error("link", &link))?;
    }
    Ok(())
}
