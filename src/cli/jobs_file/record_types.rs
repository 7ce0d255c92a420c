//! What the names of columns say of the types of the records whose ids stand below them.

use crate::contract::object_type::ObjectType;

/// HubSpot's name for the column with the ids of an export's own records, in lower case.
pub const RECORD_ID: &str = "record id";
/// With the type behind it, as in `Record ID - Contact`.
const TYPED_RECORD_ID: &str = "record id - ";

/// Columns that HubSpot's exports of one type have and those of the other types lack, by the names that HubSpot gives them.
const TELLING: [(&str, &str); 6] = [
    ("first name", "contacts"),
    ("last name", "contacts"),
    ("company domain name", "companies"),
    ("deal name", "deals"),
    ("deal stage", "deals"),
    ("ticket name", "tickets"),
];

/// `Record ID`, with or without a type.
pub fn is_record_id(name: &str) -> bool {
    let name = name.to_lowercase();
    name == RECORD_ID || name.starts_with(TYPED_RECORD_ID)
}

/// The type that HubSpot itself names in the column's name: contacts of `Record ID - Contact`, companies of
/// `Associated Company IDs`.
pub fn of_ids(name: &str) -> Option<ObjectType> {
    match name.to_lowercase().strip_prefix(TYPED_RECORD_ID) {
        Some(words) => of_words(words),
        None => of_associated(name),
    }
}

/// `companies` of `Associated Company IDs`.
pub fn of_associated(name: &str) -> Option<ObjectType> {
    let lower = name.to_lowercase();
    let words = lower.strip_prefix("associated ")?;
    of_words(words.strip_suffix(" ids").or_else(|| words.strip_suffix(" id"))?)
}

/// What a column's name makes likely: `Contact ID`, `company_id`, `Deal record IDs`. Somebody may have meant something else.
fn likely(name: &str) -> Option<ObjectType> {
    let lower = name.to_lowercase().replace(['_', '-'], " ");
    let words = lower.strip_suffix(" ids").or_else(|| lower.strip_suffix(" id"))?;
    of_words(words.strip_suffix(" record").unwrap_or(words))
}

/// As its requests name it: the spelling counts in the ids of rows.
fn of_words(words: &str) -> Option<ObjectType> {
    let named = ObjectType::parse(&words.trim().replace(' ', "_")).ok()?;
    ObjectType::parse(named.path_segment()).ok()
}

/// The standard name in its plural; `None` for a type id, of which nobody but HubSpot knows for sure what its name is.
fn name_of(object_type: &ObjectType) -> Option<&'static str> {
    ObjectType::standard_names().find(|name| object_type.is_standard(name, name))
}

/// Whether both have names and these differ, so that one of the two is wrong.
pub fn contradict(one: &ObjectType, other: &ObjectType) -> bool {
    matches!((name_of(one), name_of(other)), (Some(one), Some(other)) if one != other)
}

/// Compares the type that the command line gives with the name of the column of ids. The error: one of them is wrong. Else a
/// sentence for people where one of them may be.
pub fn doubt(option: &str, given: &ObjectType, column: &str) -> Result<Option<String>, String> {
    let says = given.as_written();
    match of_ids(column) {
        Some(named) if contradict(&named, given) => Err(format!(
            "the column {column:?} has the ids of {}, while {option} says {says}: correct {option}, or the column's name if that is wrong",
            name_of(&named).unwrap_or(named.as_written())
        )),
        Some(named) => Ok((named != *given)
            .then(|| format!("make sure that {option} {says} is the type of the records in the column {column:?}"))),
        None => {
            let of_another = likely(column).filter(|likely| contradict(likely, given));
            // A name that is none of a standard type: perhaps that of a custom object.
            let is_of_unnamed = column.to_lowercase().starts_with(TYPED_RECORD_ID) && name_of(given).is_some();
            Ok((of_another.is_some() || is_of_unnamed).then(|| {
                format!("make sure that the column {column:?} has the ids of {says}, as {option} says: its name says something else")
            }))
        }
    }
}

/// A sentence for people where the other columns look like those of another type's export.
pub fn doubt_by_columns(given: &ObjectType, header: &[String]) -> Option<String> {
    let telling = |name: &String| {
        let (_, named) = TELLING.into_iter().find(|(telling, _)| name.eq_ignore_ascii_case(telling))?;
        Some((name.clone(), ObjectType::parse(named).ok()?))
    };
    let told: Vec<(String, ObjectType)> = header.iter().filter_map(telling).collect();
    let (column, named) = told.first()?;
    let is_sure_of_one = told.iter().all(|(_, other)| other == named);
    (is_sure_of_one && contradict(named, given)).then(|| {
        format!(
            "make sure that the records are {}, as --from says: the column {column:?} is one of an export of {}",
            given.as_written(),
            named.as_written()
        )
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_names_of_columns_tell_the_types_of_their_records() {
        for (name, named) in [
            ("Record ID - Contact", Some("contacts")),
            ("record id - line item", Some("line_items")),
            ("Associated Company IDs", Some("companies")),
            ("Record ID", None),
            ("Record ID - Pet", None),
            ("Associated Company", None),
            ("Contact ID", None),
        ] {
            assert_eq!(of_ids(name), named.map(|named| ObjectType::parse(named).unwrap()), "{name}");
        }
        for name in ["Record ID", "RECORD ID - Contact", "Record ID - Pet"] {
            assert!(is_record_id(name), "{name}");
        }
        assert!(!is_record_id("Record IDs") && !is_record_id("Associated Record ID"));
    }

    #[test]
    fn a_type_is_refused_where_hubspots_name_of_the_column_says_another_and_doubted_where_somebodys_does() {
        let said = |given: &str, column: &str| doubt("--from", &ObjectType::parse(given).unwrap(), column);
        let refused = said("companies", "Record ID - Contact").unwrap_err();
        assert!(
            refused.contains("\"Record ID - Contact\" has the ids of contacts, while --from says companies"),
            "{refused}"
        );
        assert!(said("deals", "Associated Company IDs").is_err());
        for (given, column) in [
            ("contacts", "Record ID - Contact"),
            ("0-1", "Record ID - Contact"),
            ("deals", "Record ID"),
            ("deals", "Deal ID"),
            ("deals", "key"),
            ("2-7", "Pet ID"),
            ("2-7", "Record ID - Pet"),
        ] {
            assert_eq!(said(given, column), Ok(None), "{given} {column}");
        }
        for (given, column) in [
            ("companies", "Contact ID"),
            ("companies", "contact_ids"),
            ("2-7", "Record ID - Contact"),
            ("deals", "Record ID - Pet"),
        ] {
            let said = said(given, column).unwrap().unwrap();
            assert!(said.contains(given) && said.contains(column), "{said}");
        }
    }

    #[test]
    fn an_export_that_looks_like_one_of_another_type_is_doubted() {
        let said = |given: &str, header: &[&str]| {
            let header: Vec<String> = header.iter().map(|name| (*name).to_owned()).collect();
            doubt_by_columns(&ObjectType::parse(given).unwrap(), &header)
        };
        let doubt = said("companies", &["Record ID", "First Name", "Last Name"]).unwrap();
        assert!(
            doubt.contains("companies") && doubt.contains("\"First Name\" is one of an export of contacts"),
            "{doubt}"
        );
        assert_eq!(said("contacts", &["Record ID", "First Name"]), None);
        assert_eq!(said("tickets", &["First Name", "Deal Name"]), None, "it tells nothing");
        assert_eq!(said("2-7", &["First Name"]), None);
    }
}
