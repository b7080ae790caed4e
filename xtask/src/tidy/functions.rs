//! Sizes: a function reads in one screen, a file in one sitting.
//!
//! Functions are found by indentation, which rustfmt makes exact for Rust and the language for Python; a parser of
//! either was rejected as more code than what it would guard. Blank lines and comments do not count, as in clippy.

use super::Finding;
use std::path::Path;

const FILE_LINES: usize = 800;
const FUNCTION_LINES: usize = 70;

/// Both limits over one `.rs` or `.py` file.
pub(super) fn check(path: &str, text: &str) -> Vec<Finding> {
    let lines: Vec<&str> = text.lines().collect();
    let mut findings = Vec::new();
    if lines.len() > FILE_LINES {
        let what = format!("{} lines; {FILE_LINES} at most", lines.len());
        findings.push(Finding::new(path, 0, what));
    }
    let python = Path::new(path).extension().is_some_and(|kind| kind == "py");
    for (start, line) in lines.iter().enumerate() {
        let Some(name) = name_of_function(line, python) else {
            continue;
        };
        let size = if python {
            size_by_indent(&lines[start..])
        } else {
            size_by_brace(&lines[start..])
        };
        if size > FUNCTION_LINES {
            let what = format!("{name} has {size} lines; {FUNCTION_LINES} at most");
            findings.push(Finding::new(path, start + 1, what));
        }
    }
    findings
}

/// The name, when this line starts a function.
fn name_of_function(line: &str, python: bool) -> Option<&str> {
    let mut rest = line.trim_start();
    let (before, keyword): (&[&str], &str) = if python {
        (&["async "], "def ")
    } else {
        (
            &[
                "pub ",
                "pub(crate) ",
                "pub(super) ",
                "const ",
                "async ",
                "unsafe ",
                "extern \"C\" ",
            ],
            "fn ",
        )
    };
    while let Some(shorter) = before.iter().find_map(|word| rest.strip_prefix(word)) {
        rest = shorter;
    }
    let name = rest.strip_prefix(keyword)?;
    Some(name.split(['(', '<']).next().unwrap_or(name))
}

/// Up to the brace that closes at the indentation where the function started.
fn size_by_brace(lines: &[&str]) -> usize {
    let indent = indent(lines[0]);
    let mut size = 0;
    for (number, line) in lines.iter().enumerate() {
        size += usize::from(counts(line, "//"));
        let trimmed = line.trim_start();
        let at_start = self::indent(line) == indent && !trimmed.is_empty();
        let declared = size == 1 && trimmed.ends_with(';');
        let one_line = number == 0 && trimmed.ends_with('}');
        if declared || one_line || (number > 0 && at_start && trimmed.starts_with('}')) {
            break;
        }
    }
    size
}

/// Up to the next line that is not indented deeper; the end of a long signature belongs to it.
fn size_by_indent(lines: &[&str]) -> usize {
    let indent = indent(lines[0]);
    let inside = |line: &&&str| {
        let trimmed = line.trim_start();
        trimmed.is_empty() || self::indent(line) > indent || trimmed.starts_with(')')
    };
    let body = lines[1..].iter().take_while(inside);
    1 + body.filter(|line| counts(line, "#")).count()
}

fn counts(line: &str, comment: &str) -> bool {
    let trimmed = line.trim_start();
    !trimmed.is_empty() && !trimmed.starts_with(comment)
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rust(lines: usize) -> String {
        format!(
            "pub(crate) const fn long<T>(\n    t: T,\n) {{\n{}}}\n",
            "    t;\n".repeat(lines - 4)
        )
    }

    #[test]
    fn a_rust_function_of_71_lines_is_found_by_name_and_one_of_70_is_not() {
        assert_eq!(check("a.rs", &rust(70)), []);
        let findings = check("a.rs", &rust(71));
        assert_eq!(findings[0].what, "long has 71 lines; 70 at most");
        assert_eq!(findings[0].line, 1);
    }

    #[test]
    fn blank_lines_comments_and_the_next_function_do_not_count() {
        let padded = rust(70).replacen("    t;\n", "\n    // why\n    t;\n", 1);
        assert_eq!(check("a.rs", &format!("{padded}\n{padded}")), []);
        let trait_ = format!(
            "trait T {{\n    fn a(&self);\n{}}}\n",
            "    fn b() {}\n".repeat(90)
        );
        assert_eq!(check("a.rs", &trait_), []);
    }

    #[test]
    fn a_python_function_of_71_lines_is_found_and_one_of_70_is_not() {
        let python = |lines: usize| {
            format!(
                "async def long(\n    a,\n):\n{}\nx = 1\n",
                "    a()\n".repeat(lines - 3)
            )
        };
        assert_eq!(check("a.py", &python(70)), []);
        assert_eq!(check("a.py", &python(71)).len(), 1);
    }

    #[test]
    fn a_file_of_801_lines_is_found() {
        assert_eq!(check("a.rs", &"\n".repeat(800)), []);
        assert_eq!(check("a.rs", &"\n".repeat(801)).len(), 1);
    }
}
