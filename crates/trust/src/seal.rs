//! Sealing: from a folder as it is to the two texts that are signed.
//!
//! What cannot be sealed whole is not sealed: a pipe, a name that is no UTF-8, a link where links were not allowed, a file
//! that changes while it is read. Every such thing is named at once, not one at a time.

use std::collections::BTreeMap;

use domain::{Digest, PathText};

use crate::certificate::Chain;
use crate::chunks::Blake3;
use crate::envelope::Envelope;
use crate::keys::{PrivateKey, SignError};
use crate::manifest::{Content, Entry, Manifest};
use crate::measure::{
    FileState, Hashed, LinkEnd, Model, Seen, SeenKind, Tally, Task, Unread, Wanted,
};
use crate::name::{Name, collisions};
use crate::oms::{self, Bundle};

/// What is sealed, and how.
#[derive(Debug, Clone)]
pub struct Sealing {
    /// Names at the top or below that are left out.
    pub excluded: Vec<Name>,
    /// Links are sealed: as links, and as the file that they lead to.
    pub links: bool,
    /// Threads that read.
    pub threads: usize,
}

/// A thing that cannot be sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsealable {
    /// Which.
    pub path: PathText,
    /// Why.
    pub why: Obstacle,
}

/// Why a thing cannot be sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Obstacle {
    /// A link, and links were not allowed.
    #[error("it is a symbolic link, and links are sealed only when that is asked for")]
    Link,
    /// A link to nowhere, or to a folder outside.
    #[error("it is a symbolic link that leads to no file, and to no folder inside")]
    LinkOut,
    /// Not a file.
    #[error("it is {0}")]
    Kind(&'static str),
    /// It could not be listed.
    #[error(transparent)]
    Listed(#[from] crate::measure::NotListed),
    /// It could not be read.
    #[error(transparent)]
    Read(#[from] Unread),
}

/// A folder, measured and ready to be signed.
#[derive(Debug)]
pub struct Measured {
    /// All entries.
    pub manifest: Manifest,
    /// What the kernel said of each entry when it was read.
    pub states: BTreeMap<Name, FileState>,
    /// What is left out.
    pub excluded: Tally,
    /// Files, and links that stand for one.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files with other names, somewhere, through which they can be changed.
    pub hard_links: u64,
    /// Names that are one where case plays no role.
    pub collisions: Vec<Vec<Name>>,
}

/// Measures a model.
///
/// # Errors
/// All that cannot be sealed, sorted by path; empty where there is nothing at all to be sealed.
pub fn measure(model: &Model, sealing: &Sealing) -> Result<Measured, Vec<Unsealable>> {
    let listing = model.list(&sealing.excluded);
    let mut obstacles: Vec<Unsealable> = Vec::new();
    let mut obstacle = |path: PathText, why| obstacles.push(Unsealable { path, why });
    for it in listing.unlisted {
        obstacle(it.path, it.why.into());
    }
    let mut tasks = Vec::new();
    for seen in &listing.entries {
        match plan(model, seen, sealing.links) {
            Ok(task) => tasks.extend(task),
            Err(why) => obstacle(text(&seen.name), why),
        }
    }
    let both = Wanted {
        sha256: true,
        tree: true,
    };
    let hashed = if obstacles.is_empty() {
        model.hash(&tasks, both, sealing.threads, None)
    } else {
        Vec::new()
    };
    let mut contents: BTreeMap<Name, Hashed> = BTreeMap::new();
    for (task, result) in tasks.into_iter().zip(hashed) {
        match result {
            Ok(hashed) => drop(contents.insert(task.name, hashed)),
            Err(why) => obstacles.push(Unsealable {
                path: text(&task.name),
                why: why.into(),
            }),
        }
    }
    if !obstacles.is_empty() || contents.is_empty() {
        obstacles.sort_by(|left, right| left.path.cmp(&right.path));
        return Err(obstacles);
    }
    Ok(put_together(
        listing.entries,
        contents,
        listing.excluded,
        sealing,
    ))
}

fn text(name: &Name) -> PathText {
    PathText::from_bytes(name.as_str().as_bytes())
}

/// What is to be read of an entry.
fn plan(model: &Model, seen: &Seen, links: bool) -> Result<Option<Task>, Obstacle> {
    let task = |through_link| Task {
        name: seen.name.clone(),
        through_link,
        size: seen.state.size,
    };
    match &seen.kind {
        SeenKind::File => Ok(Some(task(false))),
        SeenKind::Folder => Ok(None),
        SeenKind::Other(kind) => Err(Obstacle::Kind(kind)),
        SeenKind::Link { .. } if !links => Err(Obstacle::Link),
        SeenKind::Link { .. } => match model.link_end(&seen.name) {
            LinkEnd::File => Ok(Some(task(true))),
            // What is in that folder is sealed under its own names.
            LinkEnd::FolderInside => Ok(None),
            LinkEnd::Elsewhere => Err(Obstacle::LinkOut),
        },
    }
}

fn put_together(
    seen: Vec<Seen>,
    mut contents: BTreeMap<Name, Hashed>,
    excluded: Tally,
    sealing: &Sealing,
) -> Measured {
    let mut names = sealing.excluded.clone();
    names.sort();
    names.dedup();
    let mut measured = Measured {
        manifest: Manifest {
            entries: BTreeMap::new(),
            excluded: names,
        },
        states: BTreeMap::new(),
        excluded,
        files: 0,
        bytes: 0,
        hard_links: 0,
        collisions: collisions(seen.iter().map(|seen| &seen.name)),
    };
    for Seen { name, kind, state } in seen {
        let read = contents.remove(&name);
        let at_reading = read.as_ref().map(|hashed| hashed.state);
        let content = read.and_then(content);
        if let Some(content) = &content {
            measured.files += 1;
            measured.bytes = measured.bytes.saturating_add(content.size);
        }
        // The state of a file is that of the descriptor that was read; a link's own is the listed one.
        let (entry, state) = match (kind, content) {
            (SeenKind::File, Some(content)) => {
                let state = at_reading.unwrap_or(state);
                let mode = state.mode;
                measured.hard_links += u64::from(state.links > 1);
                (Entry::File { mode, content }, state)
            }
            (SeenKind::Link { target }, content) => (Entry::Link { target, content }, state),
            (SeenKind::Folder, _) => (Entry::Folder { mode: state.mode }, state),
            (SeenKind::File | SeenKind::Other(_), _) => continue,
        };
        measured.manifest.entries.insert(name.clone(), entry);
        measured.states.insert(name, state);
    }
    measured
}

fn content(hashed: Hashed) -> Option<Content> {
    Some(Content {
        size: hashed.state.size,
        sha256: hashed.sha256?,
        tree: hashed.tree?,
    })
}

/// The two signed texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signatures {
    /// The model signature: a Sigstore bundle.
    pub bundle: Vec<u8>,
    /// The seal: an envelope.
    pub seal: Vec<u8>,
    /// Bytes of the statements inside of them, in this order.
    pub statements: [u64; 2],
    /// The root that names the model elsewhere.
    pub root: Digest,
    /// The value over all entries.
    pub tree: Blake3,
}

/// A measured folder that could not be signed.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The key.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The text could not be written.
    #[error("the statement could not be written: {0}")]
    Encode(#[from] serde_json::Error),
}

/// Signs what was measured.
pub fn sign(
    model: &Model,
    measured: &Measured,
    links: bool,
    key: &PrivateKey,
    chain: Option<&Chain>,
) -> Result<Signatures, SealError> {
    let manifest = &measured.manifest;
    let tree = manifest.tree();
    let files = manifest.entries.iter().filter_map(|(name, entry)| {
        let content = entry.content()?;
        let name = (model.single() != Some(name)).then_some(name);
        Some((name, content.sha256))
    });
    let files: Vec<_> = files.collect();
    let (root, statement) = oms::encode(
        model.name(),
        &files,
        &manifest.excluded,
        links,
        &tree.to_string(),
    )?;
    let envelope = Envelope::sign(&statement, key)?;
    let bundle_statement = statement.len() as u64;
    drop(statement);
    let bundle = Bundle::encode(&envelope, key.public(), chain)?;
    drop(envelope);
    let statement = manifest.encode(model.name(), &root)?;
    let seal = serde_json::to_vec(&Envelope::sign(&statement, key)?)?;
    Ok(Signatures {
        bundle,
        seal,
        statements: [bundle_statement, statement.len() as u64],
        root,
        tree,
    })
}
