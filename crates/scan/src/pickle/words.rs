//! Sentences: what a step does and why that matters, for people.

use domain::scan::Rule;

use super::names::Name;

/// What a name does, as a half sentence behind the name.
pub(super) fn effect(rule: Rule) -> &'static str {
    match rule {
        Rule::RunsCommand => "runs commands of the operating system",
        Rule::RunsCode => "runs code",
        Rule::ImportsCode => "imports modules by name and so runs their code",
        Rule::LoadsNative => "loads native libraries",
        Rule::OpensNetwork => "opens network connections",
        Rule::TouchesFiles => "reads, writes or removes files",
        Rule::PatchesModule => "changes what other code uses",
        Rule::ResolvesAttributes => "reaches functions that the file does not name",
        Rule::LoadsMore => "loads further data that may run code in turn",
        Rule::DisturbsProcess => "ends, stops or alters the process",
        _ => "does something that no checkpoint needs",
    }
}

/// A sentence for a call or use of something whose effect is known.
pub(super) fn known_effect(name: &Name, rule: Rule) -> String {
    format!(
        "`{}` {}; no checkpoint needs that.",
        name.full(),
        effect(rule)
    )
}
