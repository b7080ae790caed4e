//! Changes: what the program made it may fill; what was imported others hold too.

use domain::scan::{Rule, Weight};

use crate::assemble::{Pickle, global, int, text};
use crate::verdict::{dangerous, told, weight};

#[test]
fn state_set_on_an_import_patches_it() {
    let targets = [
        ("torch.nn", "functional"),
        ("torch.nn.functional", "dropout"),
        ("torch.nn.modules.linear", "Linear"),
        ("numpy", "size"),
        ("collections", "OrderedDict"),
        ("models.net", "Net"),
    ];
    for (module, name) in targets {
        let bytes = Pickle::new().global(module, name).build(&|pickle| {
            pickle.tuple(&[&|pickle: Pickle| pickle.none(), &|pickle: Pickle| {
                pickle.dict(&[("relu", &global("torch", "tanh"))])
            }])
        });
        dangerous(&bytes.stop(), Rule::PatchesModule);
    }
}

#[test]
fn items_and_appends_on_an_import_patch_it() {
    let items = Pickle::new()
        .stack_global("sys", "modules")
        .text("json")
        .none()
        .op(b's');
    dangerous(&items.stop(), Rule::PatchesModule);
    let appends = Pickle::new()
        .global("models.net", "registry")
        .int(1)
        .op(b'a');
    dangerous(&appends.stop(), Rule::PatchesModule);
    let reached = Pickle::new()
        .call(
            "builtins",
            "getattr",
            &[&global("models.net", "Net"), &text("registry")],
        )
        .text("x")
        .none()
        .op(b's');
    dangerous(&reached.stop(), Rule::PatchesModule);
}

#[test]
fn objects_that_others_hold_too_are_not_changed() {
    let logger = Pickle::new()
        .call("logging", "getLogger", &[&text("x")])
        .build(&|pickle| pickle.dict(&[("handlers", &int(1))]));
    dangerous(&logger.stop(), Rule::PatchesModule);
    // Without a copy, numpy gives out the one data type that all arrays share.
    let dtype = Pickle::new()
        .call("numpy", "dtype", &[&text("f8")])
        .build(&|pickle| pickle.texts(&["x"]));
    dangerous(&dtype.stop(), Rule::PatchesModule);
}

#[test]
fn attributes_that_decide_what_an_object_is_are_no_state() {
    for key in ["__class__", "__setstate__", "__reduce_ex__", "__getattr__"] {
        let bytes = Pickle::new()
            .object("torch.nn.modules.linear", "Linear")
            .build(&|pickle| pickle.dict(&[(key, &global("builtins", "len"))]));
        dangerous(&bytes.stop(), Rule::PatchesModule);
    }
}

#[test]
fn state_that_is_set_twice_is_told() {
    let state: &dyn Fn(Pickle) -> Pickle = &|pickle| pickle.dict(&[("a", &int(1))]);
    let bytes = Pickle::new()
        .object("torch.nn.modules.linear", "Linear")
        .build(state)
        .build(state);
    told(&bytes.stop(), Rule::UnneededCall, Weight::Unknown);
}

#[test]
fn functions_put_where_frameworks_call_them_are_told() {
    let shadowed = Pickle::new()
        .object("torch.nn.modules.linear", "Linear")
        .build(&|pickle| pickle.dict(&[("forward", &global("torch", "zeros_like"))]));
    dangerous(&shadowed.stop(), Rule::PatchesModule);
    let predict = Pickle::new()
        .object("sklearn.linear_model._logistic", "LogisticRegression")
        .build(&|pickle| {
            pickle.dict(&[("predict", &|pickle: Pickle| {
                pickle.call("functools", "partial", &[&global("numpy", "zeros_like")])
            })])
        });
    dangerous(&predict.stop(), Rule::PatchesModule);
    let hook = Pickle::new()
        .object("torch.nn.modules.linear", "Linear")
        .build(&|pickle| {
            pickle.dict(&[("_forward_hooks", &|pickle: Pickle| {
                pickle
                    .call("collections", "OrderedDict", &[])
                    .int(1)
                    .global("torch", "zeros_like")
                    .op(b's')
            })])
        });
    dangerous(&hook.stop(), Rule::PatchesModule);
}

#[test]
fn items_of_what_is_no_dict_and_appends_to_what_is_no_list_are_told() {
    let tensor = |pickle: Pickle| pickle.object("torch.nn.modules.linear", "Linear");
    let items = tensor(Pickle::new()).int(1).int(2).op(b's').stop();
    let appends = tensor(Pickle::new()).int(1).op(b'a').stop();
    assert_eq!(weight(&items), Some(Weight::Dangerous));
    assert_eq!(weight(&appends), Some(Weight::Dangerous));
}

#[test]
fn raw_bytes_are_not_taken_for_pointers_to_objects() {
    let object_dtype = |flags: i32| {
        Pickle::new()
            .call("numpy", "dtype", &[&text("O8"), &int(0), &int(1)])
            .build(&|pickle| {
                pickle.tuple(&[
                    &int(3),
                    &text("|"),
                    &|pickle: Pickle| pickle.none(),
                    &|pickle: Pickle| pickle.none(),
                    &|pickle: Pickle| pickle.none(),
                    &int(-1),
                    &int(-1),
                    &int(flags),
                ])
            })
            .stop()
    };
    assert_eq!(weight(&object_dtype(63)), None);
    dangerous(&object_dtype(0), Rule::RunsCode);
}

#[test]
fn text_that_scipy_would_run_is_only_what_scipy_generates() {
    let distribution = |template: &str| {
        Pickle::new()
            .object("scipy.stats._continuous_distns", "norm_gen")
            .build(&|pickle| {
                pickle.dict(&[("_parse_arg_template", &|pickle: Pickle| {
                    pickle.text(template)
                })])
            })
            .stop()
    };
    let own = "\ndef _parse_args(self,  loc=0, scale=1):\n    return (), loc, scale\n";
    assert_eq!(weight(&distribution(own)), None);
    dangerous(&distribution("print('MARKER')"), Rule::RunsCode);
    dangerous(
        &distribution("def _parse_args(self, a=print('MARKER')):\n    return (), 1"),
        Rule::RunsCode,
    );
}
