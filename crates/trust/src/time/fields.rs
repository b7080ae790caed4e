//! Walking through DER, element by element.
//!
//! The structures of a time stamp token are read by hand, because what matters is as much where the bytes stand as what
//! they say: signatures are over stretches of the original encoding.

use der::asn1::{AnyRef, ObjectIdentifier};
use der::{Decode as _, Encode as _, Reader as _, SliceReader, Tag, TagNumber};

/// The elements of something that is made of elements.
pub(super) struct Fields<'a>(SliceReader<'a>);

impl<'a> Fields<'a> {
    /// The elements that stand one behind the other in `bytes`.
    pub(super) fn of(bytes: &'a [u8]) -> Option<Self> {
        SliceReader::new(bytes).ok().map(Self)
    }

    /// The elements within the single element `bytes`, which must be a SEQUENCE and all there is.
    pub(super) fn within(bytes: &'a [u8]) -> Option<Self> {
        let mut outer = Self::of(bytes)?;
        let inner = outer.sequence()?;
        outer.end()?;
        Some(inner)
    }

    /// The next element, whatever it is.
    pub(super) fn any(&mut self) -> Option<AnyRef<'a>> {
        AnyRef::from_der(self.encoding()?).ok()
    }

    /// The next element with its header: the bytes as they stand.
    pub(super) fn encoding(&mut self) -> Option<&'a [u8]> {
        self.0.tlv_bytes().ok()
    }

    /// The next element, of this kind; what it holds.
    pub(super) fn value(&mut self, tag: Tag) -> Option<&'a [u8]> {
        let any = self.any()?;
        (any.header().tag() == tag).then(|| any.value())
    }

    pub(super) fn sequence(&mut self) -> Option<Self> {
        Self::of(self.value(Tag::Sequence)?)
    }

    pub(super) fn set(&mut self) -> Option<Self> {
        Self::of(self.value(Tag::Set)?)
    }

    pub(super) fn oid(&mut self) -> Option<ObjectIdentifier> {
        ObjectIdentifier::from_bytes(self.value(Tag::ObjectIdentifier)?).ok()
    }

    /// The algorithm of the next element, an AlgorithmIdentifier; its parameters are passed over.
    pub(super) fn algorithm(&mut self) -> Option<ObjectIdentifier> {
        self.sequence()?.oid()
    }

    /// A small number that is not negative.
    pub(super) fn small(&mut self) -> Option<u32> {
        small(self.value(Tag::Integer)?)
    }

    /// The next element, if it is `[number]`; else nothing is taken.
    pub(super) fn tagged(&mut self, number: u32) -> Option<&'a [u8]> {
        let tag = Tag::peek(&self.0).ok()?;
        let wanted = tag.is_context_specific() && tag.number() == TagNumber(number);
        wanted.then(|| self.any()).flatten().map(AnyRef::value)
    }

    /// The next element, if it is of this kind; else nothing is taken.
    pub(super) fn optional(&mut self, tag: Tag) -> Option<&'a [u8]> {
        let is = Tag::peek(&self.0).is_ok_and(|next| next == tag);
        is.then(|| self.value(tag)).flatten()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_finished()
    }

    /// Nothing may follow.
    pub(super) fn end(&self) -> Option<()> {
        self.is_empty().then_some(())
    }
}

/// An INTEGER's bytes as a small number.
pub(super) fn small(bytes: &[u8]) -> Option<u32> {
    let bytes = bytes
        .strip_prefix(&[0])
        .filter(|rest| !rest.is_empty())
        .unwrap_or(bytes);
    let number = |sum: u32, byte: &u8| sum << 8 | u32::from(*byte);
    (bytes.len() <= 4).then(|| bytes.iter().fold(0, number))
}

/// One element from its parts.
pub(super) fn element(tag: Tag, parts: &[&[u8]]) -> Vec<u8> {
    let value = parts.concat();
    AnyRef::new(tag, &value)
        .and_then(|any| any.to_der())
        .unwrap_or_default()
}
