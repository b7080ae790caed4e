//! One finding: the sentence with its grade on the right, then details and innocent readings.

use domain::Finding;

use super::WIDTH;
use crate::sanitise;

/// The line that is printed the moment that something is found; the details come with the summary.
pub fn found(finding: &Finding) -> String {
    format!(
        "taintline  FOUND  {}   {}   [{}]\n",
        sanitise(&finding.what),
        finding.grade,
        finding.rule
    )
}

/// A finding over several lines, indented by two.
pub fn finding(finding: &Finding) -> String {
    let what = sanitise(&finding.what);
    let grade = finding.grade.to_string();
    let mut text = format!(
        "  {what:<width$} {grade}   [{}]\n",
        finding.rule,
        width = WIDTH - 25
    );
    for detail in &finding.details {
        text.push_str(&format!("    {}\n", sanitise(detail)));
    }
    for reading in &finding.innocent {
        text.push_str(&format!("    innocent if: {}\n", sanitise(reading)));
    }
    text
}
