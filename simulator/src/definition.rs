//! Which types of association there are between two object types, and what each is called from the other end.

use std::borrow::Cow;

use hashbrown::{HashMap, HashSet};

use crate::label::{Label, LabelCategory};
use crate::object_type::Lane;

/// One type of association, seen from one end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Definition {
    pub label: Label,
    /// `None` for the plain association.
    pub name: Option<Cow<'static, str>>,
    /// The same type seen from the other end.
    pub inverse: Label,
    pub role: Role,
    pub creation: Creation,
}

/// What the type means for a pair.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// The plain association: every associated pair has it, and to remove it is to remove the association.
    Plain,
    /// The main record of the one at this end: it can have one, while a record may be the main one of many.
    Primary(End),
    Named,
}

/// One end of a lane.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    From,
    To,
}

/// Whether `batch/create` takes the type.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Creation {
    #[default]
    Open,
    /// Only its owner (HubSpot itself or another app) can make it.
    OwnerOnly,
}

/// The types of one account: HubSpot's own, and those that its users made.
#[derive(Debug)]
pub struct Definitions {
    made: HashMap<Lane, Vec<Definition>>,
    /// The next number for a plain type between object types that HubSpot's table does not have.
    next_id: u32,
}

impl Default for Definitions {
    fn default() -> Self {
        Self { made: HashMap::new(), next_id: 1001 }
    }
}

impl Definitions {
    /// All types of a lane, HubSpot's own first. Between types that HubSpot's table does not have, the plain type is
    /// there once it was [needed](Self::plain).
    pub fn of(&self, lane: &Lane) -> Vec<Definition> {
        let own = STANDARD.iter().filter_map(|standard| standard.seen_from(lane));
        own.chain(self.made.get(lane).into_iter().flatten().cloned()).collect()
    }

    pub fn find(&self, lane: &Lane, label: Label) -> Option<Definition> {
        let own = STANDARD.iter().filter_map(|standard| standard.seen_from(lane));
        let found = own.into_iter().find(|definition| definition.label == label);
        found.or_else(|| self.made.get(lane)?.iter().find(|definition| definition.label == label).cloned())
    }

    /// The plain type of a lane; an account gets a number for it where HubSpot has none.
    pub fn plain(&mut self, lane: &Lane) -> Definition {
        let known = self.of(lane).into_iter().find(|definition| definition.role == Role::Plain);
        known.unwrap_or_else(|| {
            let label = Label { category: LabelCategory::UserDefined, type_id: self.free_id() };
            let inverse = if lane.from == lane.to { label } else { Label { type_id: self.free_id(), ..label } };
            let definition = Definition { label, name: None, inverse, role: Role::Plain, creation: Creation::Open };
            self.add(lane, definition.clone(), None);
            definition
        })
    }

    /// Adds a label with the name it has at this end and, if it is another one, at the other end.
    pub fn define(&mut self, lane: &Lane, label: Label, name: &str, inverse: (Label, &str), creation: Creation) {
        let (inverse, inverse_name) = inverse;
        let name = Some(Cow::Owned(name.to_owned()));
        let definition = Definition { label, name, inverse, role: Role::Named, creation };
        self.add(lane, definition, Some(Cow::Owned(inverse_name.to_owned())));
    }

    fn free_id(&mut self) -> u32 {
        let given = |id| self.made.values().flatten().any(|definition| definition.label.type_id == id);
        while given(self.next_id) {
            self.next_id += 1;
        }
        self.next_id += 1;
        self.next_id - 1
    }

    /// Takes away all labels with names that users made but for some, and says which they were, each at both ends.
    pub fn keep_labels(&mut self, kept: &HashSet<(Lane, Label)>) -> Vec<(Lane, Label)> {
        let mut gone = Vec::new();
        for (lane, definitions) in &mut self.made {
            let named = |definition: &mut Definition| {
                definition.role == Role::Named && !kept.contains(&(lane.clone(), definition.label))
            };
            gone.extend(definitions.extract_if(.., named).map(|definition| (lane.clone(), definition.label)));
        }
        gone
    }

    fn add(&mut self, lane: &Lane, definition: Definition, inverse_name: Option<Cow<'static, str>>) {
        let Definition { label, inverse, role, creation, .. } = definition;
        let back = Definition { label: inverse, name: inverse_name, inverse: label, role, creation };
        let other_end = (lane.from != lane.to || inverse != label).then(|| (lane.reversed(), back));
        for (lane, definition) in [(lane.clone(), definition)].into_iter().chain(other_end) {
            let known = self.made.entry(lane).or_default();
            known.retain(|one| one.label != definition.label);
            known.push(definition);
        }
    }
}

/// A line of HubSpot's published table: a type between two object types with its number at either end.
struct Standard {
    ends: (&'static str, &'static str),
    ids: (u32, u32),
    names: Option<(&'static str, &'static str)>,
    kind: Kind,
}

#[derive(Clone, Copy)]
enum Kind {
    Plain,
    /// One for each record of the first end.
    Primary,
    Named,
}

impl Standard {
    fn seen_from(&self, lane: &Lane) -> Option<Definition> {
        let ends = (lane.from.as_str(), lane.to.as_str());
        let (ids, names, primary_of) = if ends == self.ends {
            (self.ids, self.names, End::From)
        } else if ends == (self.ends.1, self.ends.0) {
            ((self.ids.1, self.ids.0), self.names.map(|(one, other)| (other, one)), End::To)
        } else {
            return None;
        };
        let label = |type_id| Label { category: LabelCategory::HubspotDefined, type_id };
        Some(Definition {
            label: label(ids.0),
            name: names.map(|(name, _)| Cow::Borrowed(name)),
            inverse: label(ids.1),
            role: match self.kind {
                Kind::Plain => Role::Plain,
                Kind::Primary => Role::Primary(primary_of),
                Kind::Named => Role::Named,
            },
            creation: Creation::Open,
        })
    }
}

const fn plain(from: &'static str, to: &'static str, ids: (u32, u32)) -> Standard {
    Standard { ends: (from, to), ids, names: None, kind: Kind::Plain }
}

const fn primary(from: &'static str, to: &'static str, ids: (u32, u32)) -> Standard {
    Standard { ends: (from, to), ids, names: Some(("Primary", "Primary")), kind: Kind::Primary }
}

/// One end of a label between two records of one type; the other end is a line of its own.
const fn within(object_type: &'static str, ids: (u32, u32), names: (&'static str, &'static str)) -> Standard {
    Standard { ends: (object_type, object_type), ids, names: Some(names), kind: Kind::Named }
}

/// Contacts 0-1, companies 0-2, deals 0-3, tickets 0-5, line items 0-8, tasks 0-27, notes 0-46, meetings 0-47,
/// calls 0-48, emails 0-49.
const STANDARD: [Standard; 36] = [
    plain("0-1", "0-2", (279, 280)),
    primary("0-1", "0-2", (1, 2)),
    plain("0-1", "0-3", (4, 3)),
    plain("0-1", "0-5", (15, 16)),
    plain("0-3", "0-2", (341, 342)),
    primary("0-3", "0-2", (5, 6)),
    plain("0-5", "0-2", (339, 340)),
    primary("0-5", "0-2", (26, 25)),
    plain("0-3", "0-5", (27, 28)),
    plain("0-1", "0-1", (449, 449)),
    plain("0-2", "0-2", (450, 450)),
    within("0-2", (13, 14), ("Child Company", "Parent Company")),
    within("0-2", (14, 13), ("Parent Company", "Child Company")),
    plain("0-3", "0-3", (451, 451)),
    plain("0-5", "0-5", (452, 452)),
    plain("0-3", "0-8", (19, 20)),
    plain("0-1", "0-46", (201, 202)),
    plain("0-1", "0-27", (203, 204)),
    plain("0-1", "0-47", (199, 200)),
    plain("0-1", "0-48", (193, 194)),
    plain("0-1", "0-49", (197, 198)),
    plain("0-2", "0-46", (189, 190)),
    plain("0-2", "0-27", (191, 192)),
    plain("0-2", "0-47", (187, 188)),
    plain("0-2", "0-48", (181, 182)),
    plain("0-2", "0-49", (185, 186)),
    plain("0-3", "0-46", (213, 214)),
    plain("0-3", "0-27", (215, 216)),
    plain("0-3", "0-47", (211, 212)),
    plain("0-3", "0-48", (205, 206)),
    plain("0-3", "0-49", (209, 210)),
    plain("0-5", "0-46", (227, 228)),
    plain("0-5", "0-27", (229, 230)),
    plain("0-5", "0-47", (225, 226)),
    plain("0-5", "0-48", (219, 220)),
    plain("0-5", "0-49", (223, 224)),
];

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used)]
    use super::*;

    fn lane(from: &str, to: &str) -> Lane {
        Lane::parse(from, to).unwrap()
    }

    fn user(type_id: u32) -> Label {
        Label { category: LabelCategory::UserDefined, type_id }
    }

    #[test]
    fn every_type_leads_to_its_inverse_and_back() {
        let mut definitions = Definitions::default();
        definitions.define(&lane("deals", "deals"), user(7), "Follows", (user(8), "Precedes"), Creation::Open);
        let custom = lane("2-1", "p_pets");
        definitions.plain(&custom);
        let standard = STANDARD.iter().map(|standard| lane(standard.ends.0, standard.ends.1));
        for lane in standard.chain([custom]) {
            let all = definitions.of(&lane);
            assert_eq!(all.iter().filter(|one| one.role == Role::Plain).count(), 1, "{lane:?}");
            for definition in all {
                let back = definitions.find(&lane.reversed(), definition.inverse).unwrap();
                assert_eq!(back.inverse, definition.label, "{lane:?}");
            }
        }
    }

    #[test]
    fn numbers_are_directional_and_given_out_once() {
        let mut definitions = Definitions::default();
        let (contacts, pets) = (lane("contacts", "companies"), lane("contacts", "p_pets"));
        assert_eq!(definitions.plain(&contacts).label.type_id, 279);
        assert_eq!(definitions.plain(&contacts.reversed()).label.type_id, 280);
        let plain = definitions.plain(&pets);
        assert_eq!((plain.label, plain.inverse), (user(1001), user(1002)));
        assert_eq!(definitions.plain(&pets.reversed()).label, user(1002));
        assert_eq!(definitions.plain(&lane("p_pets", "p_pets")).inverse, user(1003));
        assert_eq!(definitions.find(&contacts, user(279)), None);
    }

    #[test]
    fn a_company_is_primary_of_many_and_a_contact_has_one() {
        let definitions = Definitions::default();
        let role = |lane: &Lane, type_id| {
            let label = Label { category: LabelCategory::HubspotDefined, type_id };
            definitions.find(lane, label).unwrap().role
        };
        assert_eq!(role(&lane("contacts", "companies"), 1), Role::Primary(End::From));
        assert_eq!(role(&lane("companies", "contacts"), 2), Role::Primary(End::To));
    }

    #[test]
    fn labels_can_be_taken_away_and_the_plain_type_stays() {
        let mut definitions = Definitions::default();
        let pets = lane("contacts", "p_pets");
        let plain = definitions.plain(&pets);
        definitions.define(&pets, user(37), "Owner", (user(38), "Owned by"), Creation::Open);
        assert_eq!(definitions.of(&pets).len(), 2);
        let all = [(pets.clone(), user(37)), (pets.reversed(), user(38))];
        assert_eq!(definitions.keep_labels(&all.clone().into()), []);
        let mut gone = definitions.keep_labels(&HashSet::new());
        gone.sort();
        assert_eq!(gone, all);
        assert_eq!(definitions.of(&pets), [plain]);
    }
}
