//! Numbers over memory that Python points at.
//!
//! A span is an address and a length, as `Tensor.data_ptr()` and `Tensor.nbytes` give them. The caller holds the tensors
//! until the call returns. The interpreter lock is released only for large amounts: for small ones, taking it again from
//! a busy thread would cost more than the reading.

use domain::Fingerprint;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyCapsule;
use training::ElementKind;

/// Address and number of bytes.
pub(crate) type Span = (usize, usize);

/// Address, number of bytes, and torch's name of the elements: `float32`.
pub(crate) type KindSpan = (usize, usize, String);

/// Bytes that are read without releasing the interpreter lock, about 0.3 ms.
const HELD_BYTES_MAX: usize = 4 << 20;

/// The fingerprint of the bytes at `spans`, 32 hexadecimal digits.
#[pyfunction]
#[expect(
    clippy::needless_pass_by_value,
    reason = "Python's arguments are converted into owned values"
)]
pub(crate) fn fingerprint(py: Python<'_>, spans: Vec<Span>) -> PyResult<String> {
    Ok(of_spans(py, &spans)?.to_string())
}

/// The sum of the squares of the elements at `spans`; `None` if one of them has no float elements.
#[pyfunction]
#[expect(
    clippy::needless_pass_by_value,
    reason = "Python's arguments are converted into owned values"
)]
pub(crate) fn sum_of_squares(py: Python<'_>, spans: Vec<KindSpan>) -> PyResult<Option<f64>> {
    squares(py, &spans)
}

pub(crate) fn of_spans(py: Python<'_>, spans: &[Span]) -> PyResult<Fingerprint> {
    let total = check(spans.iter().copied())?;
    let compute = || training::fingerprint::of_buffers(spans.iter().map(|&span| bytes_at(span)));
    Ok(if total > HELD_BYTES_MAX {
        py.detach(compute)
    } else {
        compute()
    })
}

/// How many spans there are, and the short number of each as [`domain::Replica`] has them.
pub(crate) fn of_parts(py: Python<'_>, spans: &[Span]) -> PyResult<(u32, String)> {
    let total = check(spans.iter().copied())?;
    let compute = || training::replicas::parts_of(spans.iter().map(|&span| bytes_at(span)));
    let parts = if total > HELD_BYTES_MAX {
        py.detach(compute)
    } else {
        compute()
    };
    Ok((u32::try_from(spans.len()).unwrap_or(u32::MAX), parts))
}

pub(crate) fn squares(py: Python<'_>, spans: &[KindSpan]) -> PyResult<Option<f64>> {
    let total = check(spans.iter().map(|&(address, length, _)| (address, length)))?;
    let compute = || {
        spans.iter().try_fold(0.0, |sum, (address, length, name)| {
            let kind = ElementKind::from_torch_name(name)?;
            Some(sum + training::fingerprint::sum_of_squares(kind, bytes_at((*address, *length)))?)
        })
    };
    Ok(if total > HELD_BYTES_MAX {
        py.detach(compute)
    } else {
        compute()
    })
}

/// The bytes of all spans together; `ValueError` for one that no tensor can have.
fn check(spans: impl Iterator<Item = Span>) -> PyResult<usize> {
    let mut total = 0usize;
    for (address, length) in spans {
        let possible = length == 0 || address != 0 && address.checked_add(length).is_some();
        match total.checked_add(length) {
            Some(sum) if possible && sum <= isize::MAX.unsigned_abs() => total = sum,
            _ => return Err(PyValueError::new_err("a span lies outside the memory")),
        }
    }
    Ok(total)
}

/// Bytes of a Mersenne Twister: 624 words, and the place among them behind (NumPy's) or before them (Python's).
const TWISTER_BYTES: usize = 625 * 4;
/// Bytes of a Python object before what is its own.
const HEADER_BYTES: usize = 2 * size_of::<usize>();

/// The bytes in which CPython keeps the state of a `random.Random`, if `generator` is as large as one; what they say must be held against
/// `getstate()` before it is believed.
pub(crate) fn twister_of<'a>(generator: &'a Bound<'_, PyAny>) -> PyResult<Option<&'a [u8]>> {
    let kind = generator.get_type();
    let size: usize = kind
        .getattr(pyo3::intern!(kind.py(), "__basicsize__"))?
        .extract()?;
    if size < HEADER_BYTES + TWISTER_BYTES {
        return Ok(None);
    }
    let address = generator.as_ptr().expose_provenance();
    Ok(Some(bytes_at((address + HEADER_BYTES, TWISTER_BYTES))))
}

/// Whether these bytes are the 624 words and the place that `getstate()` answered.
pub(crate) fn is_twister(raw: &[u8], words: &[u32]) -> bool {
    let (raw, rest) = raw.as_chunks::<4>();
    let raw = raw.iter().map(|it| u32::from_le_bytes(*it));
    let Some((place, state)) = words.split_last() else {
        return false;
    };
    rest.is_empty() && raw.eq(std::iter::once(*place).chain(state.iter().copied()))
}

/// The state behind the capsule of NumPy's Mersenne Twister.
pub(crate) fn mersenne_twister<'a>(generator: &'a Bound<'_, PyCapsule>) -> PyResult<&'a [u8]> {
    let pointer = generator.pointer_checked(Some(c"BitGenerator"))?;
    // SAFETY: a capsule of that name holds NumPy's `bitgen_t`, by its documented interface; the first field is the pointer to the
    // generator's state. The caller passes one of class `MT19937`, whose state has this many bytes, and holds it.
    #[expect(unsafe_code, reason = "a documented C interface")]
    let state = unsafe { pointer.cast::<usize>().read() };
    if state == 0 {
        return Err(PyValueError::new_err("a generator without a state"));
    }
    Ok(bytes_at((state, TWISTER_BYTES)))
}

pub(crate) fn bytes_at<'a>((address, length): Span) -> &'a [u8] {
    if length == 0 {
        return &[];
    }
    // SAFETY: the caller passes address and length of a contiguous tensor in the process's own memory and holds the
    // tensor until the call returns, so the memory stays mapped; `check` refused null and wrap-around; bytes have no
    // alignment and no invalid values. Another thread of the job may write meanwhile: then the number is of a mixture.
    #[expect(unsafe_code, reason = "an address from Python is all there is")]
    unsafe {
        std::slice::from_raw_parts(std::ptr::with_exposed_provenance(address), length)
    }
}
