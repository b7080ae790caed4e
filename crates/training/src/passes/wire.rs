//! How the gradients on their way to a step are written: behind the backward pass and behind each call, where they are not
//! those that follow.
//!
//! The blocks are those of the step's sample, in its order. One byte for each stage and block says what comes; all of it is
//! base64. Nothing is written where nothing differs.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use crate::recheck::wire::Malformed;

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

/// Writes the stages, oldest first; nothing if all of them are [`Seen::Same`].
#[must_use]
pub fn write(stages: &[Vec<Seen>]) -> String {
    if stages.iter().flatten().all(|seen| *seen == Seen::Same) {
        return String::new();
    }
    let mut out = Vec::new();
    for seen in stages.iter().flatten() {
        match seen {
            Seen::Same => out.push(0),
            Seen::Gone => out.push(1),
            Seen::Unread => out.push(2),
            Seen::Bytes(bytes) => {
                out.push(3);
                out.extend(bytes);
            }
        }
    }
    STANDARD_NO_PAD.encode(out)
}

/// Reads `stages` stages of blocks that have `sizes` bytes each.
///
/// # Errors
/// [`Malformed`] for anything that [`write`] does not write.
pub fn read(text: &str, stages: usize, sizes: &[usize]) -> Result<Vec<Vec<Seen>>, Malformed> {
    if stages > STAGES_MAX {
        return Err(Malformed);
    }
    if text.is_empty() {
        return Ok(vec![vec![Seen::Same; sizes.len()]; stages]);
    }
    let bytes = STANDARD_NO_PAD.decode(text).map_err(|_| Malformed)?;
    let mut rest = &bytes[..];
    let mut seen = |size: &usize| {
        let (flag, after) = rest.split_first().ok_or(Malformed)?;
        rest = after;
        Ok(match flag {
            0 => Seen::Same,
            1 => Seen::Gone,
            2 => Seen::Unread,
            3 => {
                let (taken, after) = rest.split_at_checked(*size).ok_or(Malformed)?;
                rest = after;
                Seen::Bytes(taken.to_vec())
            }
            _ => return Err(Malformed),
        })
    };
    let stages = (0..stages)
        .map(|_| sizes.iter().map(&mut seen).collect())
        .collect::<Result<_, _>>()?;
    rest.is_empty().then_some(stages).ok_or(Malformed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn some() -> Vec<Vec<Seen>> {
        vec![
            vec![Seen::Same, Seen::Bytes(vec![1, 2, 3, 4]), Seen::Gone],
            vec![Seen::Unread, Seen::Same, Seen::Bytes(vec![5, 6])],
        ]
    }

    #[test]
    fn stages_read_back_as_they_were_written_and_nothing_is_written_for_nothing() {
        let text = write(&some());
        assert_eq!(read(&text, 2, &[4, 4, 2]), Ok(some()));
        let same = vec![vec![Seen::Same; 3]; 2];
        assert_eq!(write(&same), "");
        assert_eq!(read("", 2, &[4, 4, 2]), Ok(same));
        assert_eq!(read(&text, 2, &[4, 4, 3]), Err(Malformed));
        assert_eq!(read(&text, 1, &[4, 4, 2]), Err(Malformed));
    }

    proptest! {
        #[test]
        fn whatever_is_read_ends_without_a_panic(bytes in proptest::collection::vec(0u8..5, 0..64), stages in 0usize..20) {
            drop(read(&STANDARD_NO_PAD.encode(&bytes), stages, &[4, 8]));
        }
    }
}
