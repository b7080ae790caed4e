//! Where the parameters of an optimizer lie, what belongs to them, and what stands at a few positions of them.
//!
//! Python decides once which parameters are looked at; a look is done here, because a training step leaves nothing of Python's in the
//! processor's caches, and then each line of it takes microseconds. Objects are asked only by torch's own methods of
//! plain tensors, and only after their class is known. What was checked and is the same object at the same address is not
//! checked again.

use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFloat, PyInt, PyString};

/// Times that the state of a parameter may lie elsewhere before it is no longer told where: some programs make it anew at each step.
const MOVES_MAX: u8 = 4;

/// Address, and dimensions with their strides in elements; without dimensions it is contiguous.
pub(crate) type Column = (usize, Vec<(usize, isize)>);

/// A parameter as Python describes it: the number that it is told by, the tensor, its type and shape, bytes of an element, elements,
/// where its weights are, names of the state that is looked at, and whether it is the part of a distributed one that lies here.
pub(crate) type Described = (
    u32,
    Py<PyAny>,
    Py<PyAny>,
    Py<PyAny>,
    usize,
    u64,
    Column,
    Vec<Py<PyString>>,
    bool,
);

/// What a look needs of torch, as it was before the job could put other things in its place.
#[derive(Debug)]
pub(crate) struct Torch {
    plain: [Py<PyAny>; 2],
    strided: Py<PyAny>,
    float32: Py<PyAny>,
    float64: Py<PyAny>,
    /// Answers how a tensor that is not the usual one is read; `None` if it is not, and then that was told.
    column: Py<PyAny>,
}

impl Torch {
    /// From torch's two plain classes, its strided layout, its two types of floats, and what reads all else.
    pub(crate) fn new(
        (tensor, parameter, strided): (Py<PyAny>, Py<PyAny>, Py<PyAny>),
        (float32, float64): (Py<PyAny>, Py<PyAny>),
        column: Py<PyAny>,
    ) -> Self {
        Self {
            plain: [tensor, parameter],
            strided,
            float32,
            float64,
            column,
        }
    }

    fn is_plain(&self, object: &Bound<'_, PyAny>) -> bool {
        let kind = object.get_type();
        self.plain.iter().any(|it| kind.is(it))
    }

    /// How `tensor`, which must have the type and shape of its parameter, is read; `None` if it is not.
    fn column(
        &self,
        tensor: &Bound<'_, PyAny>,
        entry: &Entry,
        what: &str,
    ) -> PyResult<Option<Column>> {
        let py = tensor.py();
        let found = self.local(tensor, entry)?;
        let tensor = found.as_ref().unwrap_or(tensor);
        if self.is_plain(tensor)
            && self.usual(tensor, entry)?
            && let address @ 1.. = address_of(tensor)?
        {
            return Ok(Some((address, Vec::new())));
        }
        let found = self
            .column
            .call1(py, (tensor, &entry.kind, &entry.shape, what))?;
        found.extract(py)
    }

    /// The part of a distributed tensor that lies in this process; `None` where there is no other.
    fn local<'py>(
        &self,
        tensor: &Bound<'py, PyAny>,
        entry: &Entry,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        if !entry.part || self.is_plain(tensor) {
            return Ok(None);
        }
        part_of(tensor).map(Some)
    }

    /// Whether it lies in this process's memory without gaps, as its parameter does.
    fn usual(&self, tensor: &Bound<'_, PyAny>, entry: &Entry) -> PyResult<bool> {
        let py = tensor.py();
        let yes = |name: &Bound<'_, PyString>| tensor.call_method0(name)?.is_truthy();
        Ok(tensor.getattr(intern!(py, "is_cpu"))?.is_truthy()?
            && tensor.getattr(intern!(py, "layout"))?.is(&self.strided)
            && tensor.getattr(intern!(py, "dtype"))?.is(&entry.kind)
            && tensor
                .getattr(intern!(py, "shape"))?
                .eq(entry.shape.bind(py))?
            && !yes(intern!(py, "is_neg"))?
            && yes(intern!(py, "is_contiguous"))?)
    }

    /// The count of steps in a state; `None` where it is no whole number that can be read at once.
    fn count(
        &self,
        known: &mut Option<(Py<PyAny>, usize, usize)>,
        count: &Bound<'_, PyAny>,
    ) -> PyResult<Option<u64>> {
        let py = count.py();
        if !self.is_plain(count) {
            let number = count.is_instance_of::<PyFloat>() || count.is_instance_of::<PyInt>();
            return Ok(if number {
                whole(count.extract()?)
            } else {
                None
            });
        }
        let address = address_of(count)?;
        if let Some((object, at, size)) = known
            && count.is(&*object)
            && address == *at
        {
            return Ok(number_at(address, *size).and_then(whole));
        }
        *known = None;
        let one = count.getattr(intern!(py, "is_cpu"))?.is_truthy()?
            && count
                .call_method0(intern!(py, "numel"))?
                .extract::<usize>()?
                == 1;
        if !one {
            return Ok(None);
        }
        let kind = count.getattr(intern!(py, "dtype"))?;
        let size = if kind.is(&self.float32) {
            4
        } else if kind.is(&self.float64) {
            8
        } else {
            let value = count.call_method0(intern!(py, "item"))?;
            return Ok(value.extract::<f64>().ok().and_then(whole));
        };
        *known = Some((count.clone().unbind(), address, size));
        Ok(number_at(address, size).and_then(whole))
    }
}

/// A column of state that was checked.
struct Known {
    name: usize,
    value: Py<PyAny>,
    address: usize,
    column: Column,
}

/// One parameter.
pub(crate) struct Entry {
    pub(crate) index: u32,
    pub(crate) elements: u64,
    parameter: Py<PyAny>,
    /// It is a distributed tensor, of which a part lies here.
    part: bool,
    kind: Py<PyAny>,
    shape: Py<PyAny>,
    size: usize,
    weight: Column,
    names: Vec<Py<PyString>>,
    state: Vec<Known>,
    steps: Option<(Py<PyAny>, usize, usize)>,
    gradient: Option<(Py<PyAny>, usize, Column)>,
    /// Which of the names were told as those of its state, where it and the weights lie, how often they lay elsewhere, and whether this is
    /// to be told.
    told: Vec<usize>,
    at: Vec<usize>,
    moves: u8,
    untold: bool,
}

/// What was read of one parameter.
#[derive(Clone, Default)]
pub(crate) struct Seen {
    pub(crate) size: usize,
    pub(crate) weights: Vec<u8>,
    pub(crate) gradients: Option<Vec<u8>>,
    pub(crate) state: Option<Vec<Vec<u8>>>,
    pub(crate) steps: Option<u64>,
}

impl Entry {
    pub(crate) fn new(described: Described) -> Self {
        let (index, parameter, kind, shape, size, elements, weight, names, part) = described;
        Self {
            index,
            elements,
            parameter,
            part,
            kind,
            shape,
            size,
            weight,
            names,
            state: Vec::new(),
            steps: None,
            gradient: None,
            told: Vec::new(),
            at: Vec::new(),
            moves: 0,
            untold: true,
        }
    }

    /// What `id()` answers for it.
    pub(crate) fn identity(&self) -> usize {
        self.parameter.as_ptr().addr()
    }

    /// Whether its weights still lie where they did.
    pub(crate) fn stands(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.address(self.parameter.bind(py))? == self.weight.0)
    }

    /// Where a tensor, or the part of it that is here, begins.
    fn address(&self, tensor: &Bound<'_, PyAny>) -> PyResult<usize> {
        match self.part.then(|| part_of(tensor)) {
            Some(Ok(part)) => address_of(&part),
            _ => address_of(tensor),
        }
    }

    /// Whether anybody set hooks on it.
    pub(crate) fn hooked(&self, py: Python<'_>) -> PyResult<bool> {
        let hooks = self
            .parameter
            .bind(py)
            .getattr(intern!(py, "_backward_hooks"))?;
        Ok(!hooks.is_none() && hooks.is_truthy()?)
    }

    /// Forgets the gradient that was checked, so that it is not held.
    pub(crate) fn let_go(&mut self) {
        self.gradient = None;
    }

    /// The names of its state, and where weights and state lie, if they are to be told now.
    pub(crate) fn untold(&mut self, py: Python<'_>) -> Option<(Vec<Py<PyString>>, Vec<usize>)> {
        if !std::mem::take(&mut self.untold) {
            return None;
        }
        let names = self.told.iter().filter_map(|it| self.names.get(*it));
        let names = names.map(|name| name.clone_ref(py)).collect();
        let mut at = Vec::new();
        if self.moves <= MOVES_MAX {
            at = self.places();
            if let (false, Some((_, count, 4))) = (at.is_empty(), &self.steps) {
                at.push(*count);
            }
        }
        Some((names, at))
    }

    /// Where weights and state lie; nothing where one of them has gaps.
    fn places(&self) -> Vec<usize> {
        let columns = std::iter::once(&self.weight).chain(self.state.iter().map(|it| &it.column));
        let whole = columns.map(|(at, gaps)| gaps.is_empty().then_some(*at));
        whole.collect::<Option<_>>().unwrap_or_default()
    }

    /// What stands at `positions`: weights, state and its count of steps, gradients if they are asked for. `None` if not all of
    /// it can be read.
    pub(crate) fn look(
        &mut self,
        torch: &Torch,
        states: &Bound<'_, PyDict>,
        positions: &[u64],
        gradients: bool,
    ) -> PyResult<Option<Seen>> {
        let py = states.py();
        if !self.stands(py)? {
            return Ok(None);
        }
        let mut seen = Seen {
            size: self.size,
            weights: gather(positions, self.size, &self.weight)?,
            ..Seen::default()
        };
        if let Some(state) = states.get_item(&self.parameter)?
            && let Ok(state) = state.cast::<PyDict>()
            && !state.is_empty()
        {
            if !self.look_at_state(torch, state)? {
                return Ok(None);
            }
            if !self.state.is_empty() {
                let columns = self.state.iter();
                let columns = columns.map(|it| gather(positions, self.size, &it.column));
                seen.state = Some(columns.collect::<PyResult<_>>()?);
            }
            if let Some(count) = state.get_item(intern!(py, "step"))? {
                seen.steps = torch.count(&mut self.steps, &count)?;
            }
        }
        if gradients {
            match self.gradient(torch, positions, None, py)? {
                Gradient::Unread => return Ok(None),
                Gradient::Gone => {}
                Gradient::Bytes(bytes) => seen.gradients = Some(bytes),
            }
        }
        Ok(Some(seen))
    }

    /// Whether its state, which is checked where it is not the same as before, can be read.
    fn look_at_state(&mut self, torch: &Torch, state: &Bound<'_, PyDict>) -> PyResult<bool> {
        let mut same = !self.state.is_empty();
        for known in &self.state {
            let Some(name) = self.names.get(known.name) else {
                continue;
            };
            same = same
                && match state.get_item(name)? {
                    Some(value) => value.is(&known.value) && self.address(&value)? == known.address,
                    None => false,
                };
        }
        if same {
            return Ok(true);
        }
        self.state.clear();
        let mut found = Vec::new();
        for (number, name) in self.names.iter().enumerate() {
            let Some(value) = state.get_item(name)?.filter(|it| !it.is_none()) else {
                continue;
            };
            let Some(column) = torch.column(&value, self, "the state")? else {
                return Ok(false);
            };
            found.push(Known {
                name: number,
                address: self.address(&value)?,
                value: value.unbind(),
                column,
            });
        }
        let names: Vec<usize> = found.iter().map(|it| it.name).collect();
        if !names.is_empty() && names != self.told {
            self.told = names;
            self.untold = true;
        }
        self.state = found;
        let at = self.places();
        if at != self.at {
            self.at = at;
            self.moves = self.moves.saturating_add(1);
            self.untold |= self.moves <= MOVES_MAX + 1;
        }
        Ok(true)
    }

    /// The gradients at `positions`: of `other`, or the parameter's own.
    pub(crate) fn gradient(
        &mut self,
        torch: &Torch,
        positions: &[u64],
        other: Option<Bound<'_, PyAny>>,
        py: Python<'_>,
    ) -> PyResult<Gradient> {
        let own = other.is_none();
        let gradient = match other {
            Some(other) => other,
            None => self.parameter.bind(py).getattr(intern!(py, "grad"))?,
        };
        if gradient.is_none() {
            return Ok(Gradient::Gone);
        }
        if own
            && let Some((object, at, column)) = &self.gradient
            && gradient.is(object)
            && self.address(&gradient)? == *at
        {
            return gather(positions, self.size, column).map(Gradient::Bytes);
        }
        let Some(column) = torch.column(&gradient, self, "the gradient")? else {
            return Ok(Gradient::Unread);
        };
        let bytes = gather(positions, self.size, &column)?;
        if own {
            self.gradient = Some((gradient.unbind(), column.0, column));
        }
        Ok(Gradient::Bytes(bytes))
    }
}

/// A gradient at a few positions.
pub(crate) enum Gradient {
    /// There is none.
    Gone,
    /// It cannot be read.
    Unread,
    /// Its elements.
    Bytes(Vec<u8>),
}

/// What a distributed tensor keeps here.
fn part_of<'py>(tensor: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    tensor.getattr(intern!(tensor.py(), "_local_tensor"))
}

fn address_of(tensor: &Bound<'_, PyAny>) -> PyResult<usize> {
    tensor
        .call_method0(intern!(tensor.py(), "data_ptr"))?
        .extract()
}

/// `value` as a count.
fn whole(value: f64) -> Option<u64> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked: not negative, below 2^53, without a fraction"
    )]
    ((0.0..9e15).contains(&value) && value.fract() == 0.0).then_some(value as u64)
}

/// The float of `size` bytes at `address`, which a tensor of one element has.
fn number_at(address: usize, size: usize) -> Option<f64> {
    let bytes = gather(&[0], size, &(address, Vec::new())).ok()?;
    match size {
        4 => Some(f64::from(f32::from_le_bytes(
            bytes.as_slice().try_into().ok()?,
        ))),
        _ => Some(f64::from_le_bytes(bytes.as_slice().try_into().ok()?)),
    }
}

fn gather(positions: &[u64], size: usize, (address, dimensions): &Column) -> PyResult<Vec<u8>> {
    let mut bytes = Vec::with_capacity(positions.len() * size);
    for position in positions {
        let element = place(*position, dimensions).and_then(|at| {
            let offset = at.checked_mul(isize::try_from(size).ok()?)?;
            address.checked_add_signed(offset).filter(|_| *address != 0)
        });
        let element =
            element.ok_or_else(|| PyValueError::new_err("an element lies outside the memory"))?;
        // SAFETY: the address is that of a dense tensor of this process which has at least as many elements as the positions were
        // drawn for, with its own strides; it was asked of the tensor, or compared with what the tensor answers, within this call, which
        // holds the tensor. Bytes have no alignment and no invalid values. Another thread of the job may write meanwhile:
        // then an element is torn.
        #[expect(unsafe_code, reason = "an address from Python is all there is")]
        let element =
            unsafe { std::slice::from_raw_parts(std::ptr::with_exposed_provenance(element), size) };
        bytes.extend_from_slice(element);
    }
    Ok(bytes)
}

/// The offset in elements of the element that is number `position` of a contiguous tensor of these dimensions.
fn place(position: u64, dimensions: &[(usize, isize)]) -> Option<isize> {
    let mut left = usize::try_from(position).ok()?;
    if dimensions.is_empty() {
        return isize::try_from(left).ok();
    }
    let mut offset = 0isize;
    for (length, stride) in dimensions.iter().rev() {
        let at = isize::try_from(left.checked_rem(*length)?).ok()?;
        left /= length;
        offset = offset.checked_add(at.checked_mul(*stride)?)?;
    }
    (left == 0).then_some(offset)
}
