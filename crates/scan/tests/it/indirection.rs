//! Indirection: a function that is reached and not named is judged by where the way leads.

use domain::scan::{Rule, Weight};

use crate::assemble::{Pickle, global, text};
use crate::verdict::{dangerous, told, weight};

#[test]
fn dotted_names_and_imports_of_imports_lead_where_they_lead() {
    let walks = [
        ("torch", "os.system"),
        ("torch.serialization", "os.system"),
        ("numpy", "__builtins__"),
        ("numpy.core.numeric", "sys.modules"),
        ("collections", "abc.sys.modules"),
        ("helpers.boot", "os.system"),
        ("models.net", "Net.__init__.__globals__"),
        ("sklearn", "os"),
    ];
    for (module, name) in walks {
        let bytes = Pickle::new()
            .stack_global(module, name)
            .texts(&["MARKER"])
            .op(b'R');
        dangerous(&bytes.stop(), Rule::ResolvesAttributes);
    }
}

#[test]
fn chains_of_getattr_are_followed() {
    let import = |pickle: Pickle| {
        pickle.call(
            "builtins",
            "getattr",
            &[&global("torch", "serialization"), &text("os")],
        )
    };
    let chain = Pickle::new()
        .call("builtins", "getattr", &[&import, &text("system")])
        .texts(&["echo MARKER"])
        .op(b'R');
    dangerous(&chain.stop(), Rule::ResolvesAttributes);
    let dunder = Pickle::new().call(
        "builtins",
        "getattr",
        &[&global("builtins", "dict"), &text("__subclasses__")],
    );
    dangerous(&dunder.stop(), Rule::ResolvesAttributes);
    let computed = Pickle::new().call(
        "builtins",
        "getattr",
        &[&global("builtins", "dict"), &|pickle| {
            pickle.call("builtins", "str", &[&text("x")])
        }],
    );
    dangerous(&computed.stop(), Rule::ResolvesAttributes);
}

#[test]
fn what_numpy_imports_by_name_is_a_function_that_may_be_called_with_anything() {
    let reached = |module: &'static str, name: &'static str| {
        let function = move |pickle: Pickle| {
            pickle.call(
                "numpy.core",
                "_ufunc_reconstruct",
                &[&text(module), &text(name)],
            )
        };
        let made: crate::assemble::Push<'_> = &|pickle: Pickle| {
            pickle.call(
                "functools",
                "partial",
                &[&function, &|it| it.data(b"MARKER")],
            )
        };
        let whole = Pickle::new().call("collections", "defaultdict", &[made]);
        let alone = function(Pickle::new());
        [whole.stop(), alone.stop()]
    };
    for (module, name) in [
        ("torch.storage", "_load_from_bytes"),
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy.core", "_ufunc_reconstruct"),
        ("builtins", "getattr"),
        ("functools", "partial"),
        ("numpy", "ndarray"),
        ("copyreg", "_reconstructor"),
        ("os", "system"),
    ] {
        for bytes in reached(module, name) {
            dangerous(&bytes, Rule::ImportsCode);
        }
    }
    for (module, name) in [("numpy", "add"), ("scipy.special._ufuncs", "expit")] {
        for bytes in reached(module, name) {
            assert_eq!(weight(&bytes), None, "{module}.{name}");
        }
    }
}

#[test]
fn what_comes_out_of_a_call_is_not_called() {
    let partial =
        |pickle: Pickle| pickle.call("functools", "partial", &[&global("builtins", "len")]);
    let called = partial(Pickle::new()).texts(&["MARKER"]).op(b'R').stop();
    dangerous(&called, Rule::ResolvesAttributes);
    let getter = Pickle::new()
        .call("operator", "attrgetter", &[&text("system")])
        .tuple(&[&global("models.net", "Net")])
        .op(b'R');
    dangerous(&getter.stop(), Rule::ResolvesAttributes);
    let object = Pickle::new()
        .object("torch.nn.modules.linear", "Linear")
        .texts(&["MARKER"])
        .op(b'R');
    dangerous(&object.stop(), Rule::ResolvesAttributes);
}

#[test]
fn functions_that_call_their_arguments_are_no_data() {
    let calls = [
        ("builtins", "map"),
        ("itertools", "starmap"),
        ("functools", "reduce"),
        ("operator", "methodcaller"),
        ("operator", "call"),
        ("types", "FunctionType"),
        ("functools", "singledispatch"),
    ];
    for (module, name) in calls {
        let bytes = Pickle::new().call(
            module,
            name,
            &[&global("os", "system"), &text("echo MARKER")],
        );
        assert_eq!(
            weight(&bytes.stop()),
            Some(Weight::Dangerous),
            "{module}.{name}"
        );
    }
}

#[test]
fn a_partial_of_something_dangerous_is_dangerous_though_nobody_calls_it_here() {
    let bytes = Pickle::new().call(
        "functools",
        "partial",
        &[&global("os", "system"), &text("echo MARKER")],
    );
    dangerous(&bytes.stop(), Rule::RunsCommand);
    let factory = Pickle::new().call("collections", "defaultdict", &[&global("os", "getcwd")]);
    dangerous(&factory.stop(), Rule::TouchesFiles);
    let swapped = Pickle::new()
        .call("functools", "partial", &[&global("builtins", "len")])
        .build(&|pickle| {
            pickle.tuple(&[
                &global("builtins", "exec"),
                &|pickle: Pickle| pickle.texts(&["print('MARKER')"]),
                &|pickle: Pickle| pickle.op(b'}'),
                &|pickle: Pickle| pickle.none(),
            ])
        });
    dangerous(&swapped.stop(), Rule::RunsCode);
}

#[test]
fn functions_that_only_reducers_call_are_not_stored() {
    let bytes = Pickle::new()
        .tuple(&[&global("builtins", "getattr")])
        .stop();
    told(&bytes, Rule::UnneededCall, Weight::Unknown);
}

#[test]
fn members_of_enumerations_and_bound_methods_of_objects_are_data() {
    use crate::verdict::clean;
    use taintline_scan::pickle::Origin;
    let bound = Pickle::new().call(
        "builtins",
        "getattr",
        &[
            &|pickle| pickle.object("torch.nn.modules.linear", "Linear"),
            &text("forward"),
        ],
    );
    clean(&bound.stop(), Origin::Bare);
    let custom = Pickle::new().call(
        "builtins",
        "getattr",
        &[&global("models.net", "Mode"), &text("FAST")],
    );
    told(&custom.stop(), Rule::CustomClass, Weight::Custom);
}

#[test]
fn getters_of_machinery_and_partials_of_what_opens_files_are_told() {
    let getter = Pickle::new().call(
        "operator",
        "attrgetter",
        &[&text("__class__.__init__.__globals__")],
    );
    dangerous(&getter.stop(), Rule::ResolvesAttributes);
    let opens = Pickle::new().call(
        "functools",
        "partial",
        &[&global("numpy", "memmap"), &text("MARKER")],
    );
    told(&opens.stop(), Rule::UnneededCall, Weight::Unknown);
}
