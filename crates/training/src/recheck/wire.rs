//! How the sampled values of one step travel: bytes that the sensor writes and the supervisor reads.
//!
//! A block for each parameter that was read: its index as the distance to the one before, flags, the steps that its state
//! counts before and behind, the positions as distances, and then columns of little-endian elements: weights,
//! gradients if there are any, each column of state, weights behind the step, each column of state behind it. Last come
//! the odd ones: values that should equal one that was told and do not. Numbers are LEB128. Nothing is judged here, and
//! nothing that is read is trusted: each length is checked against what is left.
//!
//! A text that begins with `~` has the columns behind the step [packed](super::pack), each column by one rule for all blocks: first
//! the rules, then which one the weights have, and each column of state. Texts of before have all of them raw.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use super::pack::{self, PACKED_SIZE, RULES_MAX, Rule};
use crate::ElementKind;
use crate::element::{brain, half};

/// Most positions of one step that are read.
pub const POSITIONS_MAX: usize = 4096;
/// Most columns of state.
pub const COLUMNS_MAX: usize = 8;

/// What a text of this form begins with, and one of before does not.
pub const PACKED: char = '~';

const HAS_GRADIENT: u8 = 1;
const STATE_BEFORE: u8 = 2;
const STATE_BEHIND: u8 = 4;

/// One parameter at a few positions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Block {
    /// Which parameter of the optimizer.
    pub index: u32,
    /// Steps that its state counted before; absent where it did not count, or no whole number.
    pub steps_before: Option<u64>,
    /// And behind the step.
    pub steps_behind: Option<u64>,
    /// Positions, as in a contiguous tensor, ascending.
    pub positions: Vec<u64>,
    /// Bytes of the weights before, one element a position.
    pub weights: Vec<u8>,
    /// Of the gradients; `None` where there were none.
    pub gradients: Option<Vec<u8>>,
    /// Of the state before, one column after the other; `None` where there was none.
    pub state: Option<Vec<Vec<u8>>>,
    /// Of the weights behind the step.
    pub weights_behind: Vec<u8>,
    /// Of the state behind it.
    pub state_behind: Option<Vec<Vec<u8>>>,
}

/// What an odd value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Odd {
    /// The weight when the step before ended; the column has what stood there before this step.
    WeightEarlier,
    /// The gradient behind the step; the column has the one before it.
    GradientBehind,
    /// A column of state when the step before ended.
    StateEarlier(u8),
    /// The parameter had state when the step before ended and has none now; no value.
    StateGone,
}

/// A value that should have been another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OddValue {
    /// What it is.
    pub what: Odd,
    /// Which block.
    pub block: usize,
    /// Which of its positions.
    pub slot: usize,
    /// One element.
    pub bytes: Vec<u8>,
}

/// The values of one step.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Values {
    /// Parameters, by ascending index.
    pub blocks: Vec<Block>,
    /// What should have been equal.
    pub odd: Vec<OddValue>,
}

/// It is not of this form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the sampled values cannot be read")]
pub struct Malformed;

/// Writes the values, those behind the step as `rules` predict them where that is shorter.
pub fn write(values: &Values, rules: &[Rule]) -> String {
    let rules = rules.get(..rules.len().min(RULES_MAX)).unwrap_or_default();
    let coding = Coding::of(values, rules);
    let mut out = Vec::new();
    coding.write(&mut out);
    write_body(&mut out, values, &coding);
    format!("{PACKED}{}", STANDARD_NO_PAD.encode(out))
}

fn write_body(out: &mut Vec<u8>, values: &Values, coding: &Coding) {
    number(out, values.blocks.len() as u64);
    let mut last = 0;
    for block in &values.blocks {
        number(out, u64::from(block.index.wrapping_sub(last)));
        last = block.index;
        let flag = |there, flag| if there { flag } else { 0 };
        out.push(
            flag(block.gradients.is_some(), HAS_GRADIENT)
                | flag(block.state.is_some(), STATE_BEFORE)
                | flag(block.state_behind.is_some(), STATE_BEHIND),
        );
        let steps = |steps: Option<u64>| steps.map_or(0, |count| count.saturating_add(1));
        number(out, steps(block.steps_before));
        number(out, steps(block.steps_behind));
        number(out, block.positions.len() as u64);
        let mut at = 0;
        for position in &block.positions {
            number(out, position.wrapping_sub(at));
            at = *position;
        }
        out.extend(&block.weights);
        out.extend(block.gradients.iter().flatten());
        out.extend(block.state.iter().flatten().flatten());
        for column in 0..=block.state_behind.as_ref().map_or(0, Vec::len) {
            block.write_behind(out, column, coding.rule(column));
        }
    }
    number(out, values.odd.len() as u64);
    for odd in &values.odd {
        out.push(match odd.what {
            Odd::WeightEarlier => 0,
            Odd::GradientBehind => 1,
            Odd::StateGone => 2,
            Odd::StateEarlier(column) => 3 + column,
        });
        number(out, odd.block as u64);
        number(out, odd.slot as u64);
        out.extend(&odd.bytes);
    }
}

impl Block {
    /// Bytes of an element.
    pub fn size(&self) -> usize {
        self.weights
            .len()
            .checked_div(self.positions.len())
            .unwrap_or(0)
    }

    /// What stands behind the step, before it, and the gradients: of the weights (0), or of a column of state.
    fn behind(&self, column: usize) -> [Option<&[u8]>; 3] {
        fn nth(state: Option<&Vec<Vec<u8>>>, column: usize) -> Option<&[u8]> {
            state?.get(column).map(Vec::as_slice)
        }
        match column.checked_sub(1) {
            None => [Some(&self.weights_behind), Some(&self.weights), None],
            Some(column) => [
                nth(self.state_behind.as_ref(), column),
                nth(self.state.as_ref(), column),
                self.gradients.as_deref(),
            ],
        }
    }

    fn write_behind(&self, out: &mut Vec<u8>, column: usize, rule: Option<Rule>) {
        let [found, before, gradients] = self.behind(column);
        let found = found.unwrap_or_default();
        match rule.filter(|_| self.size() == PACKED_SIZE) {
            Some(rule) => pack::write(out, found, rule, before, gradients),
            None => out.extend(found),
        }
    }
}

/// How the columns behind the step are written.
#[derive(Default)]
struct Coding {
    rules: Vec<Rule>,
    /// For the weights and each column of state: raw (0), as before the step (1), or by a rule.
    columns: Vec<u8>,
}

impl Coding {
    /// The shortest of all.
    fn of(values: &Values, rules: &[Rule]) -> Self {
        let mut coding = Self {
            rules: rules.to_vec(),
            columns: Vec::new(),
        };
        let states = values
            .blocks
            .iter()
            .filter_map(|it| it.state_behind.as_ref());
        let most = states.map(Vec::len).max().unwrap_or(0).min(COLUMNS_MAX);
        let mut out = Vec::new();
        for column in 0..=most {
            let length = |mode: &u8| {
                out.clear();
                for block in &values.blocks {
                    block.write_behind(&mut out, column, coding.rule_of(*mode));
                }
                out.len()
            };
            let modes = 0..=u8::try_from(rules.len() + 1).unwrap_or(1);
            let best = modes.min_by_key(length);
            coding.columns.push(best.unwrap_or(0));
        }
        coding
    }

    fn rule_of(&self, mode: u8) -> Option<Rule> {
        match mode {
            0 => None,
            1 => Some(Rule::STILL),
            rule => self.rules.get(usize::from(rule) - 2).copied(),
        }
    }

    fn rule(&self, column: usize) -> Option<Rule> {
        self.rule_of(self.columns.get(column).copied().unwrap_or(0))
    }

    fn write(&self, out: &mut Vec<u8>) {
        number(out, self.rules.len() as u64);
        for rule in &self.rules {
            out.extend(rule.from.to_le_bytes());
            out.push(u8::from(rule.squared) | u8::from(rule.whole) << 1);
        }
        number(out, self.columns.len() as u64);
        out.extend(&self.columns);
    }

    fn read(input: &mut Input<'_>) -> Result<Self, Malformed> {
        let mut coding = Self::default();
        for _ in 0..input.count(RULES_MAX)? {
            let from = input.take(size_of::<f64>())?;
            let flags = input.byte()?;
            coding.rules.push(Rule {
                from: f64::from_le_bytes(from.try_into().map_err(|_| Malformed)?),
                squared: flags & 1 != 0,
                whole: flags & 2 != 0,
            });
        }
        let count = input.count(COLUMNS_MAX + 1)?;
        coding.columns = input.take(count)?;
        let known = |mode: &u8| usize::from(*mode) < coding.rules.len() + 2;
        coding
            .columns
            .iter()
            .all(known)
            .then_some(coding)
            .ok_or(Malformed)
    }
}

/// Reads the values. `layout` answers bytes of an element and columns of state of a parameter, by its index.
///
/// # Errors
/// [`Malformed`] for anything that [`write`] does not write, and for a parameter that `layout` does not know.
pub fn read(
    text: &str,
    layout: impl Fn(u32) -> Option<(usize, usize)>,
) -> Result<Values, Malformed> {
    let packed = text.strip_prefix(PACKED);
    let bytes = STANDARD_NO_PAD
        .decode(packed.unwrap_or(text))
        .map_err(|_| Malformed)?;
    let mut input = Input(&bytes);
    let coding = match packed {
        Some(_) => Coding::read(&mut input)?,
        None => Coding::default(),
    };
    let mut values = Values::default();
    let mut sizes = Vec::new();
    let (mut index, mut total) = (0u32, 0);
    let count = input.count(POSITIONS_MAX)?;
    for _ in 0..count {
        let step = u32::try_from(input.number()?).map_err(|_| Malformed)?;
        index = index.checked_add(step).ok_or(Malformed)?;
        let (size, columns) = layout(index).ok_or(Malformed)?;
        let block = input.block(index, (size, columns), &coding)?;
        total += block.positions.len();
        if total > POSITIONS_MAX || columns > COLUMNS_MAX {
            return Err(Malformed);
        }
        sizes.push((size, columns, block.positions.len()));
        values.blocks.push(block);
    }
    for _ in 0..input.count(POSITIONS_MAX * (COLUMNS_MAX + 2))? {
        values.odd.push(input.odd(&sizes)?);
    }
    input.0.is_empty().then_some(values).ok_or(Malformed)
}

/// The value of the element of `kind` with number `slot` in `bytes`; `None` if there is none, or it is no float.
pub fn value(kind: ElementKind, bytes: &[u8], slot: usize) -> Option<f64> {
    let size = kind.size();
    let element = bytes.get(slot.checked_mul(size)?..)?.get(..size)?;
    Some(match kind {
        ElementKind::F64 => f64::from_le_bytes(element.try_into().ok()?),
        ElementKind::F32 => f64::from(f32::from_le_bytes(element.try_into().ok()?)),
        ElementKind::F16 => f64::from(half(u16::from_le_bytes(element.try_into().ok()?))),
        ElementKind::Bf16 => f64::from(brain(u16::from_le_bytes(element.try_into().ok()?))),
        _ => return None,
    })
}

fn number(out: &mut Vec<u8>, mut value: u64) {
    loop {
        let [byte, ..] = (value & 0x7f).to_le_bytes();
        value >>= 7;
        out.push(if value == 0 { byte } else { byte | 0x80 });
        if value == 0 {
            break;
        }
    }
}

struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn byte(&mut self) -> Result<u8, Malformed> {
        let (first, rest) = self.0.split_first().ok_or(Malformed)?;
        self.0 = rest;
        Ok(*first)
    }

    fn number(&mut self) -> Result<u64, Malformed> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let part = u64::from(byte & 0x7f);
            value |= part
                .checked_shl(shift)
                .filter(|it| it >> shift == part)
                .ok_or(Malformed)?;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed)
    }

    /// A number of things of which each takes a byte at least.
    fn count(&mut self, most: usize) -> Result<usize, Malformed> {
        let count = usize::try_from(self.number()?).map_err(|_| Malformed)?;
        (count <= most && count <= self.0.len())
            .then_some(count)
            .ok_or(Malformed)
    }

    fn take(&mut self, length: usize) -> Result<Vec<u8>, Malformed> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken.to_vec())
    }

    fn columns(&mut self, count: usize, length: usize) -> Result<Vec<Vec<u8>>, Malformed> {
        (0..count).map(|_| self.take(length)).collect()
    }

    fn steps(&mut self) -> Result<Option<u64>, Malformed> {
        Ok(self.number()?.checked_sub(1))
    }

    /// A column of `count` elements of `size` bytes that stands behind the step.
    fn behind(
        &mut self,
        (count, size): (usize, usize),
        rule: Option<Rule>,
        before: Option<&[u8]>,
        gradients: Option<&[u8]>,
    ) -> Result<Vec<u8>, Malformed> {
        let Some(rule) = rule.filter(|_| size == PACKED_SIZE) else {
            return self.take(count * size);
        };
        let (column, rest) = pack::read(self.0, count, rule, before, gradients)?;
        self.0 = rest;
        Ok(column)
    }

    fn block(
        &mut self,
        index: u32,
        (size, columns): (usize, usize),
        coding: &Coding,
    ) -> Result<Block, Malformed> {
        let flags = self.byte()?;
        let (steps_before, steps_behind) = (self.steps()?, self.steps()?);
        let count = self.count(POSITIONS_MAX)?;
        let mut at = 0u64;
        let mut positions = Vec::with_capacity(count);
        for _ in 0..count {
            at = at.checked_add(self.number()?).ok_or(Malformed)?;
            positions.push(at);
        }
        let length = count * size;
        let there = |flag: u8| flags & flag != 0;
        let weights = self.take(length)?;
        let gradients = there(HAS_GRADIENT).then(|| self.take(length)).transpose()?;
        let state = there(STATE_BEFORE)
            .then(|| self.columns(columns, length))
            .transpose()?;
        let place = (count, size);
        let weights_behind = self.behind(place, coding.rule(0), Some(&weights), None)?;
        let mut behind = None;
        if there(STATE_BEHIND) {
            let columns = (0..columns).map(|column| {
                let before = state
                    .as_ref()
                    .and_then(|it| it.get(column))
                    .map(Vec::as_slice);
                self.behind(place, coding.rule(column + 1), before, gradients.as_deref())
            });
            behind = Some(columns.collect::<Result<_, _>>()?);
        }
        Ok(Block {
            index,
            steps_before,
            steps_behind,
            positions,
            weights,
            gradients,
            state,
            weights_behind,
            state_behind: behind,
        })
    }

    fn odd(&mut self, sizes: &[(usize, usize, usize)]) -> Result<OddValue, Malformed> {
        let what = match self.byte()? {
            0 => Odd::WeightEarlier,
            1 => Odd::GradientBehind,
            2 => Odd::StateGone,
            column => Odd::StateEarlier(column - 3),
        };
        let block = self.count_below(sizes.len())?;
        let (size, columns, slots) = *sizes.get(block).ok_or(Malformed)?;
        let slot = self.count_below(slots)?;
        if matches!(what, Odd::StateEarlier(column) if usize::from(column) >= columns) {
            return Err(Malformed);
        }
        let bytes = self.take(if what == Odd::StateGone { 0 } else { size })?;
        Ok(OddValue {
            what,
            block,
            slot,
            bytes,
        })
    }

    fn count_below(&mut self, end: usize) -> Result<usize, Malformed> {
        let value = usize::try_from(self.number()?).map_err(|_| Malformed)?;
        (value < end).then_some(value).ok_or(Malformed)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RULES: [Rule; 2] = [
        Rule {
            from: 0.9,
            squared: false,
            whole: false,
        },
        Rule {
            from: 0.999,
            squared: true,
            whole: false,
        },
    ];

    fn bytes_of(values: &Values) -> Vec<u8> {
        let text = write(values, &RULES);
        STANDARD_NO_PAD
            .decode(text.strip_prefix(PACKED).unwrap())
            .unwrap()
    }

    fn text_of(bytes: &[u8]) -> String {
        format!("{PACKED}{}", STANDARD_NO_PAD.encode(bytes))
    }

    fn sample(seed: u8) -> Values {
        let block = |index: u32, count: u8, gradient: bool, state: bool| {
            let column = |first: u8| (0..count * 4).map(|byte| byte ^ first).collect::<Vec<u8>>();
            Block {
                index,
                steps_before: state.then_some(u64::from(seed)),
                steps_behind: Some(300),
                positions: (0..u64::from(count)).map(|at| at * 1000 + 7).collect(),
                weights: column(1),
                gradients: gradient.then(|| column(2)),
                state: state.then(|| vec![column(3), column(4)]),
                weights_behind: column(5),
                state_behind: Some(vec![column(6), column(7)]),
            }
        };
        Values {
            blocks: vec![
                block(0, 3, true, true),
                block(2, 1, false, false),
                block(900, seed % 9 + 1, true, false),
            ],
            odd: vec![
                OddValue {
                    what: Odd::StateEarlier(1),
                    block: 0,
                    slot: 2,
                    bytes: vec![1, 2, 3, seed],
                },
                OddValue {
                    what: Odd::StateGone,
                    block: 1,
                    slot: 0,
                    bytes: vec![],
                },
            ],
        }
    }

    proptest! {
        #[test]
        fn values_read_back_as_they_were_written(seed in 0u8..=255) {
            let values = sample(seed);
            prop_assert_eq!(read(&write(&values, &RULES), |_| Some((4, 2))), Ok(values.clone()));
            prop_assert_eq!(read(&write(&values, &[]), |_| Some((4, 2))), Ok(values.clone()));
            let mut raw = Vec::new();
            write_body(&mut raw, &values, &Coding::default());
            prop_assert_eq!(read(&STANDARD_NO_PAD.encode(raw), |_| Some((4, 2))), Ok(values));
        }

        #[test]
        fn whatever_is_read_ends_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), at in 0usize..200, to in any::<u8>()) {
            drop(read(&STANDARD_NO_PAD.encode(&bytes), |_| Some((4, 2))));
            drop(read(&text_of(&bytes), |_| Some((4, 2))));
            let mut bytes = bytes_of(&sample(9));
            if let Some(byte) = bytes.get_mut(at) {
                *byte = to;
            }
            drop(read(&text_of(&bytes), |index| (index < 1000).then_some((4, 2))));
        }
    }

    #[test]
    fn what_is_cut_off_or_goes_on_is_malformed() {
        let bytes = bytes_of(&sample(3));
        for length in 0..bytes.len() {
            let text = text_of(&bytes[..length]);
            assert_eq!(read(&text, |_| Some((4, 2))), Err(Malformed), "{length}");
        }
        let longer = text_of(&[&bytes[..], &[0]].concat());
        assert_eq!(read(&longer, |_| Some((4, 2))), Err(Malformed));
        assert_eq!(read(&write(&sample(3), &RULES), |_| None), Err(Malformed));
    }
}
