//! `taintline env baseline`: an environment as it is now, signed; and reading one again.
//!
//! The signed statement holds the list of all names in the form of a stored tree, and is about the digest of that text. It
//! says *as it was then*, nothing about where it came from. Byte code is not in it, for every import may write some.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use domain::{Digest, Node, PathText, Tree};
use environment::{Cache, Derived, records};
use report::environment::EnvBaselineView;
use serde::{Deserialize, Serialize};
use trust::envelope::Envelope;
use trust::keyfile;
use trust::keys::PrivateKey;
use trust::oms::Bundle;
use trust::statement::{MAX_STATEMENT_BYTES, Statement, Subject};

use super::EnvError;
use super::check::{EnvCheckRequest, find, scan};
use crate::attest;
use crate::error::AppError;
use crate::place::Surroundings;
use crate::seal::own::SigningKey;

/// What the statement is.
const BASELINE: &str = "https://taintline/environment/v1";

/// The most bytes of the file: base64 takes a third more than the statement.
const MAX_FILE: u64 = MAX_STATEMENT_BYTES / 3 * 4 + (64 << 10);

/// What was asked for.
#[derive(Debug, Clone, Default)]
pub struct EnvBaselineRequest {
    /// Interpreter or folder of the environment; the active one by default.
    pub python: Option<PathBuf>,
    /// Where it goes.
    pub output: PathBuf,
    /// The private key; the user's own by default.
    pub key: Option<PathBuf>,
    /// Threads that read.
    pub threads: usize,
}

/// The predicate.
#[derive(Debug, Serialize, Deserialize)]
struct Predicate {
    /// Where the environment was.
    prefix: PathText,
    /// Python's version, where it was known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    python: Option<String>,
    /// When it was signed, as the signer's clock said: RFC 3339.
    signed: String,
    /// All names, as a stored tree has them.
    tree: String,
}

/// Signs an environment as it is.
pub fn baseline(
    surroundings: &Surroundings,
    request: &EnvBaselineRequest,
) -> Result<EnvBaselineView, AppError> {
    let derived = find(surroundings, request.python.as_deref())?;
    let output = surroundings.cwd.join(&request.output);
    outside(&output, &derived)?;
    let signing = SigningKey::take(surroundings, request.key.as_deref())?;
    let key = signing.key();
    let began = SystemTime::now();
    let asked = EnvCheckRequest {
        // What is signed is read, never remembered.
        deep: true,
        threads: request.threads,
        ..EnvCheckRequest::default()
    };
    let snapshot = scan(&derived, &mut Cache::empty(), &asked, began);
    let unread: Vec<_> = snapshot.unread().collect();
    if let Some((first, why)) = unread.first() {
        return Err(EnvError::Unread {
            count: unread.len(),
            first: first.to_string(),
            why: (*why).to_owned(),
        }
        .into());
    }
    let mut tree = Tree::new();
    for (path, node) in &snapshot.flat {
        tree.insert(path.clone(), node.clone());
    }
    let text = tree.encode();
    let digest = Digest::of(&text);
    let prefix = PathText::from(derived.prefix.as_path());
    let predicate = Predicate {
        prefix: prefix.clone(),
        python: derived.python.clone(),
        signed: report::time::rfc3339(host::clock::wall_us()),
        tree: String::from_utf8_lossy(&text).into_owned(),
    };
    write(&output, key, &prefix, digest, predicate)?;
    let report = records::check(&snapshot);
    Ok(EnvBaselineView {
        schema: "taintline.env-baseline/1",
        file: surroundings.shown(&output),
        prefix: prefix.to_string(),
        python: derived.python,
        tree: digest.to_string(),
        files: tree.totals().0,
        bytes: tree.totals().1,
        key: key.public().hint(),
        not_as_recorded: report.mismatched.len() as u64,
    })
}

fn write(
    output: &Path,
    key: &PrivateKey,
    prefix: &PathText,
    digest: Digest,
    predicate: Predicate,
) -> Result<(), EnvError> {
    let subject = Subject {
        name: prefix.to_string(),
        digest: BTreeMap::from([("sha256".to_owned(), digest.to_string())]),
    };
    let statement = Statement::encode(BASELINE, subject, predicate)?;
    let bytes = statement.len() as u64;
    if bytes > MAX_STATEMENT_BYTES {
        let limit = MAX_STATEMENT_BYTES;
        return Err(EnvError::TooLarge { bytes, limit });
    }
    let envelope = Envelope::sign(&statement, key)?;
    let bundle = Bundle::encode(&envelope, key.public(), None)?;
    let failed = |source| EnvError::Write {
        path: output.to_owned(),
        source,
    };
    let mut beside = output.as_os_str().to_owned();
    beside.push(format!(".{}.new", std::process::id()));
    let beside = PathBuf::from(beside);
    let written = std::fs::write(&beside, bundle).and_then(|()| std::fs::rename(&beside, output));
    written.map_err(|source| {
        let _ = std::fs::remove_file(&beside);
        failed(source)
    })
}

/// A baseline that is believed.
pub(super) struct Signed {
    /// The signer's key, by its hint.
    pub(super) key: String,
    /// Digest of the list.
    pub(super) digest: Digest,
    /// The list.
    pub(super) names: BTreeMap<PathText, Node>,
}

/// Reads a baseline that somebody signed whom the user believes.
pub(super) fn read_baseline(
    surroundings: &Surroundings,
    path: &Path,
    keys: &[PathBuf],
    derived: &Derived,
) -> Result<Signed, AppError> {
    let path = surroundings.cwd.join(path);
    outside(&path, derived)?;
    let bytes = keyfile::read(&path, MAX_FILE).map_err(EnvError::from)?;
    let keys = attest::believed(surroundings, keys)?;
    let wrong = |why: String| EnvError::Baseline {
        path: path.clone(),
        why,
    };
    let bundle = Bundle::parse(&bytes, MAX_FILE)
        .map_err(|why| wrong(format!("it is no signed baseline: {why}")))?;
    let believed = keys
        .iter()
        .find_map(|key| Some((key, bundle.envelope.verified_by(key)?)));
    let Some((key, signed)) = believed else {
        let why = "it is not signed by a key that is believed, or it was changed";
        return Err(wrong(why.to_owned()).into());
    };
    let read = Statement::<Predicate>::decode(signed, BASELINE, MAX_STATEMENT_BYTES);
    let (subject, predicate) = read.map_err(|why| wrong(why.to_string()))?;
    let digest = Digest::of(predicate.tree.as_bytes());
    let stated = subject.digest.get("sha256");
    if stated.map(String::as_str) != Some(digest.to_string().as_str()) {
        return Err(wrong(
            "it contradicts itself: its list is another than it is about".to_owned(),
        )
        .into());
    }
    let tree = Tree::decode(predicate.tree.as_bytes()).map_err(|why| wrong(why.to_string()))?;
    let names = tree.iter().map(|(path, node)| (path.clone(), node.clone()));
    Ok(Signed {
        key: key.hint(),
        digest,
        names: names.collect(),
    })
}

/// Refuses a place in the environment itself.
fn outside(path: &Path, derived: &Derived) -> Result<(), EnvError> {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let folder = real(path.parent().unwrap_or(Path::new("/")));
    let roots = derived.layout.roots().iter();
    let inside = roots
        .map(|root| real(&root.path))
        .any(|root| folder.starts_with(root));
    if inside {
        return Err(EnvError::Inside(path.to_owned()));
    }
    Ok(())
}
