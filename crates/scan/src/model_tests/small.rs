//! Models of small devices, HDF5, machine code, and formats that are only recognised.

use domain::scan::{GapKind, Rule, Weight};

use super::{count, field, findings, model};
use crate::{Bytes, Examiner, Options, Rules, models};

const OLD: &[u8] = include_bytes!("../../../formats/tests/samples/old.h5");
const DENSE: &[u8] = include_bytes!("../../../formats/tests/samples/dense.h5");

#[test]
fn what_leads_out_of_an_hdf5_file_and_what_keras_would_build_is_told() {
    let seen = model(OLD);
    assert_eq!(
        findings(&seen),
        [
            (Rule::CustomClass, Weight::Custom),
            (Rule::PathEscapes, Weight::Dangerous),
            (Rule::ExternalFile, Weight::Unknown),
        ]
    );
    assert!(seen.is_complete());
    assert_eq!(seen.formats, ["Keras model in HDF5"]);
    let seen = model(DENSE);
    assert_eq!(
        findings(&seen),
        [
            (Rule::CustomClass, Weight::Custom),
            (Rule::PathEscapes, Weight::Dangerous),
        ]
    );
}

/// A FlatBuffer from the back: vectors and tables by their place from the end of what is written.
#[derive(Default)]
struct Flat {
    bytes: Vec<u8>,
}

impl Flat {
    fn put(&mut self, bytes: &[u8]) {
        self.bytes.splice(0..0, bytes.iter().copied());
    }

    /// Distance of the front from the end: the name of what was written last.
    fn place(&self) -> u32 {
        u32::try_from(self.bytes.len()).unwrap()
    }

    fn vector(&mut self, elements: &[u32]) -> u32 {
        let base = self.place() + 4 * u32::try_from(elements.len()).unwrap();
        let offsets: Vec<u8> = elements
            .iter()
            .enumerate()
            .flat_map(|(index, element)| {
                (base - 4 * u32::try_from(index).unwrap() - element).to_le_bytes()
            })
            .collect();
        self.raw_vector(&offsets, u32::try_from(elements.len()).unwrap())
    }

    fn raw_vector(&mut self, bytes: &[u8], count: u32) -> u32 {
        self.put(bytes);
        self.put(&count.to_le_bytes());
        self.place()
    }

    fn text(&mut self, text: &str) -> u32 {
        self.raw_vector(text.as_bytes(), u32::try_from(text.len()).unwrap())
    }

    /// A table of fields of four bytes: numbers, or places of what was written before.
    fn table(&mut self, fields: &[Option<Field>]) -> u32 {
        let size = u32::try_from(fields.len()).unwrap();
        let end = self.place() + 4 * size;
        let values: Vec<u8> = fields
            .iter()
            .enumerate()
            .flat_map(|(index, field)| {
                let here = end - 4 * u32::try_from(index).unwrap();
                match field {
                    Some(Field::Number(number)) => *number,
                    Some(Field::To(place)) => here - place,
                    None => 0,
                }
                .to_le_bytes()
            })
            .collect();
        self.put(&values);
        let list_size = 4 + 2 * size;
        self.put(&list_size.to_le_bytes());
        let place = self.place();
        let slots = fields.iter().enumerate();
        let slots = slots.flat_map(|(index, field)| {
            let offset = if field.is_some() {
                4 + 4 * u16::try_from(index).unwrap()
            } else {
                0
            };
            offset.to_le_bytes()
        });
        let list: Vec<u8> = [
            u16::try_from(list_size).unwrap().to_le_bytes(),
            u16::try_from(4 + 4 * size).unwrap().to_le_bytes(),
        ]
        .into_iter()
        .flatten()
        .chain(slots)
        .collect();
        self.put(&list);
        place
    }

    fn finish(mut self, root: u32, mark: [u8; 4]) -> Vec<u8> {
        let offset = self.place() + 8 - root;
        self.put(&mark);
        self.put(&offset.to_le_bytes());
        self.bytes
    }
}

enum Field {
    Number(u32),
    To(u32),
}

fn tflite(custom: &str, code_index: u32) -> Vec<u8> {
    let mut flat = Flat::default();
    let name = flat.text(custom);
    let code = flat.table(&[
        Some(Field::Number(32)),
        Some(Field::To(name)),
        None,
        Some(Field::Number(32)),
    ]);
    let codes = flat.vector(&[code]);
    let operator = flat.table(&[Some(Field::Number(code_index))]);
    let operators = flat.vector(&[operator]);
    let graph = flat.table(&[None, None, None, Some(Field::To(operators))]);
    let graphs = flat.vector(&[graph]);
    let numbers = flat.raw_vector(&[7; 8], 8);
    let buffer = flat.table(&[Some(Field::To(numbers))]);
    let buffers = flat.vector(&[buffer]);
    let root = flat.table(&[
        Some(Field::Number(3)),
        Some(Field::To(codes)),
        Some(Field::To(graphs)),
        None,
        Some(Field::To(buffers)),
    ]);
    flat.finish(root, *b"TFL3")
}

#[test]
fn operators_of_tensorflow_lite_are_judged_by_who_brings_them() {
    let of = |name: &str| findings(&model(&tflite(name, 0)));
    assert_eq!(
        of("TFLite_Detection_PostProcess"),
        [(Rule::CustomOperator, Weight::Note)]
    );
    assert_eq!(of("MyGate"), [(Rule::CustomOperator, Weight::Custom)]);
    assert_eq!(
        of("FlexWriteFile"),
        [
            (Rule::CustomOperator, Weight::Note),
            (Rule::FileOperator, Weight::Dangerous),
        ]
    );
    assert_eq!(model(&tflite("", 0)).raw_bytes, 8);
}

#[test]
fn indices_out_of_their_table_and_broken_tables_are_told() {
    assert!(findings(&model(&tflite("a", 9))).contains(&(Rule::Broken, Weight::Dangerous)));
    let mut cut = tflite("a", 0);
    cut.truncate(40);
    assert_eq!(model(&cut).gaps[0].kind, GapKind::Broken);
}

#[test]
fn a_program_of_executorch_tells_operators_and_back_ends() {
    let mut flat = Flat::default();
    let (known, own, back) = (
        flat.text("aten::add"),
        flat.text("mine::gate"),
        flat.text("XnnpackBackend"),
    );
    let known = flat.table(&[Some(Field::To(known))]);
    let own = flat.table(&[Some(Field::To(own))]);
    let operators = flat.vector(&[known, own]);
    let back = flat.table(&[Some(Field::To(back))]);
    let delegates = flat.vector(&[back]);
    let mut fields: Vec<Option<Field>> = (0..6).map(|_| None).collect();
    fields.extend([Some(Field::To(operators)), Some(Field::To(delegates))]);
    let plan = flat.table(&fields);
    let plans = flat.vector(&[plan]);
    let root = flat.table(&[None, Some(Field::To(plans))]);
    let seen = model(&flat.finish(root, *b"ET12"));
    assert_eq!(
        findings(&seen),
        [
            (Rule::CustomOperator, Weight::Note),
            (Rule::CustomOperator, Weight::Custom),
        ]
    );
}

fn core_ml(kind: Vec<u8>) -> Vec<u8> {
    let description = field(2, field(1, field(1, "image")));
    [count(1, 4), description, kind].concat()
}

#[test]
fn core_ml_is_silent_until_it_leaves_its_own_layers() {
    let layer = |more: Vec<u8>| field(500, field(1, [field(1, "conv"), more].concat()));
    assert_eq!(findings(&model(&core_ml(layer(field(100, "x"))))), []);
    let custom = layer(field(500, field(10, "MyLayer")));
    assert_eq!(
        findings(&model(&core_ml(custom))),
        [(Rule::CustomOperator, Weight::Custom)]
    );
    let linked = field(
        556,
        field(
            1,
            [field(1, field(1, "m")), field(2, field(1, "/elsewhere"))].concat(),
        ),
    );
    assert_eq!(
        findings(&model(&core_ml(linked))),
        [(Rule::LoadsMore, Weight::Dangerous)]
    );
    let blob = |path: &str| {
        field(
            502,
            field(
                2,
                field(2, field(5, [field(1, path), count(2, 64)].concat())),
            ),
        )
    };
    let beside = core_ml(blob("@model_path/weights/weight.bin"));
    assert_eq!(
        findings(&model(&beside)),
        [(Rule::ExternalFile, Weight::Note)]
    );
    let outside = core_ml(blob("@model_path/../../etc/passwd"));
    assert_eq!(
        findings(&model(&outside)),
        [(Rule::PathEscapes, Weight::Dangerous)]
    );
}

#[test]
fn python_in_paddle_and_caffe_is_told() {
    let paddle = |operator: &str| {
        field(
            1,
            [count(1, 0), count(2, 0), field(4, field(3, operator))].concat(),
        )
    };
    assert_eq!(findings(&model(&paddle("conv2d"))), []);
    assert_eq!(
        findings(&model(&paddle("py_func"))),
        [(Rule::CodeOperator, Weight::Dangerous)]
    );
    let layer = [
        field(1, "l"),
        field(2, "Python"),
        field(130, [field(1, "os"), field(2, "L")].concat()),
    ];
    let caffe = [field(1, "net"), field(100, layer.concat())].concat();
    assert_eq!(
        findings(&model(&caffe)),
        [(Rule::CodeOperator, Weight::Dangerous)]
    );
}

#[test]
fn machine_code_is_told_as_a_file_and_within_numbers() {
    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x3e\0\x01\0\0\0".to_vec();
    elf.resize(64, 0);
    elf[52] = 64;
    assert_eq!(
        findings(&model(&elf)),
        [(Rule::NativeCode, Weight::Unknown)]
    );
    let numbers = [vec![0x3f; 300_001], elf, vec![0x3f; 1000]].concat();
    let options = Options {
        full: true,
        ..Options::default()
    };
    let rules = Rules::builtin();
    let mut examiner = Examiner::new(&rules, options);
    examiner.search(&numbers.as_slice(), Bytes::Data);
    let seen = examiner.finish(0);
    assert_eq!(findings(&seen), [(Rule::NativeCode, Weight::Dangerous)]);
    assert_eq!(seen.findings[0].place.offset, Some(300_001));
}

#[test]
fn formats_without_code_are_silent_and_plans_are_not() {
    for bytes in [
        &b"CBM1 and more"[..],
        b"\xba\x16\x4f\x2f\x0c\0\0\0",
        b"\x82\xa6params\xc7\x03\x01abc\xa4step\x05",
    ] {
        let seen = model(bytes);
        assert_eq!((findings(&seen), seen.is_complete()), (vec![], true));
    }
    assert_eq!(
        findings(&model(b"ptrt\0\0\0\0")),
        [(Rule::NativeCode, Weight::Unknown)]
    );
    assert_eq!(
        model(b"MATLAB 5.0 MAT-file, made").gaps[0].kind,
        GapKind::NotRead
    );
    let piece = field(
        1,
        [field(1, "\u{2581}the"), vec![0x15, 0, 0, 0, 0]].concat(),
    );
    assert_eq!(findings(&model(&piece)), []);
}

#[test]
fn texts_and_noise_are_no_models() {
    for bytes in [
        &b""[..],
        b"hello world, this is a text",
        b"{\"a\": 1}",
        b"import os\n",
        &[0; 100],
        &[0xff; 100],
        b"\n\n\n\n",
    ] {
        assert_eq!(models::recognise(&bytes), None, "{bytes:?}");
    }
}
