//! Inputs that are heavy on purpose: what costs more than its size shows itself here, not in random bytes.
//!
//! Each is some hundred kilobytes and must be answered within the time and memory that any input may take.

pub(crate) use crate::container_seeds::{dump_bombs, stream_bombs, tar_bombs};
pub(crate) use crate::models_seeds::{json_bombs, model_bombs};
use crate::seeds::zip_of;

/// How often a bomb refers to its one long value.
const REFERENCES: usize = 50_000;
/// How long that value is, in bytes.
const LONG: usize = 128 << 10;

pub(crate) use crate::text_seeds::bombs::{markups, named_texts, sources, templates};

pub(crate) fn none() -> Vec<Vec<u8>> {
    Vec::new()
}

/// Pickles: a value is built once and met under very many names.
pub(crate) fn pickles() -> Vec<Vec<u8>> {
    let long = "a".repeat(LONG);
    let size = u32::try_from(LONG).unwrap_or_default().to_le_bytes();
    let bytes = [b"B", size.as_slice(), long.as_bytes()].concat();
    let text = [b"X", size.as_slice(), long.as_bytes()].concat();
    let of = |value: &[u8]| {
        let many = b"h\x00".repeat(REFERENCES);
        [b"\x80\x03", value, b"q\x000](", &many, b"e."].concat()
    };
    let kind = format!("ctorch\n{long}\n");
    let tensor = [
        "ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storage",
        &kind,
        "X\x01\0\0\x000X\x03\0\0\0cpuK\x01tQK\0))N)tR",
    ];
    vec![
        of(&bytes),
        of(&text),
        of([
            &text,
            b"X\x06\0\0\0latin1\x86c_codecs\nencode\n0".as_slice(),
        ]
        .concat()
        .as_slice()),
        of(&[
            b"c_codecs\nencode\n",
            text.as_slice(),
            b"X\x06\0\0\0latin1\x86R",
        ]
        .concat()),
        of(format!("c{long}\nname\n").as_bytes()),
        of(format!("ctorch._utils\n_rebuild{long}\n)R").as_bytes()),
        of(format!("c__main__\n{long}\n)R").as_bytes()),
        of(tensor.concat().as_bytes()),
        of(&[b"]".to_vec(), b"]a".repeat(LONG)].concat()),
        // A dict that holds itself under two names, and one that does so by position.
        b"\x80\x02}q\x00(X\x01\0\0\0ah\x00X\x01\0\0\0bh\x00u.".to_vec(),
        [
            b"\x80\x02]q\x00(".to_vec(),
            b"h\x00".repeat(REFERENCES),
            b"e.".to_vec(),
        ]
        .concat(),
        [
            b"\x80\x02".to_vec(),
            b"]".repeat(4 * LONG),
            b"a".repeat(4 * LONG),
            b".".to_vec(),
        ]
        .concat(),
        [b"\x80\x02".to_vec(), b"(".repeat(4 * LONG)].concat(),
        [b"\x80\x02N".to_vec(), b"\x86".repeat(LONG), b".".to_vec()].concat(),
    ]
}

/// Archives: very many members of one name, and very long names.
pub(crate) fn zips() -> Vec<Vec<u8>> {
    let same = vec![("c/data.pkl", b"N.".as_slice()); 8000];
    let name = "c/".to_owned() + &"\u{e9}".repeat(16_000);
    let long = vec![(name.as_str(), b"x".as_slice()); 8];
    vec![zip_of(&same), zip_of(&long)]
}

/// Headers: one tensor very often, and a shape of very many dimensions.
pub(crate) fn headers() -> Vec<Vec<u8>> {
    let tensor = r#""a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"#.repeat(8000);
    let shape = "1,".repeat(REFERENCES);
    vec![
        format!("{{{}}}", tensor.trim_end_matches(',')).into_bytes(),
        format!(r#"{{"a":{{"dtype":"U8","shape":[{shape}1],"data_offsets":[0,1]}}}}"#).into_bytes(),
        [nested(), vec![b"{".to_vec()]].concat().concat(),
    ]
}

/// Lock files: one array very often, tables within tables, one requirement of many lines.
pub(crate) fn lock_bombs() -> Vec<Vec<u8>> {
    let array = format!("\0version = 1\na = [{}]\n", "1,".repeat(LONG));
    let deep = format!("\0a = {}", "[".repeat(LONG));
    let keys = format!("\x01{} = 1\n", "a.".repeat(LONG));
    let lines = format!("\x02six==1 {}", "\\\n --hash=sha256:ab ".repeat(LONG / 16));
    [array, deep, keys, lines].map(String::into_bytes).to_vec()
}

/// JSON that nests until a reader that recurses without a limit has no stack left.
pub(crate) fn nested() -> Vec<Vec<u8>> {
    let deep = |open: &str| open.repeat(LONG).into_bytes();
    vec![deep("["), deep(r#"{"body":"#), deep(r#"{"v":1,"body":["#)]
}
