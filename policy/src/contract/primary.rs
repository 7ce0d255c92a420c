//! HubSpot's label Primary: the association types of which a record has at most one.
//!
//! The ids are those of the tables "Default association type IDs" in HubSpot's guide to the associations API, as of
//! 30 March 2026, where these types are called primary; its text says that of several associated companies only one can
//! be the primary company. Two directions are not in the tables: contact to primary of a lead is known from one
//! integrator, company to primary of a lead and company to project from nobody, so these are missing here.

use super::association::{Label, LabelCategory};
use super::object_type::ObjectType;

/// Which record of a pair has at most one association of a type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnlyOne {
    From,
    To,
}

/// Which record may have only one association of this type; `None` where it is not Primary.
pub fn only_one(from: &ObjectType, to: &ObjectType, label: Label) -> Option<OnlyOne> {
    if label.category != LabelCategory::HubspotDefined {
        return None;
    }
    let row = TABLE.iter().find(|row| row.type_id == label.type_id.get() && row.from.is(from) && row.to.is(to))?;
    Some(row.only_one)
}

/// Whether this type, read from `from` to `to`, is Primary.
pub fn is_primary(from: &ObjectType, to: &ObjectType, label: Label) -> bool {
    only_one(from, to, label).is_some()
}

struct Row {
    from: Standard,
    to: Standard,
    type_id: u64,
    only_one: OnlyOne,
}

#[derive(Clone, Copy)]
struct Standard {
    plural: &'static str,
    id: &'static str,
}

impl Standard {
    fn is(self, object_type: &ObjectType) -> bool {
        object_type.is_standard(self.plural, self.id)
    }
}

const CONTACTS: Standard = Standard { plural: "contacts", id: "0-1" };
const COMPANIES: Standard = Standard { plural: "companies", id: "0-2" };
const DEALS: Standard = Standard { plural: "deals", id: "0-3" };
const TICKETS: Standard = Standard { plural: "tickets", id: "0-5" };
const ORDERS: Standard = Standard { plural: "orders", id: "0-123" };
const LEADS: Standard = Standard { plural: "leads", id: "0-136" };
const PROJECTS: Standard = Standard { plural: "projects", id: "0-970" };

/// `one` is the record that has only one.
const fn towards(one: Standard, to: Standard, type_id: u64) -> Row {
    Row { from: one, to, type_id, only_one: OnlyOne::From }
}

const fn back(from: Standard, one: Standard, type_id: u64) -> Row {
    Row { from, to: one, type_id, only_one: OnlyOne::To }
}

const TABLE: [Row; 14] = [
    // Confirmed: in the tables, and in many programs.
    towards(CONTACTS, COMPANIES, 1),
    back(COMPANIES, CONTACTS, 2),
    towards(DEALS, COMPANIES, 5),
    back(COMPANIES, DEALS, 6),
    towards(TICKETS, COMPANIES, 26),
    back(COMPANIES, TICKETS, 25),
    // In the tables. That a lead, an order or a project has only one is inferred from the word.
    towards(LEADS, CONTACTS, 578),
    towards(LEADS, COMPANIES, 580),
    towards(LEADS, DEALS, 582),
    back(DEALS, LEADS, 583),
    towards(ORDERS, COMPANIES, 509),
    back(COMPANIES, ORDERS, 510),
    towards(PROJECTS, COMPANIES, 1299),
    // From one integrator's account.
    back(CONTACTS, LEADS, 579),
];

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used)]

    use std::num::NonZeroU64;

    use super::*;

    fn found(from: &str, to: &str, category: LabelCategory, type_id: u64) -> Option<OnlyOne> {
        let parsed = |text| ObjectType::parse(text).unwrap();
        only_one(&parsed(from), &parsed(to), Label { category, type_id: NonZeroU64::new(type_id).unwrap() })
    }

    #[test]
    fn a_type_is_primary_in_its_own_direction_only() {
        use LabelCategory::{HubspotDefined, UserDefined};
        assert_eq!(found("Contact", "0-2", HubspotDefined, 1), Some(OnlyOne::From));
        assert_eq!(found("companies", "contacts", HubspotDefined, 2), Some(OnlyOne::To));
        assert_eq!(found("0-3", "company", HubspotDefined, 5), Some(OnlyOne::From));
        assert_eq!(found("companies", "tickets", HubspotDefined, 25), Some(OnlyOne::To));
        assert_eq!(found("0-136", "contacts", HubspotDefined, 578), Some(OnlyOne::From));
        for (from, to, category, type_id) in [
            ("companies", "contacts", HubspotDefined, 1),
            ("contacts", "companies", HubspotDefined, 2),
            ("contacts", "deals", HubspotDefined, 1),
            ("contacts", "companies", HubspotDefined, 279),
            // A label of the account's own may have any number.
            ("contacts", "companies", UserDefined, 1),
        ] {
            assert_eq!(found(from, to, category, type_id), None, "{from} {to} {type_id}");
        }
    }
}
