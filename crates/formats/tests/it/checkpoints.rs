//! Torch checkpoints.

use taintline_formats::checkpoint::{
    ByteOrder, Gap, NotReadable, Reading, Scalar, TensorFault, read,
};

use crate::support::{Asm, Zip, checkpoint, sample, sample_pickle, with_pickle};

#[test]
fn tensors_have_the_names_places_and_shapes_that_the_program_gave_them() {
    let bytes = sample();
    let checkpoint = checkpoint(&bytes);
    assert_eq!(checkpoint.gaps, []);
    assert_eq!(checkpoint.byte_order, ByteOrder::Little);
    let storage = bytes
        .windows(24)
        .position(|window| window == [7; 24])
        .unwrap() as u64;
    let rows: Vec<_> = checkpoint
        .tensors
        .iter()
        .map(|t| {
            (
                t.name.as_str(),
                t.dtype,
                t.shape.as_slice(),
                t.storage.as_str(),
                t.bytes,
                t.is_contiguous(),
            )
        })
        .collect();
    assert_eq!(
        rows,
        [
            ("model.h.0.weight", "float32", &[2, 3][..], "0", 24, true),
            ("model.head.weight", "float32", &[3, 1], "0", 12, true),
            ("model.h.0.bias", "bfloat16", &[2], "1", 4, true),
            ("optimizer.state.0.exp_avg", "float32", &[], "0", 4, true),
        ]
    );
    assert_eq!(checkpoint.tensors[0].offset, storage);
    assert_eq!(checkpoint.tensors[1].offset, storage + 4);
    assert_eq!(checkpoint.tensors[3].offset, storage + 20);
    assert_eq!(
        (
            checkpoint.tensors[1].storage_offset,
            checkpoint.tensors[1].storage_bytes
        ),
        (storage, 24)
    );
}

#[test]
fn plain_values_are_found_under_their_names() {
    let checkpoint = checkpoint(&sample());
    let expected = [
        ("optimizer.param_groups.0.lr", Scalar::Float(3e-4)),
        ("optimizer.param_groups.0.betas.0", Scalar::Float(0.9)),
        ("optimizer.param_groups.0.betas.1", Scalar::Float(0.95)),
        ("step", Scalar::Int(400)),
        ("best", Scalar::None),
    ];
    assert_eq!(
        checkpoint.scalars,
        expected.map(|(name, scalar)| (name.to_owned(), scalar))
    );
}

#[test]
fn what_loading_would_import_is_listed() {
    let imports = checkpoint(&sample()).imports;
    assert_eq!(
        imports,
        [
            "collections.OrderedDict",
            "torch.BFloat16Storage",
            "torch.FloatStorage",
            "torch._utils._rebuild_parameter",
            "torch._utils._rebuild_tensor_v2"
        ]
    );
    let hostile = Asm::new()
        .global("os", "system")
        .raw(b"(")
        .text("echo")
        .raw(b"tR")
        .stop();
    let checkpoint = checkpoint(&with_pickle(&hostile));
    assert_eq!(checkpoint.imports, ["os.system"]);
    assert_eq!(
        checkpoint.gaps,
        [Gap::Object {
            name: String::new(),
            class: "os.system".to_owned()
        }]
    );
}

#[test]
fn a_tensor_outside_its_storage_is_a_gap_and_not_a_tensor() {
    let cases: [(&[i32], &[i32], i32, &str); 4] = [
        (&[7], &[1], 0, "0"),
        (&[2, 3], &[3, 1], 1, "0"),
        (
            &[i32::MAX, i32::MAX, i32::MAX],
            &[i32::MAX, i32::MAX, 1],
            0,
            "0",
        ),
        (&[1], &[1], 0, "5"),
    ];
    for (size, stride, offset, key) in cases {
        let pickle = Asm::new()
            .tensor(("FloatStorage", key, 6), offset, size, stride)
            .stop();
        let checkpoint = checkpoint(&with_pickle(&pickle));
        assert_eq!(checkpoint.tensors, []);
        let fault = if key == "0" {
            TensorFault::OutOfBounds(key.to_owned())
        } else {
            TensorFault::NoStorage(key.to_owned())
        };
        assert_eq!(
            checkpoint.gaps,
            [Gap::Tensor {
                name: String::new(),
                fault
            }]
        );
    }
}

#[test]
fn negative_sizes_and_unknown_types_are_gaps() {
    let cases = [
        (
            Asm::new().tensor(("FloatStorage", "0", 6), -1, &[1], &[1]),
            TensorFault::Arguments,
        ),
        (
            Asm::new().tensor(("FloatStorage", "0", 6), 0, &[1], &[1, 1]),
            TensorFault::Arguments,
        ),
        (
            Asm::new().tensor(("FancyStorage", "0", 6), 0, &[1], &[1]),
            TensorFault::Dtype("torch.FancyStorage".to_owned()),
        ),
        (
            Asm::new()
                .global("torch._utils", "_rebuild_sparse_tensor")
                .raw(b")R"),
            TensorFault::Kind("torch._utils._rebuild_sparse_tensor".to_owned()),
        ),
    ];
    for (asm, fault) in cases {
        let checkpoint = checkpoint(&with_pickle(&asm.stop()));
        assert_eq!(
            checkpoint.gaps,
            [Gap::Tensor {
                name: String::new(),
                fault
            }]
        );
    }
}

#[test]
fn the_last_of_two_pickles_is_read_as_torch_does() {
    let second = Asm::new().int(7).stop();
    let zip = Zip::default()
        .stored("a/data.pkl", &sample_pickle())
        .stored("a/DATA.pkl", &second)
        .finish();
    let checkpoint = checkpoint(&zip);
    assert_eq!(checkpoint.scalars, [(String::new(), Scalar::Int(7))]);
    assert_eq!(
        checkpoint.gaps,
        [Gap::Archive(taintline_formats::zip::Oddity::DuplicateName(
            "a/data.pkl".to_owned()
        ))]
    );
}

#[test]
fn a_pickle_that_breaks_off_gives_what_stands_before_the_break() {
    let whole = Asm::new().raw(b"}").text("step").int(3).raw(b"s");
    let broken = whole.clone().text("lr").raw(b"\xff").0;
    let checkpoint = checkpoint(&with_pickle(&broken));
    assert!(
        checkpoint
            .scalars
            .iter()
            .any(|(_, scalar)| *scalar == Scalar::Text("lr".to_owned()))
    );
    assert!(
        matches!(&checkpoint.gaps[..], [Gap::Pickle(anomaly)] if anomaly.offset == broken.len() - 1)
    );
}

#[test]
fn long_lists_are_one_value_that_changes_with_any_item() {
    let list = |last: i32| {
        let values: Vec<i32> = (0..624).chain([last]).collect();
        checkpoint(&with_pickle(
            &Asm::new()
                .raw(b"}")
                .text("rng")
                .ints(&values)
                .raw(b"s")
                .stop(),
        ))
        .scalars
    };
    assert!(matches!(&list(1)[..], [(name, Scalar::Many { count: 625, .. })] if name == "rng"));
    assert_ne!(list(1), list(2));
}

#[test]
fn a_pickled_module_has_the_names_of_its_state_dict() {
    let pickle = Asm::new()
        .global("project", "Net")
        .raw(b")\x81}(")
        .text("training")
        .raw(b"\x88")
        .text("_parameters")
        .raw(b"}")
        .text("weight")
        .tensor(("FloatStorage", "0", 6), 0, &[6], &[1])
        .raw(b"s")
        .text("_modules")
        .raw(b"}")
        .text("head")
        .global("project", "Head")
        .raw(b")\x81}")
        .text("_buffers")
        .raw(b"}")
        .text("mask")
        .tensor(("FloatStorage", "0", 6), 0, &[1], &[1])
        .raw(b"ssbsub")
        .stop();
    let checkpoint = checkpoint(&with_pickle(&pickle));
    let names: Vec<&str> = checkpoint
        .tensors
        .iter()
        .map(|tensor| tensor.name.as_str())
        .collect();
    assert_eq!(names, ["weight", "head.mask"]);
    assert_eq!(checkpoint.gaps, []);
}

#[test]
fn cycles_and_exponential_sharing_end_with_a_stated_limit() {
    // A list that holds itself, and forty lists that each hold the one before twice.
    let cycle = Asm::new().raw(b"]q\x00h\x00a").stop();
    let gaps = checkpoint(&with_pickle(&cycle)).gaps;
    assert!(matches!(&gaps[..], [Gap::TooDeep(_)]), "{gaps:?}");
    let mut bomb = Asm::new().raw(b"]q\x00");
    for level in 0..40u8 {
        bomb = bomb.raw(&[b']', b'q', level + 1, b'(', b'h', level, b'h', level, b'e']);
    }
    let gaps = checkpoint(&with_pickle(&bomb.stop())).gaps;
    assert!(
        gaps.iter()
            .any(|gap| matches!(gap, Gap::Limit { what: "values", .. })),
        "{gaps:?}"
    );
}

#[test]
fn other_formats_are_told_and_not_guessed() {
    let deflated = Zip::default()
        .member("a/data.pkl", "a/data.pkl", 8, &sample_pickle())
        .finish();
    let script = Zip::default()
        .stored("a/data.pkl", b"N.")
        .stored("a/constants.pkl", b").")
        .finish();
    let cases: [(&[u8], NotReadable); 6] = [
        (
            b"",
            NotReadable::Format(taintline_formats::sniff::Format::Empty),
        ),
        (
            b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.",
            NotReadable::Format(taintline_formats::sniff::Format::TorchLegacy),
        ),
        (
            &Zip::default().stored("word/document.xml", b"<x/>").finish(),
            NotReadable::NoPickle,
        ),
        (&deflated, NotReadable::PickleCompressed),
        (&script, NotReadable::TorchScript),
        (
            b"PK\x03\x04",
            NotReadable::Archive("no end of a ZIP directory was found".to_owned()),
        ),
    ];
    for (bytes, reason) in cases {
        assert_eq!(read(&bytes).unwrap(), Reading::NotReadable(reason));
    }
}

#[test]
fn bytes_have_one_mark_in_every_protocol() {
    let old = Asm::new()
        .raw(b"}")
        .text("by")
        .global("_codecs", "encode")
        .raw(b"(")
        .text("aé")
        .text("latin1")
        .raw(b"tRs");
    let new = Asm::new().raw(b"}").text("by").raw(b"C\x02a\xe9s");
    let (old, new) = (
        checkpoint(&with_pickle(&old.stop())),
        checkpoint(&with_pickle(&new.stop())),
    );
    assert_eq!(old.scalars, new.scalars);
    assert!(matches!(&new.scalars[..], [(name, Scalar::Many { count: 2, .. })] if name == "by"));
    assert_eq!((old.gaps, new.gaps), (vec![], vec![]));
}
