//! Start-up code that makers of environments put among the packages without any RECORD.
//!
//! virtualenv, and uv up to some version, add `_virtualenv.py` and a `.pth` that imports it. The name proves nothing: such a
//! file is the best place for somebody who wants to be run at every start. So its bytes are compared, by digest, with those
//! that were published; one that is not among them is told like any other. The `.pth` counts only beside such a file, and with
//! exactly its one line.

use domain::{Digest, Node, PathText};

use crate::snapshot::Snapshot;

/// SHA-256 of published texts of `_virtualenv.py`: virtualenv 20.0 to 21.15, uv.
const PUBLISHED: &[&str] = &[
    "684b8c07932ba4a84ac2e5ae9afe49ef04e92bac3d8d4191d455cf09d093e5fc",
    "ce57d5e0d9b5d7356cb42da7450ba8f9359bdf693e335f4c921626943c77e64d",
    "c9199315871b11b12df226f890a38e66e63191e1adbfb11a66e6861151b33fca",
    "0aeb86546345c1d0fada097536e35525714d5cdbcc2d8eb3f9912a955044fcff",
    "0f20351ea7e90039c46d3fabdef991f28b1e3ff33eb13ee6f0d5cd21ea0e8b14",
    "bec6155ff7bfc88f8e79e481f27fd7ee0a3b40eeca9bfeb41f4c4b997b2f8100",
    "6cf30c56faf2a55228914dbbd17f8088ed371ebb08f5e7fa6fd931f913fcaf1d",
    "07584d2a5d13e0811eb567d78ed2aca0fb60e7defff59a01ca7a48d907bdea51",
];

/// The whole of `_virtualenv.pth`, with and without a line's end.
const LINE: [&[u8]; 2] = [b"import _virtualenv", b"import _virtualenv\n"];

/// Whether a file is one of the two, as published.
pub(super) fn is_of_virtualenv(snapshot: &Snapshot, path: &PathText) -> bool {
    let Some((root, name)) = path.as_str().split_once('/') else {
        return false;
    };
    let digest = |path: &PathText| match snapshot.flat.get(path) {
        Some(Node::File { digest, .. }) => Some(*digest),
        _ => None,
    };
    let module = PathText::from_text(&format!("{root}/_virtualenv.py"));
    let is_published =
        digest(&module).is_some_and(|digest| PUBLISHED.contains(&digest.to_string().as_str()));
    let is_line = |digest: Digest| LINE.iter().any(|line| Digest::of(line) == digest);
    match name {
        "_virtualenv.py" => is_published,
        "_virtualenv.pth" => is_published && digest(path).is_some_and(is_line),
        _ => false,
    }
}
