//! `taintline convert`: a torch checkpoint to safetensors and JSON, without executing anything.
//!
//! The file is examined first, and only what holds nothing but data is converted; everything else is refused with its
//! reasons, because a checkpoint that lost a part silently is worse than none. Both files are written under temporary
//! names and get theirs when they are complete.

use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use domain::scan::{Examination, Weight};
use formats::checkpoint::{ByteOrder, Tensor, safetensors_name};
use formats::torch::{Plain, plain};
use report::view::ConvertView;
use serde_json::{Map, Value as Json, json};

use crate::checkpoint::Opened;

const BUFFER_BYTES: usize = 1 << 20;
/// Reasons that are listed.
const REASONS_MAX: usize = 50;

/// Why nothing was converted.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// A file cannot be read or written.
    #[error("{}: {cause}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// A file is there already.
    #[error("{} is there already", .0.display())]
    Exists(PathBuf),
    /// Loading the checkpoint would do more than build data.
    #[error("{} is not converted: loading it would do more than build data", path.display())]
    Found {
        /// Which.
        path: PathBuf,
        /// Finding by finding.
        reasons: Vec<String>,
    },
    /// It cannot be told, or it holds what neither JSON nor safetensors can.
    #[error("{} is not converted: {why}", path.display())]
    NotPlain {
        /// Which.
        path: PathBuf,
        /// What is in the way.
        why: String,
    },
}

/// Where the result goes.
#[derive(Debug, Clone)]
pub struct Targets {
    /// The tensors.
    pub tensors: PathBuf,
    /// Everything else.
    pub structure: PathBuf,
    /// Whether files that are there already are replaced.
    pub replace: bool,
}

impl Targets {
    /// Beside `source`, or at `output` where that is given: `NAME.safetensors` and `NAME.json`.
    pub fn of(source: &Path, output: Option<&Path>, replace: bool) -> Self {
        let tensors = output.map_or_else(|| source.with_extension("safetensors"), Path::to_owned);
        Self {
            structure: tensors.with_extension("json"),
            tensors,
            replace,
        }
    }
}

/// Converts the checkpoint at `source`.
pub fn convert(source: &Path, targets: &Targets) -> Result<ConvertView, ConvertError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |cause| ConvertError::Io { path, cause }
    };
    for target in [&targets.tensors, &targets.structure] {
        if !targets.replace && fs::symlink_metadata(target).is_ok() {
            return Err(ConvertError::Exists(target.clone()));
        }
    }
    let file = File::open(source).map_err(failed(source))?;
    let meta = file.metadata().map_err(failed(source))?;
    let refuse = |why: String| ConvertError::NotPlain {
        path: source.to_owned(),
        why,
    };
    if !meta.is_file() {
        return Err(refuse("it is no regular file".to_owned()));
    }
    let input = Opened::new(&file, meta.len());
    let name = source.file_name().unwrap_or_default().to_string_lossy();
    let rules = scan::Rules::builtin();
    let examined = crate::examination::examine(&rules, scan::Options::default(), &name, &input);
    admit(source, &examined)?;
    let plain = plain(&input)
        .map_err(failed(source))?
        .map_err(|why| refuse(why.to_string()))?;
    if plain.byte_order == ByteOrder::Big {
        return Err(refuse("its numbers are big-endian".to_owned()));
    }
    let header = header(&plain).map_err(refuse)?;
    let written = write(&targets.tensors, |out| tensors(out, &file, &header, &plain));
    written.map_err(failed(&targets.tensors))?;
    let text = json!({
        "schema": "taintline.structure/1",
        "tensors": targets.tensors.file_name().map(|name| name.to_string_lossy()),
        "structure": plain.structure,
    });
    let written = write(&targets.structure, |out| {
        serde_json::to_writer_pretty(&mut *out, &text)?;
        out.write_all(b"\n")
    });
    written.map_err(failed(&targets.structure))?;
    Ok(ConvertView {
        schema: "taintline.convert/1",
        source: source.display().to_string(),
        tensors_file: targets.tensors.display().to_string(),
        structure_file: targets.structure.display().to_string(),
        tensors: plain.tensors.len() as u64,
        bytes: plain.tensors.iter().map(size).sum(),
    })
}

/// Only what is examined completely and holds nothing but data.
fn admit(source: &Path, examined: &Examination) -> Result<(), ConvertError> {
    let heavy = examined
        .findings
        .iter()
        .filter(|finding| finding.weight > Weight::Note);
    let reasons: Vec<String> = heavy
        .take(REASONS_MAX)
        .map(|finding| format!("{}: {}", finding.rule, finding.why))
        .collect();
    if !reasons.is_empty() {
        return Err(ConvertError::Found {
            path: source.to_owned(),
            reasons,
        });
    }
    match examined.gaps.first() {
        Some(gap) => Err(ConvertError::NotPlain {
            path: source.to_owned(),
            why: format!("a part of it was not examined: {} ({})", gap.what, gap.kind),
        }),
        None => Ok(()),
    }
}

fn size(tensor: &Tensor) -> u64 {
    tensor.elements().saturating_mul(tensor.element_size)
}

/// The header of the safetensors file, padded so that the tensors begin at a multiple of 8.
fn header(plain: &Plain) -> Result<Vec<u8>, String> {
    let mut entries = Map::new();
    let mut offset = 0_u64;
    for tensor in &plain.tensors {
        let dtype = safetensors_name(tensor.dtype).ok_or_else(|| {
            format!(
                "{}: safetensors has no element type {}",
                tensor.name, tensor.dtype
            )
        })?;
        let end = offset
            .checked_add(size(tensor))
            .ok_or("its tensors are too large")?;
        entries.insert(
            tensor.name.clone(),
            json!({ "dtype": dtype, "shape": tensor.shape, "data_offsets": [offset, end] }),
        );
        offset = end;
    }
    let mut text = Json::Object(entries).to_string().into_bytes();
    text.resize(text.len().next_multiple_of(8), b' ');
    Ok(text)
}

fn tensors(out: &mut dyn io::Write, file: &File, header: &[u8], plain: &Plain) -> io::Result<()> {
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(header)?;
    for tensor in &plain.tensors {
        if tensor.is_contiguous() {
            copy(out, file, tensor.offset, size(tensor))?;
        } else {
            gather(out, file, tensor)?;
        }
    }
    Ok(())
}

fn copy(out: &mut dyn io::Write, file: &File, start: u64, length: u64) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut done = 0;
    while done < length {
        let left = usize::try_from(length - done).unwrap_or(usize::MAX);
        let count = left.min(buffer.len());
        let piece = buffer.get_mut(..count).unwrap_or_default();
        file.read_exact_at(piece, start + done)?;
        out.write_all(piece)?;
        done += count as u64;
    }
    Ok(())
}

/// Element by element in the order of the indices, from a window that is read anew where the elements leave it.
fn gather(out: &mut dyn io::Write, file: &File, tensor: &Tensor) -> io::Result<()> {
    let element = usize::try_from(tensor.element_size).map_err(io::Error::other)?;
    let mut window = Window::new(file, tensor.offset, tensor.bytes);
    let mut index = vec![0_u64; tensor.shape.len()];
    for _ in 0..tensor.elements() {
        let steps = index.iter().zip(&tensor.stride);
        let place: u64 = steps.map(|(index, stride)| index * stride).sum();
        out.write_all(window.at(place * tensor.element_size, element)?)?;
        for (index, size) in index.iter_mut().zip(&tensor.shape).rev() {
            *index += 1;
            if *index < *size {
                break;
            }
            *index = 0;
        }
    }
    Ok(())
}

struct Window<'a> {
    file: &'a File,
    start: u64,
    length: u64,
    from: u64,
    bytes: Vec<u8>,
}

impl<'a> Window<'a> {
    const fn new(file: &'a File, start: u64, length: u64) -> Self {
        Self {
            file,
            start,
            length,
            from: 0,
            bytes: Vec::new(),
        }
    }

    fn at(&mut self, offset: u64, size: usize) -> io::Result<&[u8]> {
        let inside = offset
            .checked_sub(self.from)
            .and_then(|at| usize::try_from(at).ok())
            .filter(|at| {
                at.checked_add(size)
                    .is_some_and(|end| end <= self.bytes.len())
            });
        let at = if let Some(at) = inside {
            at
        } else {
            let left = self.length.saturating_sub(offset);
            let count = usize::try_from(left)
                .unwrap_or(usize::MAX)
                .min(BUFFER_BYTES);
            self.bytes.resize(count, 0);
            self.file
                .read_exact_at(&mut self.bytes, self.start + offset)?;
            self.from = offset;
            0
        };
        let outside = || io::Error::from(io::ErrorKind::UnexpectedEof);
        self.bytes.get(at..at + size).ok_or_else(outside)
    }
}

/// Writes all of a file under a temporary name beside it, and then gives it its name.
fn write(
    path: &Path,
    content: impl FnOnce(&mut dyn io::Write) -> io::Result<()>,
) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    let part = path.with_file_name(name);
    let result = (|| {
        let file = File::options().write(true).create_new(true).open(&part)?;
        let mut out = BufWriter::with_capacity(BUFFER_BYTES, file);
        content(&mut out)?;
        out.into_inner()
            .map_err(io::IntoInnerError::into_error)?
            .sync_all()?;
        fs::rename(&part, path)
    })();
    if result.is_err() {
        let _ = fs::remove_file(&part);
    }
    result
}
