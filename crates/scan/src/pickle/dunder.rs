//! Attributes between double underscores: which of them decide what an object is.
//!
//! Python keeps such names for itself, and looks some of them up where nobody wrote them: to call, to copy, to save again, to
//! find the memory behind an array. A state that sets one of those turns an object into something else than its class says.
//! Frameworks use the form for marks of their own (`__overloads__` on a module that was scripted); such a mark is read by
//! who put it there, as data, so it counts only where its value is more than data.

/// Names of Python's data model, of its modules and of its own types, without the underscores: what `dir` shows of all
/// types of CPython 3.10 to 3.14, and what its reference lists beside that.
const PYTHON: &str = "\
    abs abstractmethods add aenter aexit aiter all alloc and anext annotate annotations args await base \
    bases basicsize bool buffer builtins bytes cached call callback cause ceil class class_getitem \
    classcell closure code complex contains context copy defaults del delattr delete delitem dict \
    dictoffset dir divmod doc enter eq exit file final flags float floor floordiv format fspath func \
    future ge get getattr getattribute getinitargs getitem getnewargs getnewargs_ex getstate globals gt \
    hash iadd iand ifloordiv ilshift imatmul imod import imul index init init_subclass instancecheck int \
    invert ior ipow irshift isabstractmethod isub itemsize iter itruediv ixor kwdefaults le len \
    length_hint loader lshift lt main match_args matmul members missing mod module mro mro_entries mul \
    name ne neg new next objclass or orig_bases origin package parameters path pos post_init pow prepare \
    qualname radd rand rdivmod reduce reduce_ex release_buffer replace repr reversed rfloordiv rlshift \
    rmatmul rmod rmul ror round rpow rrshift rshift rsub rtruediv rxor self self_class set set_name \
    setattr setitem setstate signature sizeof slots spec static_attributes str sub subclasscheck \
    subclasses subclasshook suppress_context text_signature thisclass traceback truediv trunc \
    type_params vectorcalloffset weakref weakrefoffset wrapped xor";

/// Protocols that numbers are handed over by: an address or a buffer is taken from what such an attribute says.
const BUFFERS: [&str; 5] = ["array", "cuda_array", "dlpack", "numpy", "torch"];

/// What lies between the underscores, if `part` is such a name.
fn inner(part: &str) -> Option<&str> {
    let inner = part.strip_prefix("__")?.strip_suffix("__")?;
    (!inner.is_empty()).then_some(inner)
}

/// Whether `part` stands between double underscores.
pub(super) fn is_dunder(part: &str) -> bool {
    inner(part).is_some()
}

/// Whether Python, or those who share buffers, look the attribute up by themselves.
pub(super) fn is_looked_up(part: &str) -> bool {
    inner(part).is_some_and(|inner| {
        PYTHON.split_ascii_whitespace().any(|name| name == inner)
            || BUFFERS.iter().any(|protocol| inner.starts_with(protocol))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_python_looks_up_is_told_from_the_marks_of_frameworks() {
        for name in [
            "__class__",
            "__reduce_ex__",
            "__xor__",
            "__array_interface__",
            "__torch_function__",
        ] {
            assert!(is_looked_up(name), "{name}");
        }
        for name in ["__overloads__", "__my_mark__", "__", "____", "__x", "call"] {
            assert!(!is_looked_up(name), "{name}");
        }
        assert!(is_dunder("__overloads__") && !is_dunder("____"));
    }
}
