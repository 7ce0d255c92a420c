//! Object types: many spellings, one type.

use std::borrow::Cow;

/// A CRM object type by its canonical spelling: `0-1` for a standard type, `2-123`, `p_name` or `p123_name` for a
/// custom one.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, serde::Deserialize)]
#[serde(try_from = "String")]
pub struct ObjectType(Cow<'static, str>);

impl ObjectType {
    /// Reads what stands in a path: a standard name in any case, singular or plural, a type id, `p_name`, `p123_name`.
    /// `None` where HubSpot could not tell which type is meant, as for the bare name of a custom object.
    pub fn parse(text: &str) -> Option<Self> {
        let same = |name: &str| name.eq_ignore_ascii_case(text);
        if let Some(standard) = STANDARD.iter().find(|s| s.id == text || same(s.singular) || same(s.plural)) {
            return Some(Self(Cow::Borrowed(standard.id)));
        }
        (is_type_id(text) || is_custom_name(text)).then(|| Self(Cow::Owned(text.to_ascii_lowercase())))
    }

    /// The canonical spelling.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The singular name as it stands in an error's `context`: `company`; a custom type keeps its spelling.
    pub fn singular(&self) -> &str {
        STANDARD.iter().find(|s| s.id == self.0).map_or(self.as_str(), |s| s.singular)
    }
}

impl TryFrom<String> for ObjectType {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).ok_or_else(|| format!("{text:?} is no object type: write contacts, 0-1, 2-123 or p_name"))
    }
}

/// The two types between which a request works.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Lane {
    pub from: ObjectType,
    pub to: ObjectType,
}

impl Lane {
    /// Returns `None` where one of the two cannot be read.
    pub fn parse(from: &str, to: &str) -> Option<Self> {
        Some(Self { from: ObjectType::parse(from)?, to: ObjectType::parse(to)? })
    }

    /// The same associations seen from the other end.
    #[must_use]
    pub fn reversed(&self) -> Self {
        Self { from: self.to.clone(), to: self.from.clone() }
    }
}

struct Standard {
    id: &'static str,
    singular: &'static str,
    plural: &'static str,
}

const fn standard(id: &'static str, singular: &'static str, plural: &'static str) -> Standard {
    Standard { id, singular, plural }
}

const STANDARD: [Standard; 33] = [
    standard("0-1", "contact", "contacts"),
    standard("0-2", "company", "companies"),
    standard("0-3", "deal", "deals"),
    standard("0-5", "ticket", "tickets"),
    standard("0-7", "product", "products"),
    standard("0-8", "line_item", "line_items"),
    standard("0-14", "quote", "quotes"),
    standard("0-27", "task", "tasks"),
    standard("0-46", "note", "notes"),
    standard("0-47", "meeting", "meetings"),
    standard("0-48", "call", "calls"),
    standard("0-49", "email", "emails"),
    standard("0-53", "invoice", "invoices"),
    standard("0-69", "subscription", "subscriptions"),
    standard("0-101", "payment", "payments"),
    standard("0-115", "user", "users"),
    standard("0-123", "order", "orders"),
    standard("0-136", "lead", "leads"),
    standard("0-142", "cart", "carts"),
    standard("0-162", "service", "services"),
    standard("0-421", "appointment", "appointments"),
    standard("0-970", "project", "projects"),
    standard("0-18", "communication", "communications"),
    standard("0-410", "course", "courses"),
    standard("0-84", "discount", "discounts"),
    standard("0-19", "feedback_submission", "feedback_submissions"),
    standard("0-85", "fee", "fees"),
    standard("0-74", "goal_target", "goal_targets"),
    standard("0-74", "goal", "goals"),
    standard("0-420", "listing", "listings"),
    standard("0-54", "marketing_event", "marketing_events"),
    standard("0-116", "postal_mail", "postal_mail"),
    standard("0-86", "tax", "taxes"),
];

/// `0-n` or `2-n`.
fn is_type_id(text: &str) -> bool {
    let digits = text.strip_prefix("0-").or_else(|| text.strip_prefix("2-"));
    digits.is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
}

/// `p_name` or `p123_name`.
fn is_custom_name(text: &str) -> bool {
    let Some(rest) = text.strip_prefix(['p', 'P']) else { return false };
    let name = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    name.len() > 1 && name.starts_with('_') && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn spellings_of_one_type_meet() {
        for spelling in ["contact", "Contacts", "CONTACT", "0-1"] {
            assert_eq!(ObjectType::parse(spelling).unwrap().as_str(), "0-1", "{spelling}");
        }
        assert_eq!(ObjectType::parse("0-2").unwrap().singular(), "company");
    }

    #[test]
    fn custom_types_need_a_prefix() {
        for spelling in ["2-123", "p_pets", "p4711_pets", "0-999"] {
            assert_eq!(ObjectType::parse(spelling).unwrap().as_str(), spelling);
        }
        for spelling in ["pets", "p", "p_", "p12", "2-", "2-x", "3-1", "", "contacts%2F", "p_a/b"] {
            assert_eq!(ObjectType::parse(spelling), None, "{spelling}");
        }
    }
}
