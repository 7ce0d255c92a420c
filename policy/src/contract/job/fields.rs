//! The fields of one object: each may come once, and a field that is not known may not come at all.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Error, MapAccess, Visitor};

use super::place::{Place, quoted};
use super::reading::{Reading, Seed};

/// The names of an object's fields.
pub(super) trait FieldName: Copy + 'static {
    /// At most sixteen.
    const ALL: &'static [(&'static str, Self)];
}

/// Reads the names of an object that stands at `of`.
pub(super) struct Fields<F> {
    of: Place,
    /// One bit a field, in the order of [`FieldName::ALL`].
    seen: u16,
    names: PhantomData<F>,
}

impl<F: FieldName> Fields<F> {
    pub(super) fn new(of: Place) -> Self {
        Self { of, seen: 0, names: PhantomData }
    }

    /// The next field, whose value is to be read next; `None` after the last.
    pub(super) fn next<'de, A: MapAccess<'de>>(
        &mut self,
        reading: &mut Reading,
        map: &mut A,
    ) -> Result<Option<F>, A::Error> {
        reading.at = self.of;
        let Some(index) = map.next_key_seed(Seed(Name(self.names)))? else { return Ok(None) };
        let (name, field) = F::ALL[index];
        if self.seen & 1 << index != 0 {
            return Err(A::Error::custom(format_args!("has the field {} twice; keep one of the two", quoted(name))));
        }
        self.seen |= 1 << index;
        Ok(Some(field))
    }
}

/// A name, read as its index in [`FieldName::ALL`].
struct Name<F>(PhantomData<F>);

impl<'de, F: FieldName> Visitor<'de> for Name<F> {
    type Value = usize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<usize, E> {
        F::ALL.iter().position(|(known, _)| *known == name).ok_or_else(|| {
            let known: Vec<_> = F::ALL.iter().map(|(known, _)| *known).collect();
            let (name, known) = (quoted(name), known.join(", "));
            E::custom(format_args!(
                "has the unknown field {name}, and none is ignored: correct its name, or remove it if the job means the same without it. These are allowed: {known}"
            ))
        })
    }
}
