//! Associations by the thousand, from one line: what is there before the first request.

use std::ops::RangeInclusive;
use std::str::FromStr;

use serde::Deserialize;

use crate::association::{Associations, Existing};
use crate::label::Label;
use crate::links::Links;
use crate::object_type::{Lane, ObjectType};

/// Pairs that one line can make: what fits in a few gigabytes.
pub const MAX_SEEDED_PAIRS: u64 = 10_000_000;

/// Pairs of records of two types, each with the same labels.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(try_from = "Written")]
pub struct Seed {
    lane: Lane,
    from_ids: Ids,
    to_ids: Ids,
    labels: Vec<Label>,
    pairing: Pairing,
}

/// Which records of the two lists are associated.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pairing {
    /// Each of the one with each of the other.
    #[default]
    Each,
    /// The first with the first, the second with the second.
    InStep,
}

/// A record, `"1-1000"`, or any list of these.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(try_from = "serde_json::Value")]
struct Ids(Vec<RangeInclusive<u64>>);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Written {
    from: ObjectType,
    to: ObjectType,
    from_ids: Ids,
    to_ids: Ids,
    #[serde(default)]
    types: Vec<Label>,
    #[serde(default)]
    pairing: Pairing,
}

impl TryFrom<Written> for Seed {
    type Error = String;

    fn try_from(Written { from, to, from_ids, to_ids, types: labels, pairing }: Written) -> Result<Self, String> {
        let seed = Self { lane: Lane { from, to }, from_ids, to_ids, labels, pairing };
        seed.checked()
    }
}

/// `contacts:1-1000=companies:9001`: each of the one with each of the other, without labels.
impl FromStr for Seed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} names no associations: write contacts:1-1000=companies:9001");
        let (from, to) = text.split_once('=').ok_or_else(wrong)?;
        let end = |text: &str| {
            let (object_type, ids) = text.split_once(':').ok_or_else(wrong)?;
            Ok::<_, String>((ObjectType::try_from(object_type.to_owned())?, ids.parse::<Ids>()?))
        };
        let ((from, from_ids), (to, to_ids)) = (end(from)?, end(to)?);
        let lane = Lane { from, to };
        Self { lane, from_ids, to_ids, labels: Vec::new(), pairing: Pairing::Each }.checked()
    }
}

impl Seed {
    fn checked(self) -> Result<Self, String> {
        let (from, to) = (self.from_ids.count(), self.to_ids.count());
        let pairs = match self.pairing {
            Pairing::Each => from.saturating_mul(to),
            Pairing::InStep if from == to => from,
            Pairing::InStep => return Err(format!("{from} records in step with {to}: give as many at either end")),
        };
        if pairs > MAX_SEEDED_PAIRS {
            return Err(format!("{pairs} pairs are more than {MAX_SEEDED_PAIRS}: make fewer"));
        }
        Ok(self)
    }

    /// Makes the associations, beside those there are. Where everything existed, only these do then.
    pub fn create(&self, associations: &mut Associations) {
        if let Existing::Everything = associations.existing {
            associations.existing = Existing::Only(Links::default());
        }
        match self.pairing {
            Pairing::Each => {
                let each = self.from_ids.each().flat_map(|from| self.to_ids.each().map(move |to| (from, to)));
                associations.create_all(&self.lane, &self.labels, each);
            }
            Pairing::InStep => {
                let in_step = self.from_ids.each().zip(self.to_ids.each());
                associations.create_all(&self.lane, &self.labels, in_step);
            }
        }
    }
}

impl Ids {
    fn each(&self) -> impl Iterator<Item = u64> {
        self.0.iter().cloned().flatten()
    }

    fn count(&self) -> u64 {
        let sizes = self.0.iter().map(|range| (range.end() - range.start()).saturating_add(1));
        sizes.fold(0, u64::saturating_add)
    }
}

/// `7` or `1-1000`.
impl FromStr for Ids {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} names no records: write 7 or 1-1000");
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last) = (first.parse().map_err(|_| wrong())?, last.parse().map_err(|_| wrong())?);
        if first == 0 || last < first { Err(wrong()) } else { Ok(Self(vec![first..=last])) }
    }
}

impl TryFrom<serde_json::Value> for Ids {
    type Error = String;

    fn try_from(value: serde_json::Value) -> Result<Self, String> {
        use serde_json::Value;
        match value {
            Value::Number(id) => id.to_string().parse(),
            Value::String(text) => text.parse(),
            Value::Array(values) => {
                let all = values.into_iter().map(|value| Self::try_from(value).map(|Self(ranges)| ranges));
                Ok(Self(all.collect::<Result<Vec<_>, _>>()?.concat()))
            }
            Value::Null | Value::Bool(_) | Value::Object(_) => {
                Err(format!("{value} names no records: write 7 or \"1-1000\""))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used)]
    use super::*;

    fn made(seed: &Seed) -> Vec<(u64, u64)> {
        let mut world = Associations::default();
        seed.create(&mut world);
        let Existing::Only(links) = &world.existing else { unreachable!() };
        links.all(&seed.lane).map(|(from, to, _)| (from, to)).collect()
    }

    #[test]
    fn a_line_names_many_pairs() {
        let seed: Seed = "contacts:1-2=companies:8-9".parse().unwrap();
        assert_eq!(made(&seed), [(1, 8), (1, 9), (2, 8), (2, 9)]);
        let json = r#"{"from":"contacts","to":"companies","fromIds":[1,"3-4"],"toIds":"7-9","pairing":"in-step"}"#;
        assert_eq!(made(&serde_json::from_str(json).unwrap()), [(1, 7), (3, 8), (4, 9)]);
    }

    #[test]
    fn nonsense_says_what_is_right() {
        for (text, mend) in [
            ("contacts:1", "contacts:1-1000=companies:9001"),
            ("contacts=companies", "contacts:1-1000=companies:9001"),
            ("pets:1=companies:2", "p_name"),
            ("contacts:2-1=companies:2", "1-1000"),
            ("contacts:0=companies:2", "1-1000"),
            ("contacts:1-9000000=companies:1-9000000", "make fewer"),
        ] {
            let error = text.parse::<Seed>().unwrap_err();
            assert!(error.contains(mend), "{text}: {error}");
        }
        let json = r#"{"from":"contacts","to":"companies","fromIds":"1-3","toIds":7,"pairing":"in-step"}"#;
        assert!(serde_json::from_str::<Seed>(json).unwrap_err().to_string().contains("as many"));
    }
}
