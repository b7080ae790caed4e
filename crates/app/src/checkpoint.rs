//! A checkpoint file to the summary of its tensors: where `formats` (bytes to structure) and `training` (numbers to
//! judgement) meet. Nothing in the file is executed.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use formats::ReadAt;
use formats::checkpoint::{ByteOrder, Checkpoint, Reading, Scalar, Tensor, read};
use training::checkpoint::{CheckpointSummary, Scalar as Kept, Summarizer};

const BUFFER_BYTES: usize = 1 << 20;
/// Tensors that are summarised; a checkpoint with more is told as incomplete.
const TENSORS_MAX: usize = 20_000;
/// Tensors may share storage; what is read in all is bounded by this multiple of the file.
const READ_FACTOR: u64 = 3;

/// A file as an input of known size.
pub(crate) struct Opened<'a> {
    file: &'a File,
    size: u64,
}

impl<'a> Opened<'a> {
    pub(crate) const fn new(file: &'a File, size: u64) -> Self {
        Self { file, size }
    }
}

impl ReadAt for Opened<'_> {
    fn len(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }
}

/// What is kept of a checkpoint. An error says why it cannot be read as one.
pub fn summarise(file: &File) -> Result<CheckpointSummary, String> {
    let failed = |error: io::Error| format!("it cannot be read: {error}");
    let input = Opened::new(file, file.metadata().map_err(failed)?.len());
    match read(&input).map_err(failed)? {
        Reading::Checkpoint(checkpoint) => Ok(feed(&input, &checkpoint)),
        Reading::NotReadable(why) => Err(format!("its tensors were not read: {why}")),
    }
}

fn feed(input: &Opened<'_>, checkpoint: &Checkpoint) -> CheckpointSummary {
    let mut summarizer = Summarizer::new();
    let mut left = input.size.saturating_mul(READ_FACTOR);
    for (index, tensor) in checkpoint.tensors.iter().enumerate() {
        if index >= TENSORS_MAX || tensor.bytes > left {
            summarizer.gap(&format!(
                "{} tensors from {} on",
                checkpoint.tensors.len() - index,
                tensor.name
            ));
            break;
        }
        left -= tensor.bytes;
        feed_tensor(input, tensor, checkpoint.byte_order, &mut summarizer);
    }
    for (name, value) in &checkpoint.scalars {
        summarizer.scalar(name, kept(value));
    }
    for gap in &checkpoint.gaps {
        summarizer.gap(&gap.to_string());
    }
    summarizer.finish()
}

fn feed_tensor(input: &Opened<'_>, tensor: &Tensor, order: ByteOrder, summarizer: &mut Summarizer) {
    // A tensor with holes covers bytes that are not its own: those are compared, not measured.
    let whole = tensor.elements().saturating_mul(tensor.element_size) == tensor.bytes;
    let mut feed = if whole && order == ByteOrder::Little {
        summarizer.tensor(&tensor.name, tensor.dtype, &tensor.shape)
    } else {
        summarizer.tensor_unmeasured(&tensor.name, tensor.dtype, &tensor.shape)
    };
    let mut buffer =
        vec![0; BUFFER_BYTES.min(usize::try_from(tensor.bytes).unwrap_or(BUFFER_BYTES))];
    let (mut offset, end) = (tensor.offset, tensor.offset.saturating_add(tensor.bytes));
    while offset < end {
        let size = buffer
            .len()
            .min(usize::try_from(end - offset).unwrap_or(usize::MAX));
        let Some(piece) = buffer.get_mut(..size) else {
            break;
        };
        if let Err(error) = input.read_at(offset, piece) {
            return feed.abandon(&format!("it cannot be read: {error}"));
        }
        feed.chunk(piece);
        offset += size as u64;
    }
    feed.finish();
}

pub(crate) fn kept(value: &Scalar) -> Kept {
    match value {
        Scalar::None => Kept::None,
        Scalar::Bool(value) => Kept::Bool(*value),
        Scalar::Int(value) => Kept::Int(*value),
        Scalar::Float(value) => Kept::Float(*value),
        Scalar::Text(value) => Kept::Text(value.clone()),
        Scalar::Many { count, mark } => Kept::Many {
            count: *count,
            mark: *mark,
        },
    }
}

/// The names that training programs give to the step at the top level of a checkpoint.
const STEP_NAMES: [&str; 6] = [
    "step",
    "global_step",
    "iteration",
    "iter",
    "steps",
    "num_updates",
];

/// The training step that a checkpoint states about itself.
pub fn stated_step(summary: &CheckpointSummary) -> Option<u64> {
    let named = STEP_NAMES.iter();
    named
        .filter_map(|name| summary.scalars.get(*name))
        .find_map(|value| match value {
            Kept::Int(step) => u64::try_from(*step).ok(),
            _ => None,
        })
}

/// The same, of a checkpoint that was not summarised.
pub(crate) fn stated(checkpoint: &Checkpoint) -> Option<u64> {
    STEP_NAMES.iter().find_map(|name| {
        let mut values = checkpoint.scalars.iter().rev();
        match values.find(|(known, _)| known == name) {
            Some((_, Scalar::Int(step))) => u64::try_from(*step).ok(),
            _ => None,
        }
    })
}
