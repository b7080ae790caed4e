//! Numbers over memory that Python points at.
//!
//! A span is an address and a length, as `Tensor.data_ptr()` and `Tensor.nbytes` give them. The caller holds the tensors
//! until the call returns. The interpreter lock is released only for large amounts: for small ones, taking it again from
//! a busy thread would cost more than the reading.

use domain::Fingerprint;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
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
