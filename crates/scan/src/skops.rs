//! The schema of a skops file: which class each node has, and which loader makes it.
//!
//! skops checks names before it loads; its past faults were nodes whose loader does something else than the name that
//! was checked. So loader and name are judged together.

use domain::scan::{Rule, Weight};
use formats::json_text::Node;

use crate::{Examiner, targets};

/// Packages whose functions skops calls to make their objects again.
const MAKERS: [&str; 5] = ["numpy", "scipy", "sklearn", "lightgbm", "xgboost"];

/// Examines a schema.
pub(crate) fn examine(examiner: &mut Examiner<'_>, root: &Node) {
    let mut open = vec![root];
    while let Some(node) = open.pop() {
        match node {
            Node::List(items) => open.extend(items),
            Node::Object(pairs) => {
                entry(examiner, node);
                open.extend(pairs.iter().map(|(_, value)| value));
            }
            Node::Null | Node::Bool(_) | Node::Number(_) | Node::Text(_) => {}
        }
    }
}

fn entry(examiner: &mut Examiner<'_>, node: &Node) {
    let get = |key| node.get(key).and_then(Node::text);
    let (Some(class), Some(loader)) = (get("__class__"), get("__loader__")) else {
        return;
    };
    let module = get("__module__").unwrap_or("builtins");
    let path = format!("{module}.{class}");
    let shown = format!("{loader}({path})");
    let mut say = |rule, weight, why: &str| {
        examiner.found(rule, weight, examiner.here(), shown.clone(), why);
    };
    match loader {
        "OperatorFuncNode" => {
            if !matches!(module, "operator" | "_operator") {
                let why = "it is checked under one name and made as a function of `operator`";
                say(Rule::ReadersDisagree, Weight::Dangerous, why);
            }
            if matches!(class, "methodcaller" | "attrgetter") {
                let why = "it makes something that reaches for attributes by name";
                say(Rule::ResolvesAttributes, Weight::Dangerous, why);
            }
            return;
        }
        "MethodNode" => {
            let method = node.get("content").and_then(|content| content.get("func"));
            let inner = method
                .and_then(Node::text)
                .is_some_and(|name| name.contains("__"));
            let weight = if inner {
                Weight::Dangerous
            } else {
                Weight::Unknown
            };
            say(
                Rule::ResolvesAttributes,
                weight,
                "it takes a method of an object by name",
            );
        }
        _ => {}
    }
    let root = module.split('.').next().unwrap_or_default();
    let maker = MAKERS.contains(&root) && loader != "FunctionNode";
    match targets::told(&path) {
        Some((rule, Weight::Dangerous, why)) => say(rule, Weight::Dangerous, why),
        Some((rule, weight, why)) if !maker => say(rule, weight, why),
        _ => {}
    }
}
