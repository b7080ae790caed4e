//! What XML beside a model does: entities that grow or lie elsewhere in any of it, functions of a host language in PMML,
//! layers of an extension in OpenVINO.

use domain::scan::{GapKind, Rule, Weight};
use formats::ReadAt;
use formats::xml::{self, Element};

use crate::{Examiner, text};

/// Bytes of a file that are read.
const MAX_BYTES: u64 = 24 << 20;
/// Characters to which an entity may grow.
const MAX_EXPANDED: u64 = 1 << 20;

/// Something that an element says.
struct Remark {
    rule: Rule,
    weight: Weight,
    offset: u64,
    expression: String,
    why: &'static str,
}

/// Examines an XML document.
pub(crate) fn examine(examiner: &mut Examiner<'_>, name: &str, input: &dyn ReadAt) {
    let _ = name;
    let Some(bytes) = text::all(examiner, input, MAX_BYTES, "an XML document") else {
        return;
    };
    let digest = domain::Digest::of(&bytes);
    let source = String::from_utf8_lossy(&bytes);
    let mut remarks = Vec::new();
    let mut root = String::new();
    let document = xml::read(&source, &mut |element| {
        if root.is_empty() {
            root.clone_from(&element.name);
        }
        if remarks.len() < 64 {
            remarks.extend(judge(&root, element));
        }
    });
    let kind = match root.as_str() {
        "PMML" => "PMML",
        "net" => "OpenVINO model",
        _ => "XML",
    };
    examiner.part(kind, input.len(), Some(digest));
    for remark in remarks {
        let place = examiner.at(remark.offset);
        examiner.found(
            remark.rule,
            remark.weight,
            place,
            remark.expression,
            remark.why,
        );
    }
    for address in &document.external {
        let why = "a parser that resolves external entities reads or fetches this";
        examiner.found(
            Rule::ExternalFile,
            Weight::Dangerous,
            examiner.here(),
            address,
            why,
        );
    }
    if document.expanded > MAX_EXPANDED {
        let why = format!("an entity grows to {} characters", document.expanded);
        examiner.found(Rule::Bomb, Weight::Dangerous, examiner.here(), "", why);
    }
    if let Some(offset) = document.fault {
        examiner.gap(
            GapKind::Broken,
            examiner.at(offset),
            "it is not XML from here on",
        );
    }
    if document.cut {
        examiner.gap(
            GapKind::Limit,
            examiner.here(),
            "more elements than are read",
        );
    }
}

fn judge(root: &str, element: &Element) -> Option<Remark> {
    let say = |rule, weight, expression: &str, why| {
        Some(Remark {
            rule,
            weight,
            offset: element.offset,
            expression: expression.to_owned(),
            why,
        })
    };
    let function = element.get("function").filter(|_| element.name == "Apply");
    match (root, element.name.as_str()) {
        (_, "include") if element.get("href").is_some() => {
            let address = element.get("href").unwrap_or_default();
            say(
                Rule::ExternalFile,
                Weight::Unknown,
                address,
                "it includes another document",
            )
        }
        ("PMML", "Apply") if function.is_some_and(|name| name.contains('.')) => {
            let why = "it applies a function by the name of a class, which the host loads";
            say(
                Rule::CodeOperator,
                Weight::Unknown,
                function.unwrap_or_default(),
                why,
            )
        }
        ("PMML", "script" | "Script" | "code") => say(
            Rule::CodeOperator,
            Weight::Unknown,
            &element.name,
            "it carries a script",
        ),
        ("net", "layer") => {
            let version = element.get("version").unwrap_or("opset1");
            let known = version.starts_with("opset") || version == "experimental";
            let why = "a layer of an extension, which a native library must bring";
            let kind = element.get("type").unwrap_or_default();
            if known {
                None
            } else {
                say(Rule::CustomOperator, Weight::Unknown, kind, why)
            }
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Options, Rules};
    use domain::scan::Examination;

    fn scan(text: &str) -> Examination {
        let rules = Rules::builtin();
        let mut examiner = Examiner::new(&rules, Options::default());
        examine(&mut examiner, "x.xml", &text.as_bytes());
        examiner.finish(text.len() as u64)
    }

    #[test]
    fn entities_functions_and_extensions_are_told() {
        let cases = [
            (
                "<!DOCTYPE x [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><PMML/>",
                Rule::ExternalFile,
                Weight::Dangerous,
            ),
            (
                "<PMML><Apply function='com.example.Run'/></PMML>",
                Rule::CodeOperator,
                Weight::Unknown,
            ),
            (
                "<net><layers><layer id='0' type='Mine' version='extension'/></layers></net>",
                Rule::CustomOperator,
                Weight::Unknown,
            ),
        ];
        for (text, rule, weight) in cases {
            let told: Vec<_> = scan(text)
                .findings
                .iter()
                .map(|f| (f.rule, f.weight))
                .collect();
            assert_eq!(told, [(rule, weight)], "{text}");
        }
    }

    #[test]
    fn honest_models_are_clean() {
        for text in [
            "<?xml version='1.0'?><PMML version='4.4'><Header><Extension name='x' value='y'/></Header><Apply function='+'/></PMML>",
            "<?xml version=\"1.0\"?><net name='m' version='11'><layers><layer id='0' name='x' type='Parameter' version='opset1'/></layers></net>",
        ] {
            let done = scan(text);
            assert_eq!((done.findings, done.gaps), (vec![], vec![]), "{text}");
        }
    }
}
