//! `taintline diff A.pt B.pt`: two checkpoints, tensor by tensor, on every element. No torch, nothing executed.
//!
//! The work is cut into pieces of a few megabytes and shared among threads. A piece is first compared as bytes, which
//! runs at the speed of reading; only pieces that differ are measured, and the equal rest of a changed tensor is read a
//! second time for its norm. So two checkpoints that are alike cost hardly more than reading them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use domain::Gap;
use formats::checkpoint::{ByteOrder, Checkpoint, Reading, Tensor, read};
use report::view::{ScalarChangeView, TensorChangeView, WeightsView};
use training::ElementKind;
use training::weights::Apart;

use crate::checkpoint::{Opened, kept, stated};
use crate::error::AppError;

/// Bytes of one piece of work.
const PIECE_BYTES: u64 = 8 << 20;
/// Bytes that are read and compared at a time; both buffers stay in the second-level cache.
const BUFFER_BYTES: usize = 256 << 10;
/// Of a multiple the rest must be below this fraction.
const TOLERANCE: f64 = 1e-4;
/// Names that are listed of tensors that only one side has, and of plain values that differ.
const LISTED_MAX: usize = 1000;

/// A checkpoint that is open.
struct Side {
    file: File,
    name: String,
    size: u64,
    checkpoint: Checkpoint,
}

impl Side {
    fn open(path: &Path) -> Result<Self, AppError> {
        let refuse = |why: String| AppError::Checkpoint {
            path: path.display().to_string(),
            why,
        };
        let failed = |error: io::Error| refuse(error.to_string());
        let file = File::open(path).map_err(failed)?;
        let meta = file.metadata().map_err(failed)?;
        if !meta.is_file() {
            return Err(refuse("it is no regular file".to_owned()));
        }
        let opened = Opened::new(&file, meta.len());
        let checkpoint = match read(&opened).map_err(failed)? {
            Reading::Checkpoint(checkpoint) => checkpoint,
            Reading::NotReadable(why) => return Err(refuse(why.to_string())),
        };
        Ok(Self {
            file,
            name: path.display().to_string(),
            size: meta.len(),
            checkpoint,
        })
    }

    /// Of a name that stands twice the last counts, as in a loader's dict.
    fn tensors(&self) -> BTreeMap<&str, &Tensor> {
        let tensors = self.checkpoint.tensors.iter();
        tensors
            .map(|tensor| (tensor.name.as_str(), tensor))
            .collect()
    }

    fn scalars(&self) -> BTreeMap<&str, String> {
        let shown = self.checkpoint.scalars.iter();
        shown
            .map(|(name, value)| (name.as_str(), kept(value).to_string()))
            .collect()
    }
}

/// Two tensors of one name that can be compared byte by byte.
struct Pair<'a> {
    before: &'a Tensor,
    after: &'a Tensor,
    /// `None`: bytes are compared, values are not measured.
    kind: Option<ElementKind>,
    total: Mutex<Total>,
}

#[derive(Default)]
struct Total {
    apart: Apart,
    differs: bool,
    /// Pieces that were equal and are not measured yet: offset and length within the tensor.
    equal: Vec<(u64, u64)>,
    failed: Option<String>,
}

/// Compares the checkpoint at `before` with that at `after`, with `threads` threads.
pub fn compare(before: &Path, after: &Path, threads: usize) -> Result<WeightsView, AppError> {
    let (old, new) = (Side::open(before)?, Side::open(after)?);
    let (old_tensors, new_tensors) = (old.tensors(), new.tensors());
    let mut view = WeightsView {
        schema: "taintline.weights/1",
        left: old.name.clone(),
        right: new.name.clone(),
        bytes: (old.size, new.size),
        steps: (stated(&old.checkpoint), stated(&new.checkpoint)),
        added: missing(&new_tensors, &old_tensors),
        removed: missing(&old_tensors, &new_tensors),
        changed: Vec::new(),
        unchanged: 0,
        scalars: scalars(&old.scalars(), &new.scalars()),
        not_compared: Vec::new(),
    };
    for side in [&old, &new] {
        let gaps = side.checkpoint.gaps.iter().take(LISTED_MAX);
        view.not_compared.extend(gaps.map(|gap| Gap {
            what: side.name.clone(),
            why: gap.to_string(),
        }));
    }
    let mut pairs = Vec::new();
    for (name, before) in &old_tensors {
        if let Some(after) = new_tensors.get(name) {
            let orders = (old.checkpoint.byte_order, new.checkpoint.byte_order);
            match pair(before, after, orders) {
                Ok(pair) => pairs.push(pair),
                Err(change) => view.changed.push(*change),
            }
        }
    }
    measure(&pairs, &old.file, &new.file, threads.max(1));
    for pair in pairs {
        conclude(pair, &mut view);
    }
    let largest_first = |a: &TensorChangeView, b: &TensorChangeView| {
        let size = |change: &TensorChangeView| change.relative.unwrap_or(f64::INFINITY);
        size(b)
            .total_cmp(&size(a))
            .then_with(|| a.name.cmp(&b.name))
    };
    view.changed.sort_by(largest_first);
    Ok(view)
}

fn missing(one: &BTreeMap<&str, &Tensor>, other: &BTreeMap<&str, &Tensor>) -> Vec<String> {
    let names = one.keys().filter(|name| !other.contains_key(*name));
    names.map(|name| (*name).to_owned()).collect()
}

fn scalars(old: &BTreeMap<&str, String>, new: &BTreeMap<&str, String>) -> Vec<ScalarChangeView> {
    let mut names: Vec<&&str> = old.keys().chain(new.keys()).collect();
    names.sort_unstable();
    names.dedup();
    let changed = names
        .into_iter()
        .filter(|name| old.get(*name) != new.get(*name));
    changed
        .take(LISTED_MAX)
        .map(|name| ScalarChangeView {
            name: (*name).to_owned(),
            before: old.get(name).cloned(),
            after: new.get(name).cloned(),
        })
        .collect()
}

/// The pair, or the change that can be told without looking at the bytes.
fn pair<'a>(
    before: &'a Tensor,
    after: &'a Tensor,
    orders: (ByteOrder, ByteOrder),
) -> Result<Pair<'a>, Box<TensorChangeView>> {
    let form = |tensor: &Tensor| (tensor.dtype, tensor.shape.clone());
    let laid_out = |tensor: &Tensor| (tensor.stride.clone(), tensor.bytes);
    let contiguous = before.is_contiguous() && after.is_contiguous();
    let same_layout = contiguous || laid_out(before) == laid_out(after);
    if form(before) != form(after)
        || !same_layout
        || before.bytes != after.bytes
        || orders.0 != orders.1
    {
        let mut change = TensorChangeView::named(&after.name, &after.shape, after.dtype);
        change.shape_before = (before.shape != after.shape).then(|| before.shape.clone());
        change.dtype_before = (before.dtype != after.dtype).then(|| before.dtype.to_owned());
        change.laid_out_differently = form(before) == form(after);
        return Err(Box::new(change));
    }
    // A tensor with holes covers bytes that are not its own: those are compared, not measured.
    let whole = after.elements().saturating_mul(after.element_size) == after.bytes;
    let kind = ElementKind::from_torch_name(after.dtype)
        .filter(|kind| whole && !matches!(kind, ElementKind::Other { .. }))
        .filter(|_| orders.0 == ByteOrder::Little);
    Ok(Pair {
        before,
        after,
        kind,
        total: Mutex::default(),
    })
}

/// Two rounds: all pieces as bytes and the differing ones measured; then what is equal in tensors that differ.
fn measure(pairs: &[Pair<'_>], old: &File, new: &File, threads: usize) {
    let mut work = Vec::new();
    for (index, pair) in pairs.iter().enumerate() {
        let starts =
            (0..pair.after.bytes).step_by(usize::try_from(PIECE_BYTES).unwrap_or(usize::MAX));
        work.extend(starts.map(|start| (index, start, PIECE_BYTES.min(pair.after.bytes - start))));
    }
    share(threads, &work, |buffers, (index, start, length)| {
        if let Some(pair) = pairs.get(*index) {
            compare_piece(pair, old, new, *start, *length, buffers);
        }
    });
    let mut rest = Vec::new();
    for (index, pair) in pairs.iter().enumerate() {
        let mut total = lock(&pair.total);
        if total.differs && pair.kind.is_some() {
            rest.extend(
                std::mem::take(&mut total.equal)
                    .into_iter()
                    .map(|(start, length)| (index, start, length)),
            );
        }
    }
    share(threads, &rest, |buffers, (index, start, length)| {
        if let Some(pair) = pairs.get(*index) {
            measure_equal(pair, old, *start, *length, buffers);
        }
    });
}

type Buffers = (Vec<u8>, Vec<u8>);

/// Does all of `work`, by as many threads as there is use for.
fn share<T: Sync>(threads: usize, work: &[T], each: impl Fn(&mut Buffers, &T) + Sync) {
    let next = AtomicUsize::new(0);
    let run = || {
        let mut buffers = (vec![0; BUFFER_BYTES], vec![0; BUFFER_BYTES]);
        while let Some(item) = work.get(next.fetch_add(1, Ordering::Relaxed)) {
            each(&mut buffers, item);
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads.min(work.len()) {
            scope.spawn(run);
        }
        run();
    });
}

fn compare_piece(
    pair: &Pair<'_>,
    old: &File,
    new: &File,
    start: u64,
    length: u64,
    (left, right): &mut Buffers,
) {
    let mut apart = Apart::default();
    let mut differs = false;
    let mut equal = Vec::new();
    let mut done = 0;
    while done < length {
        let size = chunk(length - done);
        let (Some(left), Some(right)) = (left.get_mut(..size), right.get_mut(..size)) else {
            return;
        };
        let at = start + done;
        let reading = old
            .read_exact_at(left, pair.before.offset + at)
            .and_then(|()| new.read_exact_at(right, pair.after.offset + at));
        if let Err(error) = reading {
            lock(&pair.total).failed = Some(error.to_string());
            return;
        }
        if left == right {
            equal.push((at, size as u64));
        } else {
            differs = true;
            if let Some(piece) = pair.kind.and_then(|kind| Apart::measure(kind, left, right)) {
                apart.add(&piece);
            }
        }
        done += size as u64;
    }
    let mut total = lock(&pair.total);
    total.apart.add(&apart);
    total.differs |= differs;
    total.equal.append(&mut equal);
}

fn measure_equal(pair: &Pair<'_>, old: &File, start: u64, length: u64, (buffer, _): &mut Buffers) {
    let (Some(kind), Some(piece)) = (pair.kind, buffer.get_mut(..chunk(length))) else {
        return;
    };
    match old.read_exact_at(piece, pair.before.offset + start) {
        Ok(()) => {
            if let Some(same) = Apart::same(kind, piece) {
                lock(&pair.total).apart.add(&same);
            }
        }
        Err(error) => lock(&pair.total).failed = Some(error.to_string()),
    }
}

fn chunk(left: u64) -> usize {
    usize::try_from(left)
        .unwrap_or(BUFFER_BYTES)
        .min(BUFFER_BYTES)
}

fn conclude(pair: Pair<'_>, view: &mut WeightsView) {
    let total = pair
        .total
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let tensor = pair.after;
    if let Some(why) = total.failed {
        view.not_compared.push(Gap {
            what: tensor.name.clone(),
            why,
        });
        return;
    }
    if !total.differs {
        view.unchanged += 1;
        return;
    }
    let mut change = TensorChangeView::named(&tensor.name, &tensor.shape, tensor.dtype);
    if pair.kind.is_some() {
        let apart = total.apart;
        change.elements_changed = Some(apart.changed);
        change.relative = Some(apart.relative());
        change.norms = Some((apart.before.sqrt(), apart.after.sqrt()));
        change.largest = Some(apart.largest);
        change.mean = (apart.elements > 0).then(|| apart.drift / apart.elements as f64);
        change.cosine = apart.cosine();
        change.factor = apart.factor(TOLERANCE);
        change.non_finite = apart.non_finite;
    }
    view.changed.push(change);
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A safetensors file of one float tensor `w` and, if asked, another one.
    fn file(folder: &Path, name: &str, values: &[f32], other: Option<&str>) -> std::path::PathBuf {
        let bytes: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        let end = bytes.len();
        let more = other.map_or(String::new(), |other| {
            format!(
                r#","{other}":{{"dtype":"U8","shape":[2],"data_offsets":[{end},{}]}}"#,
                end + 2
            )
        });
        let header = format!(
            r#"{{"w":{{"dtype":"F32","shape":[{}],"data_offsets":[0,{end}]}}{more}}}"#,
            values.len()
        );
        let mut all = (header.len() as u64).to_le_bytes().to_vec();
        all.extend(header.as_bytes());
        all.extend(&bytes);
        all.extend(other.map_or(&b""[..], |_| &b"\x01\x02"[..]));
        let path = folder.join(name);
        std::fs::write(&path, all).unwrap();
        path
    }

    #[test]
    fn one_changed_element_far_in_is_measured_on_all_elements() {
        let folder = tempfile::tempdir().unwrap();
        let mut values = vec![2.0_f32; 3 << 20];
        let a = file(folder.path(), "a", &values, None);
        values[(2 << 20) + 77] = 5.0;
        let b = file(folder.path(), "b", &values, None);
        for threads in [1, 3] {
            let view = compare(&a, &b, threads).unwrap();
            assert_eq!((view.changed.len(), view.unchanged), (1, 0));
            let change = &view.changed[0];
            assert_eq!(change.elements_changed, Some(1));
            assert_eq!(change.largest, Some(3.0));
            let norm = 2.0 * f64::from(3 << 20).sqrt();
            assert!((change.relative.unwrap() - 3.0 / norm).abs() < 1e-12);
            assert!((change.norms.unwrap().0 - norm).abs() < 1e-6);
        }
    }

    #[test]
    fn what_only_one_side_has_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let a = file(folder.path(), "a", &[1.0; 9], Some("gone"));
        let b = file(folder.path(), "b", &[1.0; 9], Some("new"));
        let view = compare(&a, &b, 2).unwrap();
        assert_eq!(
            (view.added, view.removed),
            (vec!["new".to_owned()], vec!["gone".to_owned()])
        );
        assert_eq!((view.changed.len(), view.unchanged), (0, 1));
    }

    #[test]
    fn another_shape_is_a_change_that_is_not_measured() {
        let folder = tempfile::tempdir().unwrap();
        let a = file(folder.path(), "a", &[1.0; 9], None);
        let b = file(folder.path(), "b", &[1.0; 8], None);
        let view = compare(&a, &b, 1).unwrap();
        assert_eq!(view.changed[0].shape_before, Some(vec![9]));
        assert_eq!(view.changed[0].relative, None);
    }

    #[test]
    fn what_is_no_checkpoint_is_an_error_that_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        std::fs::write(&path, b"hello").unwrap();
        let error = compare(&path, &path, 1).unwrap_err().to_string();
        assert!(error.contains("not read as a checkpoint"), "{error}");
        assert!(compare(folder.path(), &path, 1).is_err());
        assert!(compare(&folder.path().join("none"), &path, 1).is_err());
    }
}
