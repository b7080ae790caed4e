//! The one text form of a [`CheckpointSummary`], one line a tensor, by which it is kept as a blob.
//!
//! Equal summaries have equal bytes, so their digests can be compared. Reading accepts what writing gives and nothing
//! else: what was read is written again and must come out the same.
//!
//! ```text
//! taintline-checkpoint 1
//! complete yes
//! g words                                                     a gap
//! s KIND VALUE <TAB> name                                     a plain value
//! t DTYPE SHAPE BYTES DIGEST NORM NON-FINITE SKETCH <TAB> name    a tensor; "- - -" where values were not measured
//! ```
//!
//! Names and texts are escaped as paths are ([`PathText`]), shapes are `2x3` or `-`, floats the shortest decimal that
//! reads back as the same.

use std::fmt::Write as _;

use domain::PathText;

use crate::checkpoint::{CheckpointSummary, Scalar, TensorSummary, Values};

const HEADER: &str = "taintline-checkpoint 1";

/// Bytes that are not exactly what [`CheckpointSummary::encode`] would write.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the checkpoint summary is not in the form that summaries are written in")]
pub struct SummarySyntax {
    /// The line, counted from 1.
    pub line: usize,
}

impl CheckpointSummary {
    /// The one encoding of this summary.
    pub fn encode(&self) -> Vec<u8> {
        let mut text = format!(
            "{HEADER}\ncomplete {}\n",
            if self.complete { "yes" } else { "no" }
        );
        for gap in &self.gaps {
            let _ = writeln!(text, "g {}", escaped(gap));
        }
        for (name, scalar) in &self.scalars {
            let _ = match scalar {
                Scalar::None => write!(text, "s none -"),
                Scalar::Bool(value) => write!(text, "s bool {value}"),
                Scalar::Int(value) => write!(text, "s int {value}"),
                Scalar::Float(value) => write!(text, "s float {value:e}"),
                Scalar::Text(value) => write!(text, "s text {}", escaped(value)),
                Scalar::Many { count, mark } => write!(text, "s many {count}:{mark:016x}"),
            };
            let _ = writeln!(text, "\t{}", escaped(name));
        }
        for tensor in &self.tensors {
            write_tensor(&mut text, tensor);
        }
        text.into_bytes()
    }

    /// Reads an encoding; refuses whatever [`CheckpointSummary::encode`] would not have written.
    pub fn decode(bytes: &[u8]) -> Result<Self, SummarySyntax> {
        let text = std::str::from_utf8(bytes).map_err(|_| SummarySyntax { line: 1 })?;
        let mut summary = Self::default();
        for (index, line) in text.split_inclusive('\n').enumerate() {
            let line = line.strip_suffix('\n');
            let read = match (index, line) {
                (0, Some(HEADER)) | (1, Some("complete no")) => Some(()),
                (1, Some("complete yes")) => {
                    summary.complete = true;
                    Some(())
                }
                (2.., Some(line)) => read_line(&mut summary, line),
                _ => None,
            };
            read.ok_or(SummarySyntax { line: index + 1 })?;
        }
        let written = summary.encode();
        if written == bytes {
            return Ok(summary);
        }
        let same = written
            .iter()
            .zip(bytes)
            .take_while(|(a, b)| a == b)
            .filter(|(byte, _)| **byte == b'\n')
            .count();
        Err(SummarySyntax { line: same + 1 })
    }
}

fn escaped(text: &str) -> PathText {
    PathText::from_bytes(text.as_bytes())
}

fn write_tensor(text: &mut String, tensor: &TensorSummary) {
    let shape: Vec<String> = tensor.shape.iter().map(ToString::to_string).collect();
    let shape = if shape.is_empty() {
        "-".to_owned()
    } else {
        shape.join("x")
    };
    let dtype = escaped(&tensor.dtype).as_str().replace(' ', "\\x20");
    let _ = write!(
        text,
        "t {dtype} {shape} {} {} ",
        tensor.bytes, tensor.digest
    );
    let _ = match &tensor.values {
        Some(values) => write!(
            text,
            "{:e} {} {}",
            values.norm, values.non_finite, values.sketch
        ),
        None => write!(text, "- - -"),
    };
    let _ = writeln!(text, "\t{}", escaped(&tensor.name));
}

fn read_line(summary: &mut CheckpointSummary, line: &str) -> Option<()> {
    let (kind, rest) = line.split_once(' ')?;
    if kind == "g" {
        summary.gaps.push(unescaped(rest)?);
        return Some(());
    }
    let (fields, name) = rest.split_once('\t')?;
    let name = unescaped(name)?;
    match kind {
        "s" => drop(summary.scalars.insert(name, read_scalar(fields)?)),
        "t" => summary.tensors.push(read_tensor(fields, name)?),
        _ => return None,
    }
    Some(())
}

fn read_scalar(fields: &str) -> Option<Scalar> {
    let (kind, value) = fields.split_once(' ')?;
    Some(match kind {
        "none" => Scalar::None,
        "bool" => Scalar::Bool(value.parse().ok()?),
        "int" => Scalar::Int(value.parse().ok()?),
        "float" => Scalar::Float(value.parse().ok()?),
        "text" => Scalar::Text(unescaped(value)?),
        "many" => {
            let (count, mark) = value.split_once(':')?;
            Scalar::Many {
                count: count.parse().ok()?,
                mark: u64::from_str_radix(mark, 16).ok()?,
            }
        }
        _ => return None,
    })
}

fn read_tensor(fields: &str, name: String) -> Option<TensorSummary> {
    let fields: Vec<&str> = fields.split(' ').collect();
    let [dtype, shape, bytes, digest, norm, non_finite, sketch] = fields[..] else {
        return None;
    };
    let shape = match shape {
        "-" => Vec::new(),
        sizes => sizes
            .split('x')
            .map(|size| size.parse().ok())
            .collect::<Option<_>>()?,
    };
    let values = match (norm, non_finite, sketch) {
        ("-", "-", "-") => None,
        _ => Some(Values {
            norm: norm.parse().ok()?,
            non_finite: non_finite.parse().ok()?,
            sketch: sketch.parse().ok()?,
        }),
    };
    let (bytes, digest) = (bytes.parse().ok()?, digest.parse().ok()?);
    Some(TensorSummary {
        name,
        dtype: unescaped(dtype)?,
        shape,
        bytes,
        digest,
        values,
    })
}

/// The text that was escaped; what is no escape of a text is refused when it is written again.
fn unescaped(text: &str) -> Option<String> {
    use serde::Deserialize as _;
    use serde::de::IntoDeserializer as _;
    let path: Result<PathText, serde::de::value::Error> =
        PathText::deserialize(text.into_deserializer());
    String::from_utf8(path.ok()?.to_bytes()).ok()
}
