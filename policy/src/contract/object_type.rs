//! Object types: what a job may write, and which spellings mean the same type.
//!
//! A merge of spellings is only made where HubSpot's documents are certain of it; for every other type the request's
//! path carries what the job wrote, because a wrong guess would archive something else.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::text::{TEXT_MAX_BYTES, cut};

/// An object type as a job names it.
///
/// Two are equal when they may share a batch: the same type by HubSpot's documents, whatever the spelling. What the job
/// wrote is kept beside it.
#[derive(Clone)]
pub struct ObjectType {
    written: TypeText,
    kind: Kind,
}

impl ObjectType {
    /// Longest name, in bytes.
    pub const MAX_BYTES: usize = TEXT_MAX_BYTES;

    /// Reads a standard name in any case, singular or plural; a type id (`0-1`, `2-123456`); `p_name` or `p123_name`.
    pub fn parse(text: &str) -> Result<Self, TypeFault> {
        if text.is_empty() {
            return Err(TypeFault::Empty);
        }
        if text.len() > Self::MAX_BYTES {
            return Err(TypeFault::TooLong);
        }
        if let Some(standard) = standard(text) {
            return Ok(standard);
        }
        if !text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-')) {
            return Err(TypeFault::Character);
        }
        if text.starts_with(|c: char| c.is_ascii_digit()) && !is_type_id(text) {
            return Err(TypeFault::TypeId);
        }
        if !is_type_id(text) && !is_qualified_name(text) {
            return Err(TypeFault::UnknownName);
        }
        Ok(Self { written: TypeText::new(text), kind: Kind::Verbatim })
    }

    /// The standard names in their plural; the singular is taken too, in any case.
    pub fn standard_names() -> impl Iterator<Item = &'static str> {
        STANDARD.iter().map(|standard| standard.plural)
    }

    /// The standard names as a job may write them, in lower case: those in the singular, then those in the plural where
    /// that differs.
    pub fn standard_spellings() -> impl Iterator<Item = &'static str> {
        let plurals = STANDARD.iter().filter(|standard| standard.plural != standard.singular);
        STANDARD.iter().map(|standard| standard.singular).chain(plurals.map(|standard| standard.plural))
    }

    /// The type as the job wrote it: what an outcome echoes.
    pub fn as_written(&self) -> &str {
        self.written.as_str()
    }

    /// [`as_written`](Self::as_written), cheap to clone.
    pub fn text(&self) -> &TypeText {
        &self.written
    }

    /// Whether it is the standard object with this plural and this type id, by either. A guess that is good enough for
    /// a warning, not for a request: of most types only HubSpot's list says that name and id belong together.
    pub fn is_standard(&self, plural: &str, id: &str) -> bool {
        match self.kind {
            Kind::Standard(standard) => standard.plural == plural,
            Kind::Verbatim => self.as_written() == id,
        }
    }

    /// What the request's path carries: needs no escaping.
    pub fn path_segment(&self) -> &str {
        match self.kind {
            Kind::Standard(Standard { plural, merged_id: Some(_), .. }) => plural,
            Kind::Standard(Standard { merged_id: None, .. }) | Kind::Verbatim => self.as_written(),
        }
    }
}

impl PartialEq for ObjectType {
    fn eq(&self, other: &Self) -> bool {
        match (self.kind, other.kind) {
            (Kind::Standard(a), Kind::Standard(b)) => a.plural == b.plural,
            (Kind::Verbatim, Kind::Verbatim) => {
                let (own, its) = (self.as_written(), other.as_written());
                // Nearly always the same spelling, which is compared at once and not byte by byte.
                own == its || own.eq_ignore_ascii_case(its)
            }
            (Kind::Standard(_), Kind::Verbatim) | (Kind::Verbatim, Kind::Standard(_)) => false,
        }
    }
}

impl Eq for ObjectType {}

impl Hash for ObjectType {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self.kind {
            Kind::Standard(standard) => standard.plural.hash(state),
            Kind::Verbatim => {
                let written = self.as_written().as_bytes();
                let mut lowercase = [0; Self::MAX_BYTES];
                // In one piece: every job's lane is looked up by this.
                let length = written.len().min(lowercase.len());
                for (to, from) in lowercase.iter_mut().zip(written) {
                    *to = from.to_ascii_lowercase();
                }
                lowercase[..length].hash(state);
            }
        }
    }
}

impl fmt::Debug for ObjectType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObjectType({})", self.as_written())
    }
}

/// Two different object types, in whichever order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TypePair {
    one: ObjectType,
    other: ObjectType,
}

impl TypePair {
    /// `None` for a type with itself.
    pub fn new(one: ObjectType, other: ObjectType) -> Option<Self> {
        (one != other).then_some(Self { one, other })
    }

    pub fn is_between(&self, a: &ObjectType, b: &ObjectType) -> bool {
        (self.one == *a && self.other == *b) || (self.one == *b && self.other == *a)
    }
}

/// A type's name as text, whether or not it is a valid one: at most 128 bytes, cheap to clone.
#[derive(Clone)]
pub struct TypeText(Spelling);

impl TypeText {
    /// Keeps the first 128 bytes, or a little less where a character would be cut in two.
    pub fn new(text: &str) -> Self {
        Self(Spelling::Shared(cut(text, ObjectType::MAX_BYTES).into()))
    }

    pub fn as_str(&self) -> &str {
        match &self.0 {
            Spelling::Static(text) => text,
            Spelling::Shared(text) => text,
        }
    }
}

impl PartialEq for TypeText {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for TypeText {}

impl fmt::Debug for TypeText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

/// Why a text is no object type; its words complete the sentence "the field …".
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TypeFault {
    #[error("is empty; name an object type, such as `contacts`, `0-1`, `2-123456` or `p_name`")]
    Empty,
    #[error("is longer than {} bytes, which no object type is", ObjectType::MAX_BYTES)]
    TooLong,
    #[error("has a character that no object type has; allowed are the letters a-z, digits, `_` and `-`")]
    Character,
    #[error("is no type id; those are two numbers without leading zeros, such as `0-1` or `2-123456`")]
    TypeId,
    #[error(
        "is no standard name (`association-archiver schema job` lists them); write the type id (`2-…` for a custom object, else `0-…`) or the full name of a custom object, such as `p_name`"
    )]
    UnknownName,
}

#[derive(Clone)]
enum Spelling {
    Static(&'static str),
    Shared(Arc<str>),
}

#[derive(Clone, Copy)]
enum Kind {
    Standard(&'static Standard),
    /// A type id or a qualified name: equal only to itself, in whatever case.
    Verbatim,
}

struct Standard {
    singular: &'static str,
    plural: &'static str,
    /// The type id, where it is certain that it means this type.
    merged_id: Option<&'static str>,
}

/// HubSpot's standard objects, from the list of object types in its CRM API guide ("Object type IDs", as of November
/// 2026). Name and id meet in one lane only where several of its documents agree; all others go out as written.
static STANDARD: [Standard; 33] = [
    certain("contact", "contacts", "0-1"),
    certain("company", "companies", "0-2"),
    certain("deal", "deals", "0-3"),
    certain("ticket", "tickets", "0-5"),
    certain("product", "products", "0-7"),
    certain("line_item", "line_items", "0-8"),
    certain("quote", "quotes", "0-14"),
    certain("task", "tasks", "0-27"),
    certain("note", "notes", "0-46"),
    certain("meeting", "meetings", "0-47"),
    certain("call", "calls", "0-48"),
    certain("email", "emails", "0-49"),
    named("invoice", "invoices"),
    named("subscription", "subscriptions"),
    named("payment", "payments"),
    named("user", "users"),
    named("order", "orders"),
    named("lead", "leads"),
    named("cart", "carts"),
    named("service", "services"),
    named("appointment", "appointments"),
    named("project", "projects"),
    named("communication", "communications"),
    named("course", "courses"),
    named("discount", "discounts"),
    named("feedback_submission", "feedback_submissions"),
    named("fee", "fees"),
    named("goal", "goals"),
    named("goal_target", "goal_targets"),
    named("listing", "listings"),
    named("marketing_event", "marketing_events"),
    named("postal_mail", "postal_mail"),
    named("tax", "taxes"),
];

const fn certain(singular: &'static str, plural: &'static str, id: &'static str) -> Standard {
    Standard { singular, plural, merged_id: Some(id) }
}

const fn named(singular: &'static str, plural: &'static str) -> Standard {
    Standard { singular, plural, merged_id: None }
}

fn standard(text: &str) -> Option<ObjectType> {
    STANDARD.iter().find_map(|standard| {
        let spellings = [Some(standard.plural), Some(standard.singular), standard.merged_id];
        let spelling = spellings.into_iter().flatten().find(|spelling| spelling.eq_ignore_ascii_case(text))?;
        let written = if spelling == text { TypeText(Spelling::Static(spelling)) } else { TypeText::new(text) };
        Some(ObjectType { written, kind: Kind::Standard(standard) })
    })
}

fn is_type_id(text: &str) -> bool {
    let plain = |number: &str| number.bytes().all(|b| b.is_ascii_digit()) && !number.starts_with('0');
    text.split_once('-').is_some_and(|(meta, inner)| {
        !meta.is_empty() && (meta == "0" || plain(meta)) && !inner.is_empty() && plain(inner)
    })
}

/// `p_name`, or `p123_name` with the portal's number in it.
fn is_qualified_name(text: &str) -> bool {
    text.strip_prefix(['p', 'P'])
        .and_then(|rest| rest.split_once('_'))
        .is_some_and(|(portal, name)| portal.bytes().all(|b| b.is_ascii_digit()) && !name.is_empty())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used)]

    use std::hash::{BuildHasher, RandomState};

    use super::*;

    fn parsed(text: &str) -> ObjectType {
        ObjectType::parse(text).unwrap()
    }

    #[test]
    fn every_spelling_of_a_certain_type_shares_a_lane_and_a_path() {
        let hasher = RandomState::new();
        for standard in &STANDARD {
            let Some(id) = standard.merged_id else { continue };
            let plural = parsed(standard.plural);
            for spelling in [standard.singular, id, &standard.plural.to_uppercase(), &standard.singular.to_uppercase()]
            {
                let other = parsed(spelling);
                assert_eq!(plural, other);
                assert_eq!(hasher.hash_one(&plural), hasher.hash_one(&other));
                assert_eq!(other.path_segment(), standard.plural);
                assert_eq!(other.as_written(), spelling);
            }
        }
        assert_eq!(parsed("Line_Item").path_segment(), "line_items");
    }

    #[test]
    fn a_less_certain_type_merges_case_and_plural_but_not_its_id() {
        let hasher = RandomState::new();
        assert_eq!(parsed("Invoice"), parsed("invoices"));
        assert_eq!(hasher.hash_one(parsed("Invoice")), hasher.hash_one(parsed("invoices")));
        assert_eq!(parsed("Invoice").path_segment(), "Invoice");
        assert_ne!(parsed("invoices"), parsed("0-53"));
        assert_eq!(parsed("0-53").path_segment(), "0-53");
        for name in ["goal_targets", "Tax", "postal_mail", "feedback_submission", "marketing_events"] {
            assert_eq!(parsed(name).path_segment(), name, "goes out as written");
        }
    }

    #[test]
    fn a_qualified_name_merges_case_only() {
        let hasher = RandomState::new();
        assert_eq!(parsed("p_Car"), parsed("P_CAR"));
        assert_eq!(hasher.hash_one(parsed("p_Car")), hasher.hash_one(parsed("P_CAR")));
        assert_eq!(parsed("p_Car").path_segment(), "p_Car");
        assert_ne!(parsed("p_car"), parsed("p_cars"));
        assert_ne!(parsed("p_car"), parsed("p123_car"));
        assert_ne!(parsed("p_contacts"), parsed("contacts"));
        assert_eq!(parsed("p123_my-car_2").as_written(), "p123_my-car_2");
    }

    #[test]
    fn distinct_types_stay_apart() {
        for (i, a) in STANDARD.iter().enumerate() {
            for (j, b) in STANDARD.iter().enumerate() {
                assert_eq!(parsed(a.plural) == parsed(b.singular), i == j);
            }
        }
        assert_ne!(parsed("2-1"), parsed("2-11"));
        assert_ne!(parsed("0-1"), parsed("2-1"));
    }

    #[test]
    fn the_usual_spellings_do_not_allocate() {
        for text in ["contacts", "contact", "0-1", "line_items", "invoice", "marketing_events"] {
            assert!(matches!(parsed(text).written.0, Spelling::Static(_)), "{text}");
        }
    }

    #[test]
    fn what_is_no_object_type_is_refused_with_its_reason() {
        let too_long = format!("p_{}", "x".repeat(127));
        let cases: [(&str, TypeFault); 31] = [
            ("", TypeFault::Empty),
            (&too_long, TypeFault::TooLong),
            ("contacts/companies", TypeFault::Character),
            ("../contacts", TypeFault::Character),
            ("con.tacts", TypeFault::Character),
            ("contacts ", TypeFault::Character),
            (" contacts", TypeFault::Character),
            ("line items", TypeFault::Character),
            ("contacts%20", TypeFault::Character),
            ("contacts?x=1", TypeFault::Character),
            ("contacts#", TypeFault::Character),
            ("contacts\n", TypeFault::Character),
            ("contacts\0", TypeFault::Character),
            ("p_straße", TypeFault::Character),
            ("p_\u{212a}ar", TypeFault::Character),
            ("0-", TypeFault::TypeId),
            ("0-0", TypeFault::TypeId),
            ("00-1", TypeFault::TypeId),
            ("0-01", TypeFault::TypeId),
            ("02-1", TypeFault::TypeId),
            ("2-12a", TypeFault::TypeId),
            ("2-1-1", TypeFault::TypeId),
            ("2", TypeFault::TypeId),
            ("2_1", TypeFault::TypeId),
            ("-1", TypeFault::UnknownName),
            ("cars", TypeFault::UnknownName),
            ("contactss", TypeFault::UnknownName),
            ("p_", TypeFault::UnknownName),
            ("p12_", TypeFault::UnknownName),
            ("px_car", TypeFault::UnknownName),
            ("pcar", TypeFault::UnknownName),
        ];
        for (text, fault) in cases {
            assert_eq!(ObjectType::parse(text), Err(fault), "{text:?}");
        }
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        let text = TypeText::new(&format!("{}é", "x".repeat(127)));
        assert_eq!(text.as_str(), "x".repeat(127));
    }
}
