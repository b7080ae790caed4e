//! Where fuzzing starts: small good inputs of each kind, built in code, and the words that each parser knows.
//!
//! Nothing is read from a file and no corpus is kept: what is here is enough to get behind the first checks of every
//! parser, and a reader sees what "good" looks like.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::sensor::{Envelope, Hello, Message, PROTOCOL, Way};
use domain::{
    Act, Body, Digest, Entry, Fingerprint, Gap, Node, Number, PathText, Phases, Process, RngStates,
    RunId, StepRecord, StepSource, Tier, Tree,
};

pub(crate) use crate::container_seeds::{
    NPY, STREAM, TAR, arrays, dumps, old_files, streams, tars,
};
pub(crate) use crate::host_targets::seeds::{changes, descriptions, lives, messages, signals};
pub(crate) use crate::ledger_seeds::{
    COSIGNERS, PROVED_ENTRY, bundles, cosigned_heads, notes, policies, proofs, requests, sign,
    tile_names, tree_head_texts, verifier_key, verifier_keys, wals,
};
pub(crate) use crate::models_seeds::{
    KERAS, MODELS, SCRIPT, byte_codes, keras_configs, marshals, models, natives, scripts,
};
pub(crate) use crate::text_seeds::{TEXT, ggufs, markups, named_texts, sources, templates};
pub(crate) use crate::time_targets::seeds::{DER, time_requests, time_tokens};
pub(crate) use crate::training_seeds::{
    batch_texts, readings, run_specs, sketches, step_samples, summaries,
};
pub(crate) use crate::trust_targets::seeds::{
    SIGNED, dsse_envelopes, oms_bundles, oms_statements, seal_manifests,
};

pub(crate) const NONE: &[&[u8]] = &[];
pub(crate) const ZIP: &[&[u8]] = &[
    b"PK\x03\x04",
    b"PK\x01\x02",
    b"PK\x05\x06",
    b"PK\x06\x06",
    b"PK\x06\x07",
    b"/data.pkl",
    b"/DATA.PKL",
    b"/data/0",
    b"/byteorder",
    b"big",
    b"/version",
    b"/constants.pkl",
    b"\x01\0\x18\0",
    b"\xff\xff\xff\xff",
    b"GGUF",
    b"\x93NUMPY",
    b"ustar",
    b"\x80\x02",
    b"\x7fELF",
];
pub(crate) const PICKLE: &[&[u8]] = &[
    b"ctorch._utils\n_rebuild_tensor_v2\n",
    b"ccollections\nOrderedDict\n",
    b"ctorch._utils\n_rebuild_parameter\n",
    b"ctorch\nFloatStorage\n",
    b"cbuiltins\ngetattr\n",
    b"cos\nsystem\n",
    b"tQ",
    b"tR",
    b")R",
    b"(d",
    b"(l",
    b"](",
    b"}(",
    b"u",
    b"e",
    b"s",
    b"b",
    b"a",
    b"0",
    b"2",
    b"1",
    b"\x85",
    b"\x86",
    b"\x87",
    b"\x94",
    b"\x93",
    b"\x81",
    b"\x92",
    b"o",
    b"q\x00",
    b"h\x00",
    b"r\0\0\0\0",
    b"j\0\0\0\0",
    b"p0\n",
    b"g0\n",
    b"p-1\n",
    b"g99999999999999999999\n",
    b"I01\n",
    b"I0x1\n",
    b"L1L\n",
    b"F1e999\n",
    b"S'a\\x41'\n",
    b"Va\\u0041\n",
    b"\x95\x08\0\0\0\0\0\0\0",
    b"\x95\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\x8a\x09\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"\x8b\xff\xff\xff\x7f",
    b"\x8d\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"\x8e\x02\0\0\0\0\0\0\0ab",
    b"\x96\x01\0\0\0\0\0\0\0a",
    b"\x97",
    b"\x98",
    b"\x82\x01",
    b"\x84\xff\xff\xff\xff",
    b"i__main__\nA\n",
    b"Pid\n",
    b".",
    b"\x8f",
    b"\x90",
    b"\x91",
    b"storage",
    b"X\x03\0\0\0cpu",
    b"J\xff\xff\xff\xff",
    b"K\x00",
    b"M\0\0",
    b"N",
    b"\x88",
    b"\x89",
    b"(",
    b"t",
    b"R",
    b"Q",
];
pub(crate) const SAFETENSORS: &[&[u8]] = &[
    b"\"__metadata__\":{}",
    b"\"dtype\":\"F32\"",
    b"\"dtype\":\"BF16\"",
    b"\"shape\":[]",
    b"\"shape\":[0]",
    b"\"shape\":[4294967296,4294967296]",
    b"\"data_offsets\":[0,0]",
    b"18446744073709551615",
    b"9223372036854775808",
    b"\"a\":",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b"\\u0000",
    b"\\ud800",
    b"-1",
    b"1e3",
    b"null",
];
pub(crate) const NOTE: &[&[u8]] = &[
    b"\n\n",
    b"\xe2\x80\x94 ",
    b"\n\xe2\x80\x94 ",
    b"+",
    b"=",
    b"==",
    b"\n",
    b" ",
    b"AAAAAAA=",
    b"\xc2\x85",
    b"\xe2\x80\xa8",
    b"18446744073709551615",
    b"00",
    b"+1",
    b"-0",
];
pub(crate) const TILE: &[&[u8]] = &[
    b"tile/", b"entries", b"0/", b"7/", b"8/", b"x000/", b"x999/", b"999", b"000", b".p/",
    b".p/255", b".p/256", b"+1", b"../",
];
pub(crate) const TREE: &[&[u8]] = &[
    b"taintline-tree 1\n",
    b"f 644 ",
    b"l ",
    b"t ",
    b"u ",
    b"\t",
    b"\n",
    b"\\x0a",
    b"\\x5c",
    b"\\x41",
    b"\\X0a",
    b"18446744073709551615",
    b"37777777777",
    b"+",
    b"0",
    b" ",
    b"\xc2\x85",
    b"\xe2\x80\xa8",
];
pub(crate) const JSON: &[&[u8]] = &[
    b"null",
    b"true",
    b"{}",
    b"[]",
    b"\"\"",
    b"0",
    b"-1",
    b"18446744073709551615",
    b"-9223372036854775808",
    b"1e400",
    b"1.5",
    b"\"NaN\"",
    b"\"-Infinity\"",
    b"\\u0000",
    b"\\ud83d\\ude00",
    b"\\ud800",
    b"\"kind\":\"act\"",
    b"\"kind\":\"gap\"",
    b"\"kind\":\"load\"",
    b"\"kind\":\"write\"",
    b"\"kind\":\"steps\"",
    b"\"kind\":\"finding\"",
    b"\"act\":\"end\"",
    b"\"act\":\"launch\"",
    b"\"act\":\"clock_back\"",
    b"\"by_us\":1",
    b"\"v\":1",
    b"\"v\":2",
    b"\\\\x41",
];
pub(crate) const ESCAPE: &[&[u8]] = &[
    b"\\",
    b"\\x",
    b"\\x5c",
    b"\\x41",
    b"\\xff",
    b"\\XFF",
    b"\\x+1",
    b"\\x 1",
    b"\0",
    b"\x7f",
    b"\xc2\x85",
    b"\xe2\x80\xae",
    b"\xf0\x9f\x98\x80",
    b"\xed\xa0\x80",
    b"/",
];
pub(crate) const RECORD: &[&[u8]] = &[
    b"sha256=",
    b"sha1=",
    b",",
    b"\"",
    b"\"\"",
    b"\r\n",
    b"\n",
    b"../",
    b"/",
    b"./",
    b"x.py",
    b"y.py",
    b".pyc",
    b"\0",
    b"import ",
    b"import\t",
    b"#",
    b"Name: ",
    b"Version: ",
    b"{\"dir_info\":{\"editable\":true}}",
    b"{\"vcs_info\":{\"commit_id\":\"",
    b"\xef\xbb\xbf",
];
pub(crate) const SUMMARY: &[&[u8]] = &[
    b"taintline-checkpoint 1\n",
    b"complete yes\n",
    b"complete no\n",
    b"g ",
    b"s none -\t",
    b"s bool true\t",
    b"s int -0\t",
    b"s int +1\t",
    b"s float NaN\t",
    b"s float inf\t",
    b"s float -0e0\t",
    b"s float 1e5\t",
    b"s float 1e999\t",
    b"s text ",
    b"s many 1:0000000000000001\t",
    b"t ",
    b"- - -\t",
    b"\\x20",
    b"\\x41",
    b"\\xff",
    b"0x0",
    b"+1",
    b" ",
    b"\t",
    b"\n",
];

/// A ZIP archive of members that are stored as they are.
pub(crate) fn zip_of(members: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut bytes, mut directory) = (Vec::new(), Vec::new());
    for (name, data) in members {
        let offset = low32(bytes.len()).to_le_bytes();
        let size = low32(data.len()).to_le_bytes();
        let name_size = (name.len() as u64).to_le_bytes();
        // Flags, method, time, date and checksum are all nought; the two sizes are the same.
        let mut common = vec![0; 12];
        common.extend(size);
        common.extend(size);
        common.extend(&name_size[..2]);
        common.extend([0; 2]);
        bytes.extend(b"PK\x03\x04\x14\0");
        bytes.extend(&common);
        bytes.extend(name.as_bytes());
        bytes.extend(*data);
        directory.extend(b"PK\x01\x02\x14\0\x14\0");
        directory.extend(&common);
        directory.extend([0; 10]);
        directory.extend(offset);
        directory.extend(name.as_bytes());
    }
    let (at, size) = (low32(bytes.len()), low32(directory.len()));
    let count = (members.len() as u64).to_le_bytes();
    bytes.extend(directory);
    bytes.extend(b"PK\x05\x06\0\0\0\0");
    bytes.extend(&count[..2]);
    bytes.extend(&count[..2]);
    bytes.extend(size.to_le_bytes());
    bytes.extend(at.to_le_bytes());
    bytes.extend([0; 2]);
    bytes
}

fn low32(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// A checkpoint in torch's archive form around this pickle, with the two storages that [`pickles`] name.
pub(crate) fn torch_zip(pickle: &[u8]) -> Vec<u8> {
    zip_of(&[
        ("c/data.pkl", pickle),
        ("c/byteorder", b"little"),
        ("c/data/0", &[7; 24]),
        ("c/data/1", &[9; 4]),
        ("c/version", b"3\n"),
    ])
}

pub(crate) fn zips() -> Vec<Vec<u8>> {
    vec![
        torch_zip(&model_pickle()),
        zip_of(&[("a", b"1"), ("A", b"2"), ("dir/b", &[0; 300])]),
        zip_of(&[]),
        wide_zip(),
    ]
}

/// One member whose sizes and offset are in 64-bit fields.
fn wide_zip() -> Vec<u8> {
    let mut bytes =
        b"PK\x03\x04\x2d\0\0\0\0\0\0\0\0\0\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\x01\0\0\0nab"
            .to_vec();
    let directory = bytes.len() as u64;
    bytes.extend(b"PK\x01\x02\x2d\0\x2d\0\0\0\0\0\0\0\0\0\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\x01\0\x1c\0");
    bytes.extend([0; 10]);
    bytes.extend(b"\xff\xff\xff\xffn\x01\0\x18\0");
    for value in [2_u64, 2, 0] {
        bytes.extend(value.to_le_bytes());
    }
    let end = bytes.len() as u64;
    bytes.extend(b"PK\x06\x06\x2c\0\0\0\0\0\0\0\x2d\0\x2d\0\0\0\0\0\0\0\0\0");
    for value in [1, 1, end - directory, directory] {
        bytes.extend(value.to_le_bytes());
    }
    bytes.extend(b"PK\x06\x07\0\0\0\0");
    bytes.extend(end.to_le_bytes());
    bytes.extend(
        b"\x01\0\0\0PK\x05\x06\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0",
    );
    bytes
}

fn text(text: &str) -> Vec<u8> {
    [
        b"X",
        low32(text.len()).to_le_bytes().as_slice(),
        text.as_bytes(),
    ]
    .concat()
}

/// `_rebuild_tensor_v2` over a storage, as `torch.save` writes it.
fn tensor(kind: &str, key: &str, elements: u8, offset: u8, shape: &[u8], stride: &[u8]) -> Vec<u8> {
    let numbers = |list: &[u8]| {
        let items = list.iter().flat_map(|number| [b'K', *number]);
        [b"(".to_vec(), items.collect(), b"t".to_vec()].concat()
    };
    let storage = format!("ctorch\n{kind}\n");
    let parts: [&[u8]; 14] = [
        b"ctorch._utils\n_rebuild_tensor_v2\n((",
        &text("storage"),
        storage.as_bytes(),
        &text(key),
        &text("cpu"),
        b"K",
        &[elements],
        b"tQK",
        &[offset],
        &numbers(shape),
        &numbers(stride),
        b"\x89",
        b"ccollections\nOrderedDict\n)R",
        b"tR",
    ];
    parts.concat()
}

fn model_pickle() -> Vec<u8> {
    let parts: [&[u8]; 13] = [
        b"\x80\x02}q\x00(",
        &text("model"),
        b"ccollections\nOrderedDict\n)Rq\x01(",
        &text("w"),
        &tensor("FloatStorage", "0", 6, 0, &[2, 3], &[3, 1]),
        &text("view"),
        &tensor("FloatStorage", "0", 6, 1, &[3, 1], &[1, 3]),
        &text("b"),
        &tensor("BFloat16Storage", "1", 2, 0, &[2], &[1]),
        b"u",
        &text("lr"),
        b"G\x3f\x33\xa9\x2a\x30\x55\x32\x61",
        &[
            text("betas"),
            b"K\x01K\x02\x86".to_vec(),
            text("self"),
            b"h\x00u.".to_vec(),
        ]
        .concat(),
    ];
    parts.concat()
}

pub(crate) fn pickles() -> Vec<Vec<u8>> {
    vec![
        model_pickle(),
        b"\x80\x04\x95\x1c\0\0\0\0\0\0\0\x8c\x05posix\x94\x8c\x06system\x94\x93\x94\x8c\x02id\x94\x85\x94R\x94.".to_vec(),
        b"(dp0\nS'a'\np1\nI1\nsVb\\u00e9\np2\n(lp3\nL12345678901234567890L\naF1.5\nas(i__main__\nA\np4\n(dbas.".to_vec(),
        b"\x80\x05\x8f(K\x01K\x02\x90N\x96\x02\0\0\0\0\0\0\0ab\x97\x98\x8a\x09\xff\xff\xff\xff\xff\xff\xff\xff\x7f\x87.".to_vec(),
        b"\x80\x02c__main__\nB\n)\x81}X\x01\0\0\0aK\x01sbc__main__\nC\n)}\x92(K\x01K\x02e\x82\x01\x86.".to_vec(),
    ]
}

/// Programs one behind another, and one whose frame ends within an opcode.
pub(crate) fn pickle_streams() -> Vec<Vec<u8>> {
    let mut all = vec![pickles().concat()];
    all.push(
        [
            b"\x80\x04\x95\x07\0\0\0\0\0\0\0X\x1e\0\0\0AB".as_slice(),
            &[b'x'; 28],
            b"0.cos\ngetcwd\n)R.",
        ]
        .concat(),
    );
    all.extend(pickles());
    all
}

const HEADER: &str = r#"{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},"b.weight":{"dtype":"BF16","shape":[4],"data_offsets":[16,24]}}"#;

pub(crate) fn with_header(header: &[u8]) -> Vec<u8> {
    let size = (header.len() as u64).to_le_bytes();
    [size.as_slice(), header, &[5; 24]].concat()
}

pub(crate) fn safetensors_headers() -> Vec<Vec<u8>> {
    vec![
        HEADER.into(),
        r#"{"e":{"dtype":"F64","shape":[0],"data_offsets":[0,0]},"s":{"dtype":"U8","shape":[],"data_offsets":[0,1]}}"#.into(),
        b"{}".into(),
    ]
}

pub(crate) fn safetensors() -> Vec<Vec<u8>> {
    safetensors_headers()
        .iter()
        .map(|header| with_header(header))
        .collect()
}

pub(crate) fn checkpoints() -> Vec<Vec<u8>> {
    [zips(), safetensors()].concat()
}

pub(crate) fn sniffs() -> Vec<Vec<u8>> {
    let magic: [&[u8]; 6] = [
        b"GGUF\x03\0\0\0",
        b"\x93NUMPY\x01\0",
        b"\x89HDF\r\n\x1a\n",
        b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02",
        b"\x1f\x8b\x08\0",
        b"\x7fELF\x02",
    ];
    [
        checkpoints(),
        magic.map(<[u8]>::to_vec).to_vec(),
        vec![Vec::new()],
    ]
    .concat()
}

fn path(text: &str) -> PathText {
    PathText::from_bytes(text.as_bytes())
}

pub(crate) fn trees() -> Vec<Vec<u8>> {
    let mut tree = Tree::new();
    let file = Node::File {
        size: 12,
        mode: 0o644,
        digest: Digest::of(b"a"),
    };
    tree.insert(path("torch/optim/adamw.py"), file);
    let link = Node::Link {
        target: path("../b c"),
    };
    tree.insert(path("lib64"), link);
    let unread = Node::Unread {
        reason: "permission denied".to_owned(),
    };
    tree.insert(path("z\n\\"), unread);
    let inner = tree.to_node();
    tree.insert(path("inner"), inner);
    vec![tree.encode(), Tree::new().encode()]
}

pub(crate) fn entries() -> Vec<Vec<u8>> {
    let process = Process {
        boot: "b1".to_owned(),
        pid: 7,
        started: 99,
    };
    let gap = Gap {
        what: "steps".to_owned(),
        why: "no sensor\n".to_owned(),
    };
    let steps = domain::entry::Steps {
        process: process.clone(),
        rank: Some(1),
        first: 1,
        last: 20,
        count: 20,
        segment: Digest::of(b"s"),
    };
    let write = domain::entry::Write {
        path: path("/c/step-400.pt"),
        from: Some(path("/c/.tmp")),
        digest: Some(Digest::of(b"w")),
        identity: None,
        process,
        rank: None,
        step: Some(400),
        summary: Some(Digest::of(b"m")),
    };
    let bodies = [
        Body::Write(write),
        Body::Steps(steps),
        Body::Gap(gap),
        Body::Act(Act::ClockBack { by_us: -5 }),
        Body::Act(Act::Interrupted),
    ];
    let entry = |(seq, body)| Entry {
        v: 1,
        run: RunId::new(1_700_000_000_000, [3; 10]),
        seq,
        event_us: -1,
        capture_us: i64::MAX,
        tier: Tier::InProcess,
        body,
    };
    let encoded = (0..).zip(bodies).map(entry).map(|entry| entry.encode());
    encoded.filter_map(Result::ok).collect()
}

pub(crate) fn envelopes() -> Vec<Vec<u8>> {
    let step = StepRecord {
        step: 3,
        source: StepSource::Counted,
        optimizer: 0,
        losses: vec![Number(0.1), Number(f64::NAN)],
        gradient_norm: Some(Number(f64::INFINITY)),
        gradient_norm_before_clip: None,
        learning_rates: vec![Number(-0.0), Number(f64::MIN_POSITIVE)],
        parameters: Some(Fingerprint::from_bits(u128::MAX)),
        optimizer_state: None,
        begun: None,
        rng: RngStates::default(),
        batches: vec![Fingerprint::from_bits(1)],
        phases: Phases::default(),
        sample: Some(Box::default()),
        scheduled: None,
        readings: readings(),
        passes: None,
        waits: Vec::new(),
        reported: Vec::new(),
        replica: Some(Box::new(domain::Replica {
            world: 7,
            rank: 1,
            size: 2,
            tensors: 1,
            parts: "AQIDBA".to_owned(),
            ..domain::Replica::default()
        })),
    };
    let hello = Hello {
        protocol: PROTOCOL,
        python: "3.11.7 cpython".to_owned(),
        executable: path("/usr/bin/python3"),
        prefix: path("/usr"),
        base_prefix: path("/usr"),
        argv: vec![path("train.py"), PathText::from_bytes(b"\xff")],
        cwd: path("/home/a"),
        sys_path: vec![path("")],
        roots: vec![("purelib".to_owned(), path("/s"))],
        rank: Some(0),
        local_rank: None,
        world_size: Some(2),
        chained: None,
    };
    let saved = Message::Saved {
        path: path("/tmp/a.pt"),
        step: Some(3),
        way: Way::Torch,
    };
    let bye = Message::Bye {
        dropped: 1,
        exception: Some("ValueError".to_owned()),
    };
    let messages = [
        Message::Step(Box::new(step)),
        Message::Hello(hello),
        saved,
        bye,
    ];
    let envelope = |(seq, body)| Envelope {
        seq,
        at_us: 1,
        body,
    };
    let encoded = (0..).zip(messages).map(envelope);
    encoded
        .filter_map(|it| serde_json::to_vec(&it).ok())
        .collect()
}

pub(crate) fn path_texts() -> Vec<Vec<u8>> {
    vec![
        b"a\xff\n\\x5c\\x41".to_vec(),
        "ckpt/\u{e9}.pt".into(),
        Vec::new(),
    ]
}

pub(crate) fn names() -> Vec<Vec<u8>> {
    vec![
        Digest::of(b"").to_string().into_bytes(),
        Fingerprint::from_bits(5).to_string().into_bytes(),
        RunId::new(1, [1; 10]).to_string().into_bytes(),
    ]
}

pub(crate) fn records() -> Vec<Vec<u8>> {
    let digest = URL_SAFE_NO_PAD.encode(Digest::of(b"x").as_bytes());
    let good = format!(
        "x.py,sha256={digest},1\ny.py,,\r\n\"gone,\"\".py\",sha256={digest},1\n../../bin/x,,\n/abs.py,sha256=AA,1\nx-1.dist-info/RECORD,,\n"
    );
    vec![good.into_bytes(), b"x.py,\"\n".to_vec()]
}

/// Words of lock files.
pub(crate) const LOCK: &[&[u8]] = &[
    b"version = 1",
    b"lock-version = \"1.0\"",
    b"[[package]]",
    b"[[packages]]",
    b"name = ",
    b"wheels = [",
    b"hashes = {",
    b"sha256:",
    b"--hash=",
    b"==",
    b"-r ",
    b"\\\n",
    b" # ",
    b" @ file:///",
];

pub(crate) fn lock_files() -> Vec<Vec<u8>> {
    let digest = Digest::of(b"x");
    let texts = [
        format!(
            "\0version = 1\n[[package]]\nname = \"six\"\nversion = \"1.0\"\nsource = {{ registry = \"r\" }}\nwheels = [{{ url = \"h/six-1.0-py3-none-any.whl\", hash = \"sha256:{digest}\" }}]\n"
        ),
        format!(
            "\x01lock-version = \"1.0\"\n[[packages]]\nname = \"six\"\nversion = \"1.0\"\n[[packages.wheels]]\nname = \"six-1.0-py3-none-any.whl\"\nhashes = {{ sha256 = \"{digest}\" }}\n"
        ),
        format!(
            "\x02six[a]==1.0 ; python_version > '3' \\\n  --hash=sha256:{digest} # note\n-r more.txt\n"
        ),
    ];
    texts.map(String::into_bytes).to_vec()
}

/// A wheel of files without bytes, whose check sums are nought.
pub(crate) fn wheels() -> Vec<Vec<u8>> {
    let members: [(&str, &[u8]); 4] = [
        ("six.py", b""),
        ("six-1.0.data/scripts/six", b""),
        ("six-1.0.dist-info/METADATA", b""),
        ("six-1.0.dist-info/RECORD", b""),
    ];
    vec![zip_of(&members)]
}

pub(crate) fn papers() -> Vec<Vec<u8>> {
    let texts: [&[u8]; 7] = [
        b"\0Metadata-Version: 2.1\nName: torch\nVersion: 2.0\n\nName: no\n",
        b"\x01uv\n",
        b"\x02{\"url\":\"file:///a\",\"dir_info\":{\"editable\":true}}",
        b"\x03x\ny\n",
        b"\x04../x.py\n../y.py\n/etc/passwd\n",
        b"\x05Name: old\nVersion: 1\n",
        b"\x06import sys; sys.exit()\n# note\nfolder\n",
    ];
    texts.map(<[u8]>::to_vec).to_vec()
}
