//! Where the targets of `models_targets` start: small files of each format.

fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let size = u8::try_from(content.len()).unwrap_or(0);
    [&[number << 3 | 2, size], content].concat()
}

pub(crate) const MODELS: &[&[u8]] = &[
    b"TFL3",
    b"ET12",
    b"\x89HDF\r\n\x1a\n",
    b"TREE",
    b"SNOD",
    b"HEAP",
    b"GCOL",
    b"OHDR",
    b"OCHK",
    b"FRHP",
    b"FHDB",
    b"FHIB",
    b"BTHD",
    b"BTLF",
    b"\x7fELF",
    b"PE\0\0",
    b"MZ",
    b"location",
    b"/etc/passwd",
    b"PyFunc",
    b"WriteFile",
    b"Const",
    b"\x0a",
    b"\x12",
    b"\x3a",
    b"\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\x0b",
    b"\x0c",
];

pub(crate) const KERAS: &[&[u8]] = &[
    b"\"class_name\"",
    b"\"config\"",
    b"\"module\"",
    b"\"registered_name\"",
    b"\"function\"",
    b"\"__lambda__\"",
    b"\"Lambda\"",
    b"\"keras.utils\"",
    b"\"get_file\"",
    b"NaN",
    b"-Infinity",
    b"\\ud800",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
];

pub(crate) const SCRIPT: &[&[u8]] = &[
    b"torch.",
    b"ops.",
    b"from_file",
    b"^",
    b"\"",
    b"\"\"\"",
    b"#",
    b"__torch__.torch.classes.",
    b"\"target\": \"",
    b"\\",
];

pub(crate) fn models() -> Vec<Vec<u8>> {
    let node = field(
        1,
        &[field(1, b"x"), field(2, b"y"), field(4, b"Relu")].concat(),
    );
    let onnx = [vec![8, 8], field(7, &node), field(8, &[16, 17])].concat();
    let graph = field(1, &[field(1, b"n"), field(2, b"PyFunc")].concat());
    let saved = [vec![8, 1], field(2, &field(2, &graph))].concat();
    vec![
        onnx,
        graph,
        saved,
        include_bytes!("../../crates/formats/tests/samples/old.h5").to_vec(),
        include_bytes!("../../crates/formats/tests/samples/dense.h5").to_vec(),
        tflite(),
        b"\x82\xa6params\xc7\x03\x01abc\xa4step\x05".to_vec(),
        natives().concat(),
    ]
}

/// A root with a version and one operator code.
fn tflite() -> Vec<u8> {
    [
        &[20, 0, 0, 0][..],
        b"TFL3",
        &[8, 0, 12, 0, 4, 0, 8, 0, 0, 0, 0, 0],
        &[12, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0],
    ]
    .concat()
}

/// Messages and tables that nest or repeat.
pub(crate) fn model_bombs() -> Vec<Vec<u8>> {
    let empty_nodes = [0x0a, 0x00].repeat(150_000);
    // Its 300,000 bytes as a varint of three.
    let long = [0x3a, 0xe0, 0xa7, 0x12];
    let node = field(1, &field(4, b"Add"));
    let onnx = [vec![8, 8], field(7, &node), long.to_vec(), empty_nodes].concat();
    let groups = [vec![8, 8], field(7, &node), vec![0x0b; 200_000]].concat();
    let arrays = [b"\x81\xa1a".to_vec(), vec![0x91; 300_000], vec![0]].concat();
    vec![onnx, groups, arrays]
}

pub(crate) fn keras_configs() -> Vec<Vec<u8>> {
    let texts = [
        r#"{"module": "keras.layers", "class_name": "Dense", "config": {"units": 1, "x": NaN}, "registered_name": null}"#,
        r#"{"class_name": "Lambda", "config": {"function": ["4wEA", null, null], "function_type": "lambda"}}"#,
        r#"{"class_name": "function", "module": "os", "config": "system", "inbound_nodes": []}"#,
        r#"{"class_name": "StringLookup", "config": {"vocabulary": "/etc/passwd"}}"#,
    ];
    texts.map(|text| text.as_bytes().to_vec()).to_vec()
}

pub(crate) fn json_bombs() -> Vec<Vec<u8>> {
    vec![
        format!("[{}1]", "{},".repeat(150_000)).into_bytes(),
        format!("[{}1]", r#"{"class_name":"G","config":{}},"#.repeat(15_000)).into_bytes(),
        "[".repeat(400_000).into_bytes(),
    ]
}

pub(crate) fn scripts() -> Vec<Vec<u8>> {
    let texts = [
        "def forward(self, x):\n    _0 = torch.from_file(\"/etc/passwd\", False, 10)\n    return ^F(1)(x)\n",
        "{\"nodes\": [{\"target\": \"torch.ops.aten.add.Tensor\"}]}",
    ];
    texts.map(|text| text.as_bytes().to_vec()).to_vec()
}

pub(crate) fn marshals() -> Vec<Vec<u8>> {
    let code = [
        &[b'c'][..],
        &[0; 20],
        b"s\x02\0\0\0xx",
        b")\x02Nz\x01a",
        b")\x01z\x06system",
        b")\0s\0\0\0\0z\x01fz\x01gz\x01g",
        &[1, 0, 0, 0],
        b"s\0\0\0\0s\0\0\0\0",
    ];
    vec![code.concat()]
}

/// The version, a header, a module with one function; in the layouts of before and after 3.11.
pub(crate) fn byte_codes() -> Vec<Vec<u8>> {
    let newer = |inner: &[u8]| {
        let constants = [b")\x03N\xe9\x07\0\0\0".as_slice(), inner].concat();
        [
            &[b'c'],
            &[0; 20][..],
            b"s\x02\0\0\0xx",
            &constants,
            b")\x01\xda\x01f",
            b"r\x01\0\0\0s\x01\0\0\0\x20",
            b"z\x01pz\x08<module>r\x01\0\0\0",
            &[1, 0, 0, 0],
            b"s\0\0\0\0s\0\0\0\0",
        ]
        .concat()
    };
    let older = [
        &[b'c'],
        &[0; 24][..],
        b"s\0\0\0\0)\x01>\x02\0\0\0z\x01aN)\x01\xda\x01f)\0)\0)\0z\x01pr\0\0\0\0",
        &[1, 0, 0, 0],
        b"s\0\0\0\0",
    ]
    .concat();
    let header = b"\xa7\x0d\x0d\x0a\0\0\0\0\x01\0\0\0\x02\0\0\0";
    let file = |minor: u8, body: &[u8]| [&[minor], &header[..], body].concat();
    let one = newer(b"N");
    vec![
        file(3, &newer(&newer(b"T"))),
        file(5, &one),
        file(1, &older),
    ]
}

pub(crate) fn natives() -> Vec<Vec<u8>> {
    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x3e\0\x01\0\0\0".to_vec();
    elf.resize(300, 0);
    if let Some(byte) = elf.get_mut(52) {
        *byte = 64;
    }
    let mut pe = b"MZ".to_vec();
    pe.resize(0x80, 0);
    if let Some(byte) = pe.get_mut(0x3c) {
        *byte = 0x80;
    }
    pe.extend(b"PE\0\0\x64\x86\x06\0\0\0\0\0\0\0\0\0\0\0\0\0\xf0\0\x22\0\x0b\x02");
    pe.resize(0x200, 0);
    vec![elf, pe]
}
