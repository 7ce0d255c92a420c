//! What the command line says of a file of jobs.

use super::job_field::Field;
use crate::cli::option_values;
use crate::contract::ids::{Group, PortalId};
use crate::contract::object_type::ObjectType;

/// Given with `archive` and `enqueue` alike.
#[derive(clap::Args, Clone, Default, Debug)]
pub struct Hints {
    /// Which column of a CSV is which: "Record ID=from_id,Associated Company IDs=to_id"; columns that are not named here,
    /// nor bear the name of a field, are then passed over
    #[arg(long, value_name = "COLUMN=FIELD,…", value_parser = Mapping::parse)]
    pub map: Option<Mapping>,
    /// Object type of the from records, where the CSV has no column of it
    #[arg(long, value_name = "TYPE", value_parser = option_values::object_type)]
    pub from: Option<ObjectType>,
    /// Object type of the to records, where the CSV has no column of it
    #[arg(long, value_name = "TYPE", value_parser = option_values::object_type)]
    pub to: Option<ObjectType>,
    /// Portal of the jobs that name none; one that names another is refused
    #[arg(long, value_name = "ID", value_parser = option_values::portal)]
    pub portal: Option<PortalId>,
    /// Group of the jobs that name none: what belongs together, such as this import; it comes back in the outcomes
    #[arg(long, value_name = "NAME", value_parser = option_values::group)]
    pub group: Option<Group>,
    /// Only looks, and changes nothing: sets dryRun in every job; the outcomes say what would become of each pair
    #[arg(long)]
    pub plan: bool,
}

impl Hints {
    /// Whether they can only be meant for a CSV.
    pub fn ask_for_csv(&self) -> bool {
        let Self { map, from, to, portal: _, group: _, plan: _ } = self;
        map.is_some() || from.is_some() || to.is_some()
    }
}

/// Names of columns, and the fields that they are read as.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mapping(Vec<(String, Field)>);

const EXAMPLE: &str = "write it such as \"Record ID=from_id,Associated Company IDs=to_id\"";

impl Mapping {
    /// Reads `COLUMN=FIELD,COLUMN=FIELD`; the error is for the command line. A column's name may have commas in it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (mut pairs, mut name) = (Vec::new(), String::new());
        for part in text.split(',') {
            name.push_str(part);
            let Some((column, field)) = name.rsplit_once('=') else {
                name.push(',');
                continue;
            };
            let field = Field::of_name(field.trim()).ok_or_else(|| {
                format!("{:?} is no field; the fields are {}; {EXAMPLE}", field.trim(), Field::names())
            })?;
            pairs.push((column.trim().to_owned(), field));
            name.clear();
        }
        if !name.is_empty() {
            return Err(format!("{:?} has no =FIELD behind it; {EXAMPLE}", name.trim_end_matches(',')));
        }
        Ok(Self(pairs))
    }

    pub fn pairs(&self) -> impl Iterator<Item = (&str, Field)> {
        self.0.iter().map(|(column, field)| (column.as_str(), *field))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_mapping_is_a_list_of_columns_and_fields() {
        let read = |text: &str| Mapping::parse(text).map(|mapping| mapping.0);
        let expected = [("Record ID".to_owned(), Field::FromId), ("Last, First".to_owned(), Field::ToId)];
        assert_eq!(read("Record ID=from_id, Last, First = to_id").unwrap(), expected);
        assert!(
            read("Record ID=form_id").unwrap_err().contains("\"form_id\" is no field; the fields are from_object_type")
        );
        assert!(read("Record ID").unwrap_err().contains("has no =FIELD"));
        assert!(read("Record ID=from_id,x").unwrap_err().contains("has no =FIELD"));
    }
}
