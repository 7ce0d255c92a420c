//! CSV: one pair a row, one job a row.

use serde_json::{Map, Value, json};
use uuid::Uuid;

/// Which column is which.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Columns(Vec<Column>);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Column {
    FromType,
    FromId,
    ToType,
    ToId,
    JobId,
    PortalId,
}

impl Column {
    const ALL: [Self; 6] = [Self::FromType, Self::FromId, Self::ToType, Self::ToId, Self::JobId, Self::PortalId];
    const REQUIRED: [Self; 4] = [Self::FromType, Self::FromId, Self::ToType, Self::ToId];

    fn name(self) -> &'static str {
        match self {
            Self::FromType => "from_object_type",
            Self::FromId => "from_id",
            Self::ToType => "to_object_type",
            Self::ToId => "to_id",
            Self::JobId => "job_id",
            Self::PortalId => "portal_id",
        }
    }

    /// The field of the job that the column fills.
    fn place(self) -> &'static str {
        match self {
            Self::FromType => "fromObjectType",
            Self::FromId => "inputs[0].from.id",
            Self::ToType => "toObjectType",
            Self::ToId => "inputs[0].to[0].id",
            Self::JobId => "jobId",
            Self::PortalId => "portalId",
        }
    }
}

impl Columns {
    /// Whether a first line is meant as a header, right or wrong.
    pub fn looks_like_header(line: &str) -> bool {
        !line.trim_start().starts_with('{') && line.to_ascii_lowercase().contains(Column::FromType.name())
    }

    /// Reads the header line; the error says what is wrong with it.
    pub fn of_header(line: &str) -> Result<Self, String> {
        let names = fields(line)?;
        let known = || Column::ALL.map(Column::name).join(", ");
        let mut columns = Vec::with_capacity(names.len());
        for name in &names {
            if name.contains(';') || name.contains('\t') {
                return Err("the header is not separated by commas: save the file as CSV with commas".to_owned());
            }
            let column = Column::ALL.into_iter().find(|column| column.name().eq_ignore_ascii_case(name));
            let Some(column) = column else {
                return Err(format!("the header has the unknown column {name:?}; known are {}", known()));
            };
            if columns.contains(&column) {
                return Err(format!("the header has the column {name:?} twice"));
            }
            columns.push(column);
        }
        let missing = Column::REQUIRED.into_iter().filter(|column| !columns.contains(column));
        let missing: Vec<&str> = missing.map(Column::name).collect();
        if missing.is_empty() {
            Ok(Self(columns))
        } else {
            Err(format!("the header lacks {}; the first line must name the columns", missing.join(", ")))
        }
    }

    /// The row as the body of a job, not yet checked beyond what CSV and JSON need. Without a job id of its own the row gets one that
    /// follows from its content alone: the same in any file, on any line.
    pub fn job(&self, line: &str) -> Result<Vec<u8>, String> {
        let values = fields(line)?;
        if values.len() != self.0.len() {
            return Err(format!("has {} fields, the header has {}", values.len(), self.0.len()));
        }
        let value = |wanted: Column| {
            let of_column = self.0.iter().zip(&values).find(|(column, _)| **column == wanted);
            of_column.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
        };
        let text = |column: Column| value(column).unwrap_or_default();
        let mut body = Map::new();
        let portal = value(Column::PortalId).map(portal).transpose()?;
        let job_id = match value(Column::JobId) {
            Some(job_id) => job_id.to_owned(),
            None => {
                let pair = Column::REQUIRED.map(text).join("\n");
                let name = format!("{}\n{pair}", portal.unwrap_or_default());
                Uuid::new_v5(&NAMESPACE, name.as_bytes()).to_string()
            }
        };
        body.insert("jobId".to_owned(), job_id.into());
        if let Some(portal) = portal {
            body.insert("portalId".to_owned(), portal.into());
        }
        body.insert("fromObjectType".to_owned(), text(Column::FromType).into());
        body.insert("toObjectType".to_owned(), text(Column::ToType).into());
        let input = json!({"from": {"id": text(Column::FromId)}, "to": [{"id": text(Column::ToId)}]});
        body.insert("inputs".to_owned(), json!([input]));
        Ok(Value::Object(body).to_string().into_bytes())
    }
}

/// What is wrong with a job, in the words of a CSV file.
pub fn in_columns(message: &str) -> String {
    for column in Column::ALL {
        if let Some(rest) = message.strip_prefix(column.place()) {
            return format!("{}{rest}", column.name());
        }
    }
    message.to_owned()
}

/// Made once at random for rows. Changing it gives every row another id.
const NAMESPACE: Uuid = Uuid::from_u128(0x5d0c_8f3e_77a1_4b52_9c64_1fe8_20b9_d3a7);

fn portal(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("portal_id: {text:?} is not a positive integer"))
}

const BYTE_ORDER_MARK: char = '\u{feff}';

/// The fields of one line. No field can hold a line break, so that a quote left open spoils one row only.
fn fields(line: &str) -> Result<Vec<String>, String> {
    // The reader would take it for the end of the row and pass over all that follows.
    if line.contains('\r') {
        return Err("has a carriage return inside: save the file with line feeds between its rows".to_owned());
    }
    // The reader would pass over it, at the start of every line.
    if line.starts_with(BYTE_ORDER_MARK) {
        return Err("has a byte order mark, which may stand at the very start of the file only".to_owned());
    }
    if line.matches('"').count() % 2 == 1 {
        return Err("has a quote that is not closed".to_owned());
    }
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .trim(csv::Trim::All)
        .buffer_capacity(line.len().clamp(64, 64 * 1024))
        .from_reader(line.as_bytes());
    match reader.records().next() {
        Some(Ok(record)) => Ok(record.iter().map(str::to_owned).collect()),
        Some(Err(error)) => Err(format!("is no CSV: {error}")),
        None => Ok(Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used)]

    use super::*;

    fn job(header: &str, row: &str) -> Result<Value, String> {
        let body = Columns::of_header(header)?.job(row)?;
        Ok(serde_json::from_slice(&body).unwrap())
    }

    #[test]
    fn a_row_is_a_job_in_whatever_order_its_columns_stand() {
        let expected = json!({
            "jobId": "j1", "portalId": 7, "fromObjectType": "contacts", "toObjectType": "0-2",
            "inputs": [{"from": {"id": "101"}, "to": [{"id": "9001"}]}],
        });
        let header = "job_id,portal_id,from_object_type,from_id,to_object_type,to_id";
        assert_eq!(job(header, "j1,7,contacts,101,0-2,9001").unwrap(), expected);
        let header = "To_Id, From_Id ,\"to_object_type\",from_object_type,portal_id,job_id";
        assert_eq!(job(header, " 9001,\"101\",0-2, contacts ,7,j1").unwrap(), expected);
    }

    #[test]
    fn a_rows_id_follows_from_its_content_alone() {
        let header = "from_object_type,from_id,to_object_type,to_id";
        let id = |header: &str, row: &str| job(header, row).unwrap()["jobId"].as_str().unwrap().to_owned();
        let first = id(header, "contacts,101,companies,9001");
        insta::assert_snapshot!(first, @"d02f975a-a4a4-5c4c-9b2d-6599d4fa1419");
        assert_eq!(first, id("to_id,to_object_type,from_id,from_object_type", "9001,companies,101,contacts"));
        assert_eq!(first, id(&format!("{header},job_id"), "contacts,101,companies,9001,"));
        for other in ["contacts,101,companies,9002", "contacts,1019,companies,001", "deals,101,companies,9001"] {
            assert_ne!(first, id(header, other));
        }
        assert_ne!(first, id(&format!("{header},portal_id"), "contacts,101,companies,9001,7"));
    }

    #[test]
    fn what_is_no_row_says_why() {
        let header = "from_object_type,from_id,to_object_type,to_id";
        for (header, row, why) in [
            ("from_object_type,from_id,to_object_type", "", "the header lacks to_id; "),
            ("from_object_type;from_id;to_object_type;to_id", "", "not separated by commas"),
            ("from_object_type,from_id,to_object_type,to_id,dry_run", "", "unknown column \"dry_run\""),
            ("from_object_type,from_id,to_object_type,to_id,to_id", "", "twice"),
            (header, "contacts,1,companies", "has 3 fields, the header has 4"),
            (header, "contacts,\"1,companies,2", "quote that is not closed"),
            (header, "contacts,1,companies,2\rcontacts,3,companies,4", "carriage return inside"),
            ("from_object_type,from_id,to_object_type,to_id\rcontacts,1,companies,2", "", "carriage return inside"),
            (header, "\u{feff}contacts,1,companies,2", "byte order mark"),
            ("\u{feff}from_object_type,from_id,to_object_type,to_id", "", "byte order mark"),
            (&format!("{header},portal_id"), "contacts,1,companies,2,x", "portal_id: \"x\" is not"),
        ] {
            let message = job(header, row).unwrap_err();
            assert!(message.contains(why), "{message:?} lacks {why:?}");
        }
    }

    #[test]
    fn faults_are_named_by_column() {
        assert_eq!(in_columns("inputs[0].to[0].id: is missing"), "to_id: is missing");
        assert_eq!(in_columns("fromObjectType: is empty"), "from_object_type: is empty");
        assert_eq!(in_columns("body: has too many bytes"), "body: has too many bytes");
    }
}
