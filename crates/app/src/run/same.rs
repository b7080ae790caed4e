//! When two commands are *the same command*, so that their environments may be compared.
//!
//! A resumed run has other arguments, a copied environment another interpreter path, a larger job another launcher option.
//! What stays is the script: so the same command is the same first script or module, at the same place, started by a
//! program of the same name. Everything that differs between two such runs is then a difference worth telling.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use domain::{Digest, Hasher};

/// The key under which runs of the same command are found.
pub(super) fn key(argv: &[OsString], cwd: &Path) -> Digest {
    let (program, script) = parts(argv, cwd);
    let mut hasher = Hasher::new();
    hasher.update(b"taintline same command 1\n");
    for part in [program, script] {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(&part);
    }
    hasher.finish()
}

fn parts(argv: &[OsString], cwd: &Path) -> (Vec<u8>, Vec<u8>) {
    let base = |path: &OsStr| {
        Path::new(path)
            .file_name()
            .unwrap_or(path)
            .as_bytes()
            .to_vec()
    };
    let program = argv
        .first()
        .map(|program| base(program))
        .unwrap_or_default();
    // `python3.11` and `python` are one program to whoever types them.
    let program = if program.starts_with(b"python") {
        b"python".to_vec()
    } else {
        program
    };
    let absolute = |path: &OsStr| cwd.join(path).as_os_str().as_bytes().to_vec();
    let mut rest = argv.iter().skip(1);
    while let Some(argument) = rest.next() {
        let bytes = argument.as_bytes();
        if bytes == b"-m" || bytes == b"--module" {
            return (
                program,
                [
                    &b"-m "[..],
                    rest.next().map_or(&b""[..], |module| module.as_bytes()),
                ]
                .concat(),
            );
        }
        if bytes.ends_with(b".py") || bytes.ends_with(b".sh") {
            return (program, absolute(argument));
        }
        if bytes == b"-c" {
            break;
        }
    }
    (program, cwd.as_os_str().as_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(command: &str) -> Digest {
        let argv: Vec<OsString> = command.split(' ').map(OsString::from).collect();
        key(&argv, Path::new("/exp"))
    }

    #[test]
    fn a_resume_and_another_interpreter_are_the_same_command() {
        assert_eq!(
            of("python train.py --steps 3"),
            of("/env/bin/python3.11 train.py --resume x.pt")
        );
        assert_eq!(
            of("torchrun --nproc-per-node 2 train.py"),
            of("torchrun --nproc-per-node 4 /exp/train.py")
        );
    }

    #[test]
    fn another_script_or_launcher_is_another_command() {
        assert_ne!(of("python train.py"), of("python evaluate.py"));
        assert_ne!(of("python train.py"), of("torchrun train.py"));
        assert_ne!(of("python -m a"), of("python -m b"));
    }
}
