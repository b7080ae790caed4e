//! Launchers: what installers write instead of copying it.
//!
//! pip, uv, `installer`, conda and distlib each have a template of their own and change it now and then. What they have in
//! common is what a launcher does: import one function, put its own name in order, call the function. So a file is taken for
//! the launcher of an entry point if it has a first line that starts a Python, and every other line is one of the few that
//! such a file can have, with the import and the call of exactly this entry point. A single line more and it is not.

use super::manifest::Launcher;

/// The most bytes of a launcher.
pub(crate) const MAX_BYTES: u64 = 16 << 10;

/// The lines that put `sys.argv[0]` in order, and `import`s of what they need; quotes are all single here.
const HOUSEKEEPING: [&str; 11] = [
    "import re",
    "import sys",
    "import re, sys",
    r"sys.argv[0] = re.sub(r'(-script\.pyw|\.exe)?$', '', sys.argv[0])",
    r"sys.argv[0] = re.sub(r'(-script\.pyw?|\.exe)?$', '', sys.argv[0])",
    "if sys.argv[0].endswith('-script.pyw'):",
    "sys.argv[0] = sys.argv[0][:-11]",
    "if sys.argv[0].endswith('.exe'):",
    "elif sys.argv[0].endswith('.exe'):",
    "sys.argv[0] = sys.argv[0][:-4]",
    "sys.argv[0] = sys.argv[0].removesuffix('.exe')",
];

/// Which program the first line starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Starts {
    /// This path.
    Path(String),
    /// The `python` beside the file itself, as relocatable environments have it.
    Beside(String),
}

/// Splits a script into what its first line starts and all behind; `None` where it starts nothing that installers write.
pub(crate) fn split(text: &[u8]) -> Option<(Starts, &[u8])> {
    let (first, rest) = line(text.strip_prefix(b"#!")?)?;
    if first.trim() != "/bin/sh" {
        let first = first.trim();
        // Quoted where it has a space.
        let (program, argument) = match first.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => first.split_once([' ', '\t']).unwrap_or((first, "")),
        };
        return is_switch(argument.trim()).then(|| (Starts::Path(program.to_owned()), rest));
    }
    // Longer than the kernel takes: a shell starts it, in two lines that are a string to Python.
    let (second, rest) = line(rest)?;
    let (third, rest) = line(rest)?;
    let command = second
        .strip_prefix("'''exec' ")?
        .strip_suffix(" \"$0\" \"$@\"")?;
    if third.trim_end() != "' '''" {
        return None;
    }
    if let Some(name) = command
        .strip_prefix("\"$(dirname -- \"$(realpath -- \"$0\")\")\"/")
        .or_else(|| command.strip_prefix("\"$(dirname \"$(realpath \"$0\")\")\"/"))
    {
        return Some((Starts::Beside(name.trim_matches('\'').to_owned()), rest));
    }
    let path = command.trim_matches(['"', '\'']);
    (!path.contains(['"', '\'', '$', '`', ';', '&', '|', '\\']))
        .then(|| (Starts::Path(path.to_owned()), rest))
}

/// Nothing, or switches that only keep things out: `-c` would run what stands behind it.
fn is_switch(argument: &str) -> bool {
    let switches = argument.strip_prefix('-').unwrap_or(argument);
    argument.is_empty() || argument != switches && switches.chars().all(|c| "IEsSPuB".contains(c))
}

fn line(text: &[u8]) -> Option<(&str, &[u8])> {
    let end = text.iter().position(|byte| *byte == b'\n')?;
    let (first, rest) = text.split_at(end);
    Some((std::str::from_utf8(first).ok()?, rest.get(1..)?))
}

/// Whether the text behind the first line is that of a launcher for this entry point.
pub(crate) fn is_launcher(body: &[u8], launcher: &Launcher) -> bool {
    let Ok(text) = std::str::from_utf8(body) else {
        return false;
    };
    let root = launcher.function.split('.').next().unwrap_or_default();
    let import = format!("from {} import {root}", launcher.module);
    let call = format!("sys.exit({}())", launcher.function);
    let (mut imports, mut calls, mut mains) = (0, 0, 0);
    for line in text.lines() {
        let line = line.trim_end();
        let bare = line.trim_start();
        // A form feed or a line separator would end a line for Python and not here.
        if line
            .contains(|c: char| c.is_control() || matches!(c, '\u{85}' | '\u{2028}' | '\u{2029}'))
        {
            return false;
        }
        if bare.is_empty() || is_plain_comment(bare) {
            continue;
        }
        let bare = bare.replace('"', "'");
        if bare == import {
            imports += 1;
        } else if bare == call {
            calls += 1;
        } else if bare == "if __name__ == '__main__':" {
            mains += 1;
        } else if !HOUSEKEEPING.contains(&bare.as_str()) {
            return false;
        }
    }
    (imports, calls, mains) == (1, 1, 1)
}

/// A comment, and a declaration of the encoding only if it is UTF-8: another one would make other code of the same bytes.
fn is_plain_comment(line: &str) -> bool {
    line.strip_prefix('#').is_some_and(|comment| {
        let declares = comment.contains("coding:") || comment.contains("coding=");
        !declares || comment.trim() == "-*- coding: utf-8 -*-"
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIP: &str = "# -*- coding: utf-8 -*-\nimport re\nimport sys\nfrom a.b import main\nif __name__ == '__main__':\n    sys.argv[0] = re.sub(r'(-script\\.pyw|\\.exe)?$', '', sys.argv[0])\n    sys.exit(main())\n";
    const NEW_PIP: &str = "import sys\nfrom a.b import main\nif __name__ == '__main__':\n    if sys.argv[0].endswith('.exe'):\n        sys.argv[0] = sys.argv[0][:-4]\n    sys.exit(main())\n";
    const UV: &str = "# -*- coding: utf-8 -*-\nimport sys\nfrom a.b import main\nif __name__ == \"__main__\":\n    if sys.argv[0].endswith(\"-script.pyw\"):\n        sys.argv[0] = sys.argv[0][:-11]\n    elif sys.argv[0].endswith(\".exe\"):\n        sys.argv[0] = sys.argv[0][:-4]\n    sys.exit(main())\n";

    fn point(function: &str) -> Launcher {
        Launcher {
            name: "x".to_owned(),
            module: "a.b".to_owned(),
            function: function.to_owned(),
        }
    }

    #[test]
    fn what_installers_write_is_recognised() {
        for text in [PIP, NEW_PIP, UV] {
            assert!(is_launcher(text.as_bytes(), &point("main")), "{text}");
        }
        let dotted = PIP.replace("main())", "main.go())");
        assert!(is_launcher(dotted.as_bytes(), &point("main.go")));
    }

    #[test]
    fn one_line_more_another_function_or_another_encoding_is_no_launcher() {
        let bad = [
            PIP.replace("import sys\n", "import sys, evil\n"),
            PIP.replace("import sys\n", "import sys\nimport evil\n"),
            PIP.replace("a.b", "a.c"),
            PIP.replace("main())", "other())"),
            PIP.replace("sys.exit(main())\n", "sys.exit(main()); evil()\n"),
            PIP.replace("utf-8", "rot13"),
            PIP.replace("# -*-", "# evil\u{c}import evil\n# -*-"),
            PIP.replace("    sys.exit(main())\n", ""),
            format!("{PIP}evil()\n"),
        ];
        for text in bad {
            assert!(!is_launcher(text.as_bytes(), &point("main")), "{text}");
        }
    }

    #[test]
    fn all_forms_of_a_first_line_are_split() {
        let of = |text: &str| {
            let text = text.to_owned();
            split(text.as_bytes()).map(|(starts, rest)| (starts, rest.len()))
        };
        let path = |path: &str| Starts::Path(path.to_owned());
        assert_eq!(of("#!/v/bin/python\nx"), Some((path("/v/bin/python"), 1)));
        assert_eq!(
            of("#!/v/bin/python -I\nx"),
            Some((path("/v/bin/python"), 1))
        );
        let long = "#!/bin/sh\n'''exec' \"/v v/bin/python\" \"$0\" \"$@\"\n' '''\nx";
        assert_eq!(of(long), Some((path("/v v/bin/python"), 1)));
        let moved = "#!/bin/sh\n'''exec' \"$(dirname -- \"$(realpath -- \"$0\")\")\"/'python3' \"$0\" \"$@\"\n' '''\nx";
        assert_eq!(of(moved), Some((Starts::Beside("python3".to_owned()), 1)));
        for none in [
            "import x\n",
            "#!/bin/sh\nevil\n' '''\nx",
            "#!/bin/sh\n'''exec' /a; evil \"$0\" \"$@\"\n' '''\nx",
            "#!/v/bin/python",
            "#!/v/bin/python -c import evil\nx",
            "#!/v/bin/python evil.py\nx",
        ] {
            assert_eq!(of(none), None, "{none}");
        }
    }
}
