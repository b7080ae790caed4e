//! The tools that the chores need, how each is recognised, and what brings it on Debian.
//!
//! A missing tool is a failure that names its remedy. Only where nobody is there to read it (`CI=true`, as root, with
//! apt-get) is it installed.

use crate::command;
use crate::failure::{Failure, Outcome};
use std::process::Command;

/// One tool: how to see that it works, and where it comes from.
pub(crate) struct Tool {
    name: &'static str,
    /// A command that ends with 0 only where the tool serves.
    proof: &'static [&'static str],
    source: Source,
}

enum Source {
    /// Debian packages.
    Apt(&'static [&'static str]),
    /// A command of the Rust tool chain.
    Rust(&'static [&'static str]),
}

const RUST_MISSING: &[&str] = &["rustup", "toolchain", "install", "stable"];

const CARGO: Tool = Tool {
    name: "cargo",
    proof: &["cargo", "--version"],
    source: Source::Rust(RUST_MISSING),
};
const CC: Tool = Tool {
    name: "cc, a C compiler",
    proof: &["cc", "--version"],
    source: Source::Apt(&["gcc", "libc6-dev"]),
};
const PYTHON: Tool = Tool {
    name: "python3, 3.10 or newer, with venv",
    proof: &[
        "python3",
        "-c",
        "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))",
    ],
    source: Source::Apt(&["python3", "python3-venv"]),
};
const GIT: Tool = Tool {
    name: "git",
    proof: &["git", "--version"],
    source: Source::Apt(&["git"]),
};
const GO: Tool = Tool {
    name: "go, with golang.org/x/mod as Debian packages it",
    proof: &[
        "sh",
        "-c",
        "go version && test -d /usr/share/gocode/src/golang.org/x/mod/sumdb/tlog",
    ],
    source: Source::Apt(&["golang-go", "golang-golang-x-mod-dev"]),
};
const RUSTFMT: Tool = Tool {
    name: "rustfmt",
    proof: &["cargo", "fmt", "--version"],
    source: Source::Rust(&["rustup", "component", "add", "rustfmt"]),
};
const CLIPPY: Tool = Tool {
    name: "clippy",
    proof: &["cargo", "clippy", "--version"],
    source: Source::Rust(&["rustup", "component", "add", "clippy"]),
};
const NEXTEST: Tool = Tool {
    name: "cargo-nextest",
    proof: &["cargo", "nextest", "--version"],
    source: Source::Rust(&["cargo", "install", "cargo-nextest", "--locked"]),
};

/// What building and running need.
pub(crate) const TO_RUN: &[Tool] = &[CARGO, CC, PYTHON];
/// What testing needs beyond that.
pub(crate) const TO_TEST: &[Tool] = &[CARGO, CC, PYTHON, GIT, GO, RUSTFMT, CLIPPY];
/// The test runner; it takes minutes to build, so it is asked for last.
pub(crate) const RUNNER: &[Tool] = &[NEXTEST];

/// Every tool works, or is made to work where nobody watches, or the failure says how.
pub(crate) fn require(tools: &[Tool]) -> Outcome<()> {
    let missing: Vec<&Tool> = tools.iter().filter(|tool| !works(tool)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if unattended() {
        for command in remedies(&missing) {
            println!("installing: {}", command.join(" "));
            run_remedy(&command)?;
        }
    }
    let missing: Vec<&Tool> = missing.into_iter().filter(|tool| !works(tool)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(told(&missing))
}

/// The test runner, built from source where it is missing: the one tool that no distribution packages.
pub(crate) fn require_runner() -> Outcome<()> {
    if !RUNNER.iter().all(works) {
        println!("installing cargo-nextest; this takes a few minutes, once");
        for command in remedies(&RUNNER.iter().collect::<Vec<_>>()) {
            run_remedy(&command)?;
        }
    }
    require(RUNNER)
}

fn works(tool: &Tool) -> bool {
    let (program, arguments) = tool.proof.split_first().unwrap_or((&"false", &[]));
    command::works(Command::new(program).args(arguments))
}

/// The commands that bring these tools: one for all of Debian's packages, one for each other.
fn remedies(missing: &[&Tool]) -> Vec<Vec<&'static str>> {
    let mut commands = Vec::new();
    let packages: Vec<&str> = missing
        .iter()
        .filter_map(|tool| match tool.source {
            Source::Apt(packages) => Some(packages),
            Source::Rust(_) => None,
        })
        .flatten()
        .copied()
        .collect();
    if !packages.is_empty() {
        let start = ["apt-get", "install", "-y", "--no-install-recommends"];
        commands.push(start.into_iter().chain(packages).collect());
    }
    for tool in missing {
        if let Source::Rust(command) = tool.source {
            commands.push(command.to_vec());
        }
    }
    commands
}

fn told(missing: &[&Tool]) -> Failure {
    let commands: Vec<String> = remedies(missing)
        .iter()
        .map(|command| command.join(" "))
        .collect();
    Failure::Missing {
        tools: missing.iter().map(|tool| tool.name.to_owned()).collect(),
        remedy: commands.join(" && "),
    }
}

fn run_remedy(command: &[&str]) -> Outcome<()> {
    let (program, arguments) = command.split_first().unwrap_or((&"false", &[]));
    if *program == "apt-get" {
        command::run(Command::new("apt-get").arg("update"))?;
    }
    command::run(
        Command::new(program)
            .args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive"),
    )
}

/// Root, in CI, on a system with apt-get: then nobody is there to type the remedy.
fn unattended() -> bool {
    let ci = std::env::var("CI").is_ok_and(|value| value == "true");
    ci && command::find("apt-get").is_some() && is_root()
}

fn is_root() -> bool {
    command::answer(Command::new("id").arg("-u")).is_ok_and(|answer| answer.trim() == "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABSENT: Tool = Tool {
        name: "a tool that is not there",
        proof: &["no-such-program-anywhere"],
        source: Source::Apt(&["some-package"]),
    };

    #[test]
    fn a_tool_that_does_not_start_does_not_work() {
        assert!(!works(&ABSENT));
        assert!(works(&CARGO));
    }

    #[test]
    fn the_remedy_names_all_debian_packages_in_one_command() {
        let told = told(&[&ABSENT, &CC, &CLIPPY]).to_string();
        assert!(told.contains("--no-install-recommends some-package gcc libc6-dev &&"));
        assert!(told.contains("rustup component add clippy"));
        assert!(told.contains("a tool that is not there"));
    }
}
