//! How the gradients on their way to a step are written: behind the backward pass and behind each call, where they are not
//! those that follow.
//!
//! The blocks are those of the step's sample, in its order. One byte for each stage and block says what comes; all of it is
//! base64. Nothing is written where nothing differs. A text that begins with `~` has the stages from the last to the first, each behind a
//! factor (`f64`): elements may then be told as differences to that multiple of what follows, as
//! [`pack`] has them, because a call of torch multiplies all gradients with one number.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use crate::recheck::pack::{self, PACKED_SIZE, Rule};
use crate::recheck::wire::{Block, Malformed, PACKED};

/// Stages that are read.
pub const STAGES_MAX: usize = 16;

/// The gradient of one parameter at one stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// As at the next stage, or as the step uses it.
    Same,
    /// There was none.
    Gone,
    /// It could not be read.
    Unread,
    /// Its elements.
    Bytes(Vec<u8>),
}

impl Seen {
    /// The gradients that the step of `block` uses.
    fn used(block: &Block) -> Self {
        block.gradients.clone().map_or(Self::Gone, Self::Bytes)
    }

    fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }
}

/// Writes the stages of `blocks`, which are given oldest first; nothing if all of them are [`Seen::Same`].
#[must_use]
pub fn write(stages: &[Vec<Seen>], blocks: &[Block]) -> String {
    if stages.iter().flatten().all(|seen| *seen == Seen::Same) {
        return String::new();
    }
    let mut out = Vec::new();
    let mut next: Vec<Seen> = blocks.iter().map(Seen::used).collect();
    for stage in stages.iter().rev() {
        let factor = factor(stage, &next, blocks);
        out.extend(factor.to_le_bytes());
        for ((seen, next), block) in stage.iter().zip(&mut next).zip(blocks) {
            match seen {
                Seen::Same => out.push(0),
                Seen::Gone => out.push(1),
                Seen::Unread => out.push(2),
                Seen::Bytes(bytes) if block.size() == PACKED_SIZE && next.bytes().is_some() => {
                    out.push(4);
                    pack::write(&mut out, bytes, rule(factor), next.bytes(), None);
                }
                Seen::Bytes(bytes) => {
                    out.push(3);
                    out.extend(bytes);
                }
            }
            if *seen != Seen::Same {
                next.clone_from(seen);
            }
        }
    }
    format!("{PACKED}{}", STANDARD_NO_PAD.encode(out))
}

fn rule(factor: f64) -> Rule {
    Rule {
        from: factor,
        squared: false,
        whole: false,
    }
}

/// What the gradients of a stage are of those that follow, by the first that can say so.
fn factor(stage: &[Seen], next: &[Seen], blocks: &[Block]) -> f64 {
    let pairs = stage.iter().zip(next).zip(blocks);
    let packed = pairs.filter(|(_, block)| block.size() == PACKED_SIZE);
    let mut ratios = packed.filter_map(|((of, to), _)| pack::ratio(of.bytes()?, to.bytes()?));
    ratios.next().unwrap_or(1.0)
}

/// Reads `stages` stages of `blocks`.
///
/// # Errors
/// [`Malformed`] for anything that [`write`] does not write.
pub fn read(text: &str, stages: usize, blocks: &[Block]) -> Result<Vec<Vec<Seen>>, Malformed> {
    if stages > STAGES_MAX {
        return Err(Malformed);
    }
    if text.is_empty() {
        return Ok(vec![vec![Seen::Same; blocks.len()]; stages]);
    }
    let packed = text.strip_prefix(PACKED);
    let bytes = STANDARD_NO_PAD
        .decode(packed.unwrap_or(text))
        .map_err(|_| Malformed)?;
    let mut rest = &bytes[..];
    let mut read = Vec::new();
    let mut next: Vec<Seen> = blocks.iter().map(Seen::used).collect();
    for _ in 0..stages {
        let mut factor = None;
        if packed.is_some() {
            let (bytes, after) = rest.split_first_chunk().ok_or(Malformed)?;
            factor = Some(f64::from_le_bytes(*bytes));
            rest = after;
        }
        let mut stage = Vec::with_capacity(blocks.len());
        for (block, next) in blocks.iter().zip(&mut next) {
            let (seen, after) = one(rest, block, factor, next)?;
            rest = after;
            if seen != Seen::Same {
                next.clone_from(&seen);
            }
            stage.push(seen);
        }
        read.push(stage);
    }
    if packed.is_some() {
        read.reverse();
    }
    rest.is_empty().then_some(read).ok_or(Malformed)
}

fn one<'a>(
    rest: &'a [u8],
    block: &Block,
    factor: Option<f64>,
    next: &Seen,
) -> Result<(Seen, &'a [u8]), Malformed> {
    let (flag, rest) = rest.split_first().ok_or(Malformed)?;
    Ok(match (flag, factor) {
        (0, _) => (Seen::Same, rest),
        (1, _) => (Seen::Gone, rest),
        (2, _) => (Seen::Unread, rest),
        (3, _) => {
            let taken = rest.split_at_checked(block.weights.len());
            let (taken, rest) = taken.ok_or(Malformed)?;
            (Seen::Bytes(taken.to_vec()), rest)
        }
        (4, Some(factor)) if block.size() == PACKED_SIZE => {
            let next = next.bytes().ok_or(Malformed)?;
            let (column, rest) =
                pack::read(rest, block.positions.len(), rule(factor), Some(next), None)?;
            (Seen::Bytes(column), rest)
        }
        _ => return Err(Malformed),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn block(elements: &[f32], size: usize) -> Block {
        let bytes: Vec<u8> = elements.iter().flat_map(|it| it.to_le_bytes()).collect();
        Block {
            positions: (0..bytes.len() as u64 / size as u64).collect(),
            weights: bytes.clone(),
            gradients: Some(bytes),
            ..Block::default()
        }
    }

    fn blocks() -> Vec<Block> {
        vec![
            block(&[1.0, -2.0], 4),
            block(&[0.3], 4),
            block(&[5.0, 6.0], 8),
        ]
    }

    fn some() -> Vec<Vec<Seen>> {
        let twice: Vec<u8> = [2.0f32, -4.0]
            .iter()
            .flat_map(|it| it.to_le_bytes())
            .collect();
        let odd: Vec<u8> = [f32::NAN, 7.0]
            .iter()
            .flat_map(|it| it.to_le_bytes())
            .collect();
        vec![
            vec![Seen::Bytes(odd), Seen::Bytes(vec![1, 2, 3, 4]), Seen::Gone],
            vec![Seen::Bytes(twice), Seen::Gone, Seen::Bytes(vec![5; 8])],
            vec![Seen::Unread, Seen::Same, Seen::Same],
        ]
    }

    #[test]
    fn stages_read_back_as_they_were_written_and_nothing_is_written_for_nothing() {
        let blocks = blocks();
        let text = write(&some(), &blocks);
        assert_eq!(read(&text, 3, &blocks), Ok(some()));
        let same = vec![vec![Seen::Same; 3]; 2];
        assert_eq!(write(&same, &blocks), "");
        assert_eq!(read("", 2, &blocks), Ok(same));
        assert_eq!(read(&text, 3, &blocks[1..]), Err(Malformed));
        assert_eq!(read(&text, 2, &blocks), Err(Malformed));
    }

    #[test]
    fn a_multiple_takes_a_byte_an_element() {
        let used = block(&[0.1, -0.7, 1e-9, 3.3], 4);
        let raw: Vec<u8> = [0.1f32, -0.7, 1e-9, 3.3]
            .iter()
            .flat_map(|it| (it * 1.75).to_le_bytes())
            .collect();
        let text = write(
            &[vec![Seen::Bytes(raw.clone())]],
            std::slice::from_ref(&used),
        );
        assert_eq!(text.len(), 1 + 18, "a factor, a mark and four bytes");
        assert_eq!(read(&text, 1, &[used]), Ok(vec![vec![Seen::Bytes(raw)]]));
    }

    #[test]
    fn texts_of_before_are_read() {
        let text = STANDARD_NO_PAD.encode([0, 3, 9, 9, 9, 9, 1]);
        let read = read(&text, 1, &blocks());
        assert_eq!(
            read,
            Ok(vec![vec![Seen::Same, Seen::Bytes(vec![9; 4]), Seen::Gone]])
        );
    }

    proptest! {
        #[test]
        fn whatever_is_read_ends_without_a_panic(bytes in proptest::collection::vec(0u8..5, 0..64), stages in 0usize..20) {
            let text = STANDARD_NO_PAD.encode(&bytes);
            drop(read(&text, stages, &blocks()));
            drop(read(&format!("{PACKED}{text}"), stages, &blocks()));
        }
    }
}
