//! Programs within programs, and programs of other containers.

use domain::scan::{Rule, Weight};
use taintline_scan::Rules;
use taintline_scan::pickle::Origin;

use crate::assemble::{Pickle, global, int, text};
use crate::verdict::{clean, dangerous, judged, judged_by, told};

fn payload() -> Vec<u8> {
    Pickle::new()
        .call("os", "system", &[&text("echo MARKER")])
        .stop()
}

#[test]
fn bytes_that_a_storage_is_loaded_from_are_examined() {
    let inner = payload();
    let bytes = Pickle::new()
        .call(
            "torch.storage",
            "_load_from_bytes",
            &[&|pickle| pickle.data(&inner)],
        )
        .stop();
    dangerous(&bytes, Rule::RunsCommand);
    assert!(!judged(&bytes).findings[0].place.members.is_empty());
    let harmless = Pickle::new().none().stop();
    let bytes = Pickle::new().call(
        "torch.storage",
        "_load_from_bytes",
        &[&|pickle| pickle.data(&harmless)],
    );
    clean(&bytes.stop(), Origin::Bare);
}

#[test]
fn bytes_of_protocol_2_are_put_together_before_they_are_examined() {
    let inner: String = payload().iter().map(|byte| char::from(*byte)).collect();
    let bytes = Pickle::of_protocol(2)
        .call(
            "torch.storage",
            "_load_from_bytes",
            &[&|pickle| {
                pickle.call(
                    "_codecs",
                    "encode",
                    &[&|pickle: Pickle| pickle.text(&inner), &text("latin1")],
                )
            }],
        )
        .stop();
    dangerous(&bytes, Rule::RunsCommand);
}

#[test]
fn long_bytes_are_examined_to_their_end_whichever_way_they_are_written() {
    let mut inner = Pickle::new().data(&vec![0xe9; 100_000]).stop();
    inner.extend(payload());
    let text: String = inner.iter().map(|byte| char::from(*byte)).collect();
    let line: String = inner
        .iter()
        .map(|byte| match byte {
            b'\n' | b'\\' | 0 | 0x1a | b'\r' => {
                format!("\\u{byte:04x}").chars().collect::<String>()
            }
            _ => char::from(*byte).to_string(),
        })
        .collect();
    let line: Vec<u8> = line
        .chars()
        .filter_map(|c| u8::try_from(u32::from(c)).ok())
        .collect();
    let encoded = |text: &dyn Fn(Pickle) -> Pickle| {
        Pickle::of_protocol(2)
            .call(
                "torch.storage",
                "_load_from_bytes",
                &[&|pickle| {
                    pickle.call(
                        "_codecs",
                        "encode",
                        &[text, &|pickle: Pickle| pickle.text("latin1")],
                    )
                }],
            )
            .stop()
    };
    dangerous(&encoded(&|pickle| pickle.text(&text)), Rule::RunsCommand);
    let as_line = |pickle: Pickle| pickle.op(b'V').raw(&line).op(b'\n');
    dangerous(&encoded(&as_line), Rule::RunsCommand);
    let plain = Pickle::new().call(
        "torch.storage",
        "_load_from_bytes",
        &[&|pickle| pickle.data(&inner)],
    );
    dangerous(&plain.stop(), Rule::RunsCommand);
}

#[test]
fn loading_what_is_not_literal_is_dangerous() {
    let bytes = Pickle::new().call(
        "torch.storage",
        "_load_from_bytes",
        &[&global("models.net", "DATA")],
    );
    dangerous(&bytes.stop(), Rule::LoadsMore);
}

#[test]
fn a_program_that_is_mere_data_is_a_note() {
    let inner = payload();
    let bytes = Pickle::new().data(&inner).stop();
    told(&bytes, Rule::Hidden, Weight::Note);
}

#[test]
fn a_hundred_programs_in_each_other_end_in_a_finding_or_gap() {
    let mut bytes = payload();
    for _ in 0..100 {
        bytes = Pickle::new()
            .call(
                "torch.storage",
                "_load_from_bytes",
                &[&|pickle| pickle.data(&bytes)],
            )
            .stop();
    }
    let done = judged(&bytes);
    assert!(!done.gaps.is_empty());
}

#[test]
fn code_in_the_file_is_dangerous() {
    let code = Pickle::new().call("types", "CodeType", &[&int(0)]);
    dangerous(&code.stop(), Rule::RunsCode);
    let marshalled = Pickle::new().call(
        "marshal",
        "loads",
        &[&|pickle| pickle.data(b"\xe3\0\0\0\0")],
    );
    dangerous(&marshalled.stop(), Rule::RunsCode);
    let dill = Pickle::new()
        .call("dill._dill", "_load_type", &[&text("CodeType")])
        .tuple(&[&int(0)])
        .op(b'R');
    dangerous(&dill.stop(), Rule::RunsCode);
}

#[test]
fn storages_are_ids_of_torch_and_nobody_elses() {
    let storage = Pickle::new()
        .tuple(&[
            &text("storage"),
            &global("torch", "FloatStorage"),
            &text("0"),
            &text("cpu"),
            &int(4),
        ])
        .op(b'Q')
        .stop();
    clean(&storage, Origin::TorchZip);
    told(&storage, Rule::UnknownReference, Weight::Unknown);
    let other = Pickle::new().texts(&["get_attr", "x"]).op(b'Q').stop();
    let done = judged_by(&Rules::builtin(), &other, Origin::TorchZip);
    assert_eq!(done.weight(), Some(Weight::Unknown));
}

#[test]
fn classes_of_an_archive_of_torchscript_are_its_own() {
    let bytes = Pickle::of_protocol(2)
        .object("__torch__.net", "Net")
        .build(&|pickle| pickle.dict(&[("training", &int(0))]))
        .stop();
    clean(&bytes, Origin::TorchScript);
    told(&bytes, Rule::CustomClass, Weight::Custom);
}
