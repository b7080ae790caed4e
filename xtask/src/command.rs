//! Runs other programs: silently, in the open, or in the open while keeping one line of what they say.

use crate::failure::{Failure, Outcome};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Which stream of a program carries its summary.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// Runs it with our own terminal; an exit code other than 0 is a failure.
pub(crate) fn run(command: &mut Command) -> Outcome<()> {
    let status = command.status().map_err(not_started(command))?;
    if status.success() {
        return Ok(());
    }
    Err(Failure::Exited {
        line: line(command),
        status,
    })
}

/// Runs it and returns what it wrote to standard output; its standard error is shown.
pub(crate) fn answer(command: &mut Command) -> Outcome<String> {
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(not_started(command))?;
    if !output.status.success() {
        return Err(Failure::Exited {
            line: line(command),
            status: output.status,
        });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// True when it starts and ends with 0; says nothing.
pub(crate) fn works(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Runs it in the open and keeps the last line of `stream` that `is_summary` knows, whether it succeeds or not.
pub(crate) fn run_for_summary(
    command: &mut Command,
    stream: Stream,
    is_summary: fn(&str) -> bool,
) -> (Outcome<()>, Option<String>) {
    let mut summary = None;
    let outcome = run_lines(command, stream, &mut |text| {
        if is_summary(text) {
            summary = Some(text.trim_matches([' ', '=']).to_owned());
        }
    });
    (outcome, summary)
}

fn run_lines(command: &mut Command, stream: Stream, seen: &mut dyn FnMut(&str)) -> Outcome<()> {
    match stream {
        Stream::Out => command.stdout(Stdio::piped()),
        Stream::Err => command.stderr(Stdio::piped()),
    };
    let mut child = command.spawn().map_err(not_started(command))?;
    let pipe: Option<Box<dyn Read>> = match stream {
        Stream::Out => child.stdout.take().map(|pipe| Box::new(pipe) as _),
        Stream::Err => child.stderr.take().map(|pipe| Box::new(pipe) as _),
    };
    for text in pipe
        .into_iter()
        .flat_map(|pipe| Lines(BufReader::new(pipe)))
    {
        match stream {
            Stream::Out => println!("{text}"),
            Stream::Err => eprintln!("{text}"),
        }
        seen(&text);
    }
    let status = child.wait().map_err(not_started(command))?;
    if status.success() {
        return Ok(());
    }
    Err(Failure::Exited {
        line: line(command),
        status,
    })
}

/// Lines of bytes that need not be UTF-8; `BufRead::lines` would end at the first that is not.
struct Lines<R>(BufReader<R>);

impl<R: Read> Iterator for Lines<R> {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        let mut bytes = Vec::new();
        match self.0.read_until(b'\n', &mut bytes) {
            Ok(0) | Err(_) => None,
            Ok(_) => {
                let text = String::from_utf8_lossy(&bytes);
                Some(text.trim_end_matches(['\n', '\r']).to_owned())
            }
        }
    }
}

/// The program's file in `PATH`, if there is one that is a file.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

/// `PATH` with `folder` in front, as a child should see it.
pub(crate) fn path_with(folder: &Path) -> std::ffi::OsString {
    let old = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(folder.to_path_buf()).chain(std::env::split_paths(&old));
    // Joining fails only for a folder with a colon in its name, which no PATH can name anyway.
    std::env::join_paths(folders).unwrap_or(old)
}

fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    words.join(" ")
}

fn not_started(command: &Command) -> impl FnOnce(std::io::Error) -> Failure + use<> {
    let program = command.get_program().to_string_lossy().into_owned();
    move |source| Failure::NotStarted { program, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn the_summary_is_the_last_line_that_fits_even_when_the_program_fails() {
        let script = "echo 1 passed >&2; echo noise >&2; echo 2 passed >&2; echo end >&2; exit 3";
        let (outcome, summary) = run_for_summary(&mut shell(script), Stream::Err, |text| {
            text.contains("passed")
        });
        assert_eq!(outcome.unwrap_err().exit_code(), 3);
        assert_eq!(summary.as_deref(), Some("2 passed"));
    }

    #[test]
    fn lines_that_are_not_text_do_not_end_the_reading() {
        let script = r"printf 'a\377b\n'; echo 5 passed";
        let (_, summary) = run_for_summary(&mut shell(script), Stream::Out, |text| {
            text.contains("passed")
        });
        assert_eq!(summary.as_deref(), Some("5 passed"));
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let failure = run(&mut Command::new("no-such-program-anywhere")).unwrap_err();
        assert!(failure.to_string().contains("no-such-program-anywhere"));
    }

    #[test]
    fn a_folder_put_in_front_of_the_path_comes_first() {
        let path = path_with(Path::new("/first"));
        assert_eq!(
            std::env::split_paths(&path).next(),
            Some(PathBuf::from("/first"))
        );
    }
}
