//! TorchScript, packages, exported programs.

use domain::scan::{Examination, Rule, Weight};

use super::{examined, findings};
use crate::models::{Role, examine_member, role};

fn member(role: Role, text: &str) -> Examination {
    examined(|examiner| examine_member(examiner, role, &text.as_bytes()))
}

fn source(text: &str) -> Vec<(Rule, Weight)> {
    findings(&member(Role::TorchScript, text))
}

#[test]
fn honest_torchscript_is_silent() {
    let text = "class N(Module):\n  __parameters__ = [\"weight\", ]\n  def forward(self: __torch__.N,\n    x: Tensor) -> Tensor:\n    # torch.from_file is only a comment\n    _0 = torch.relu(torch.add(x, CONSTANTS.c0, alpha=1))\n    _1 = __torch__.torch.nn.functional.linear\n    _2 = ops.torchvision.nms(x, x, 0.5)\n    _3 = ops.prim.NumToTensor((1) ^ (2))\n    print(\"torch.save(x, 'y')\")\n    return self.load.forward(_0, _1)\n";
    assert_eq!(source(text), []);
}

#[test]
fn torchscript_that_touches_files_is_dangerous() {
    for call in [
        "torch.from_file(\"/etc/passwd\", False, 10)",
        "torch.save(x, \"p\")",
        "ops.aten.save(x, \"p\")",
        "ops.image.write_file(\"p\", x)",
    ] {
        let text = format!("def forward(self, x):\n    _0 = {call}\n    return _0\n");
        assert_eq!(
            source(&text),
            [(Rule::FileOperator, Weight::Dangerous)],
            "{call}"
        );
    }
}

#[test]
fn operators_in_python_and_of_native_libraries_are_told() {
    assert_eq!(
        source("    y = ^MyFunction(1, 2)(x)\n"),
        [(Rule::CodeOperator, Weight::Dangerous)]
    );
    assert_eq!(
        source("    return ^MyFunction()(x)\n"),
        [(Rule::CodeOperator, Weight::Dangerous)]
    );
    assert_eq!(
        source("    y = ops.mine.gate(x)\n"),
        [(Rule::CustomOperator, Weight::Custom)]
    );
    assert_eq!(
        source("    y : __torch__.torch.classes.mine.Box\n"),
        [(Rule::CustomOperator, Weight::Custom)]
    );
    assert_eq!(
        source("    y : __torch__.torch.classes.quantized.LinearPackedParamsBase\n"),
        []
    );
}

#[test]
fn targets_of_an_exported_program_are_operators_and_nothing_else() {
    let of = |target: &str| {
        findings(&member(
            Role::Exported,
            &format!(r#"{{"nodes": [{{"target": "{target}"}}]}}"#),
        ))
    };
    for target in [
        "torch.ops.aten.add.Tensor",
        "torch.ops.higher_order.cond",
        "_operator.getitem",
        "torch.sym_int",
        "math.floor",
    ] {
        assert_eq!(of(target), [], "{target}");
    }
    assert_eq!(
        of("torch.ops.mine.gate.default"),
        [(Rule::CustomOperator, Weight::Custom)]
    );
    assert_eq!(
        of("torch.os.system"),
        [(Rule::RunsCommand, Weight::Dangerous)]
    );
    assert_eq!(
        of("torch.nn.functional.dropout"),
        [(Rule::ResolvesAttributes, Weight::Unknown)]
    );
    assert_eq!(
        of("_operator.methodcaller"),
        [(Rule::ResolvesAttributes, Weight::Dangerous)]
    );
}

#[test]
fn no_target_hides_behind_an_escape() {
    for text in [
        r#"{"target": "torch.os\u002esystem"}"#,
        r#"{"tar\u0067et": "\u0074orch.os.system"}"#,
    ] {
        let seen = member(Role::Exported, text);
        assert_eq!(
            findings(&seen),
            [(Rule::RunsCommand, Weight::Dangerous)],
            "{text}"
        );
    }
    assert_eq!(findings(&member(Role::Exported, r#"{"target": null}"#)), []);
    let long = format!(r#"{{"target": "torch.{}"}}"#, "a".repeat(2000));
    assert_eq!(
        findings(&member(Role::Exported, &long)),
        [(Rule::ResolvesAttributes, Weight::Unknown)]
    );
}

#[test]
fn a_package_brings_code() {
    let seen = member(Role::Package, "torch\nos\n");
    assert!(findings(&seen).contains(&(Rule::BringsCode, Weight::Unknown)));
}

#[test]
fn members_are_known_by_their_company() {
    let script = [
        "m/data.pkl",
        "m/code/__torch__.py",
        "m/constants.pkl",
        "m/version",
    ];
    assert_eq!(
        role(&script, "m/code/__torch__.py"),
        Some(Role::TorchScript)
    );
    assert_eq!(role(&script, "m/data.pkl"), None);
    assert_eq!(role(&["a/code/x.py", "a/readme"], "a/code/x.py"), None);
    assert_eq!(
        role(&["p/.data/extern_modules"], "p/.data/extern_modules"),
        Some(Role::Package)
    );
    let exported = ["e/archive_format", "e/models/model.json"];
    assert_eq!(role(&exported, "e/models/model.json"), Some(Role::Exported));
}

#[test]
fn a_flood_of_names_hides_nothing_silently() {
    let call = "torch.from_file(\"/etc/passwd\")";
    let innocent = "name = x; ".repeat(20_000);
    let seen = member(Role::TorchScript, &format!("{innocent}\n{call}"));
    assert_eq!(findings(&seen), [(Rule::FileOperator, Weight::Dangerous)]);
    let names = (0..20_000).map(|index| format!("torch.name{index}(x)"));
    let relevant = names.collect::<Vec<_>>().join("\n");
    let seen = member(Role::TorchScript, &format!("{relevant}\n{call}"));
    assert!(!seen.is_complete());
}
