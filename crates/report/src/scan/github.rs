//! Workflow commands of GitHub Actions: one annotation a finding or gap. The runner reads these lines, so hostile text must
//! not be able to begin a command of its own or to end a field: it is sanitised, then escaped as the runner asks.

use domain::scan::Weight;

use super::words::{place, plural};
use super::{FileReport, Head, Renderer, Tail};
use crate::sanitise;

/// Annotations.
#[derive(Debug, Clone, Copy, Default)]
pub struct Github;

impl Renderer for Github {
    fn begin(&mut self, _head: &Head) -> String {
        String::new()
    }

    fn file(&mut self, file: &FileReport) -> String {
        let mut text = String::new();
        for (index, finding) in file.examination.findings.iter().enumerate() {
            if !file.counts(index) {
                continue;
            }
            let level = match finding.weight {
                Weight::Dangerous | Weight::Unknown => "error",
                Weight::Custom => "warning",
                Weight::Note => "notice",
            };
            let mut words = format!("Loading this file {}", finding.rule.title());
            for part in [place(&finding.place), finding.expression.clone()] {
                if !part.is_empty() {
                    words.push_str(&format!("\n{part}"));
                }
            }
            words.push_str(&format!("\n{}\n{}", finding.why, finding.rule.advice()));
            let title = format!("{}: {}", finding.weight, finding.rule);
            text.push_str(&command(level, file.path.as_str(), &title, &words));
        }
        for gap in &file.examination.gaps {
            let words = format!("{}\n{}", gap.what, place(&gap.place));
            let title = format!("not examined: {}", gap.kind);
            text.push_str(&command("warning", file.path.as_str(), &title, &words));
        }
        text
    }

    fn end(&mut self, tail: &Tail) -> String {
        let mut text = String::new();
        for notice in &tail.notices {
            let words = sanitise(&notice.text);
            text.push_str(&format!("taintline: {}: {words}\n", notice.about));
        }
        let totals = &tail.totals;
        text.push_str(&format!(
            "taintline: {}, {} of {} count, {}; exit code {}\n",
            plural(totals.files, "file"),
            totals.counting,
            plural(totals.findings, "finding"),
            plural(totals.gaps, "gap"),
            tail.exit_code
        ));
        text
    }
}

fn command(level: &str, file: &str, title: &str, words: &str) -> String {
    let lines: Vec<_> = words
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    let lines: Vec<_> = lines.into_iter().map(sanitise).collect();
    format!(
        "::{level} file={},title={}::{}\n",
        property(file),
        property(title),
        data(&lines.join("\n"))
    )
}

fn data(text: &str) -> String {
    text.replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(&sanitise(text))
        .replace(':', "%3A")
        .replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_neither_ends_a_field_nor_begins_a_command() {
        let line = command(
            "error",
            "a,title=b::c\n::stop",
            "t:1",
            "50%\n::set-output name=x::y\r\nz",
        );
        assert_eq!(
            line,
            "::error file=a%2Ctitle=b%3A%3Ac\\u{a}%3A%3Astop,title=t%3A1::50%25%0A::set-output name=x::y%0Az\n"
        );
        assert_eq!(line.lines().count(), 1);
    }
}
