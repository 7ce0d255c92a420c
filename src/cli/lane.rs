//! A lane as an operator writes it.

use super::option_values::object_type;
use crate::contract::object_type::ObjectType;

/// Two object types; neither needs escaping in a path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LanePattern {
    pub from: ObjectType,
    pub to: ObjectType,
}

impl LanePattern {
    /// Reads `contacts/companies`, and what logs call a lane that removes labels, `contacts/companies/labels`: both
    /// name all lanes between the two types. The error is for the command line.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.strip_suffix("/labels").unwrap_or(text);
        let (from, to) = text.split_once('/').ok_or("write it as FROM/TO, such as contacts/companies")?;
        Ok(Self { from: object_type(from)?, to: object_type(to)? })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_lane_is_two_object_types() {
        assert_eq!(LanePattern::parse("contact/0-2").unwrap(), LanePattern::parse("contacts/companies").unwrap());
        assert_eq!(
            LanePattern::parse("contacts/companies/labels").unwrap(),
            LanePattern::parse("contacts/companies").unwrap()
        );
        for wrong in ["contacts", "contacts/", "/companies", "cars/contacts", "contacts/companies/deals"] {
            LanePattern::parse(wrong).unwrap_err();
        }
    }
}
