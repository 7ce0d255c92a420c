//! The header of a CSV, and its rows as jobs: one job a row.

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::fields::{Separator, fields};
use super::hints::{Hints, Mapping};
use super::job_field::Field;
use super::record_types::{RECORD_ID, contradict, doubt, doubt_by_columns, is_record_id, of_associated, of_ids};
use super::text::invisible;
use crate::contract::action::Action;
use crate::contract::association::LabelCategory;
use crate::contract::object_type::ObjectType;
use crate::contract::outcome::Status;

/// Columns that a report of ours has beside the fields.
pub const STATUS_COLUMN: &str = "status";
pub const REPORT_COLUMNS: [&str; 11] = [
    "line",
    "source",
    "category",
    "sub_category",
    "message",
    "http_status",
    "correlation_id",
    "retryable",
    "present",
    "types_present",
    "warnings",
];
/// The status of a pair that needs nothing more.
const DONE: [Status; 2] = [Status::Archived, Status::Restored];
/// The status of a pair whose outcome was not waited for.
pub const UNANSWERED: &str = "UNANSWERED";
/// Stands in the column `to_id` for every record that the other is associated with.
pub const ALL: &str = "all";
/// Stands in the column `types` for all that associates two records.
pub const WHOLE_ASSOCIATION: &str = "all";
/// Stands in the column `types` where an outcome does not tell which types were meant.
pub const UNKNOWN_TYPES: &str = "?";

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Column {
    Field(Field),
    /// What became of the pair in an earlier run.
    Status,
    /// Read by nobody.
    PassedOver,
    /// Has no name, and so must have no values.
    Nameless,
}

/// Which column is which, and what the command line says for all rows.
#[derive(Clone, Debug)]
pub struct Columns {
    columns: Vec<Column>,
    separator: Separator,
    header: Vec<String>,
    from_type: Option<Given>,
    to_type: Option<Given>,
    portal: Option<u64>,
    group: Option<String>,
    plan: bool,
    doubts: Vec<String>,
}

/// A type that holds for all rows.
#[derive(Clone, Debug)]
struct Given {
    object_type: ObjectType,
    by: By,
}

#[derive(Clone, Debug)]
enum By {
    CommandLine,
    /// Of the ids, which HubSpot has named by it.
    Column(String),
}

impl Given {
    fn text(&self) -> &str {
        self.object_type.as_written()
    }

    /// What the command line says, or else the name of the column of ids; and a doubt where the two may not agree.
    fn of(
        (option, given): (&str, Option<&ObjectType>),
        column: Option<&String>,
        doubts: &mut Vec<String>,
    ) -> Result<Option<Self>, String> {
        match (given, column) {
            (Some(object_type), column) => {
                if let Some(column) = column {
                    doubts.extend(doubt(option, object_type, column)?);
                }
                Ok(Some(Self { object_type: object_type.clone(), by: By::CommandLine }))
            }
            (None, column) => {
                Ok(column
                    .and_then(|column| Some(Self { object_type: of_ids(column)?, by: By::Column(column.clone()) })))
            }
        }
    }
}

/// What stands in a row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Content {
    /// A job's body, not yet checked beyond what CSV and JSON need; and whether an earlier run had no answer for it.
    Job { body: Vec<u8>, is_unanswered: bool },
    /// Nothing but separators, or the header of a file that was joined to the first.
    Nothing,
    /// The row of a record that is associated with none, as exports have them: no `to_id` stands in it.
    NotAssociated,
    /// Of both records the id is missing.
    WithoutIds,
    /// A pair for which an earlier run has done the job.
    DoneBefore,
}

/// What stands in a row, field by field, and what the command line says where it has no column: the row as it would be in
/// a file with all columns.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cells([String; Field::ALL.len()]);

impl Cells {
    pub fn text(&self, field: Field) -> &str {
        let texts = Field::ALL.iter().zip(&self.0);
        texts.filter(|(known, _)| **known == field).map(|(_, text)| text.as_str()).next().unwrap_or_default()
    }
}

impl Columns {
    /// Whether a first line is meant as a header, right or wrong.
    pub fn looks_like_header(line: &str, hints: &Hints) -> bool {
        let line = line.trim_start();
        let lower = line.to_lowercase();
        !line.starts_with(['{', '['])
            && (hints.ask_for_csv()
                || lower.contains(Field::FromType.name())
                || (lower.contains(RECORD_ID) && lower.contains("associated "))
                || Separator::declared(line).is_some())
    }

    /// Whether a first line has cells, and is neither a job in JSON nor what is left of one.
    pub fn looks_like_table(line: &str) -> bool {
        let is_json = line.starts_with(['{', '[']) || line.contains("\":");
        !is_json && line.contains([',', ';', '\t'])
    }

    /// Reads the header line; the error says what is wrong with it. `separator` as declared above it, if it was.
    pub fn of_header(line: &str, separator: Option<Separator>, hints: &Hints) -> Result<Self, String> {
        let separator = separator.unwrap_or_else(|| Separator::of_header(line));
        let mut header = fields(line, separator)?;
        while header.last().is_some_and(String::is_empty) {
            header.pop();
        }
        let mapped = mapped(&header, hints)?;
        let export = if hints.map.is_none() { Export::of_header(&header, hints)? } else { None };
        let is_known = |name: &String| Field::of_name(name).is_some_and(|field| !field.is_everyday_word());
        if hints.map.is_none() && export.is_none() && !header.iter().any(is_known) {
            return Err(nothing_known(&header, hints));
        }
        let mut columns = Vec::with_capacity(header.len());
        for (index, name) in header.iter().enumerate() {
            let of_export = export.as_ref().and_then(|export| export.field(index));
            let by_name = Field::of_name(name).filter(|field| export.is_none() || !field.is_everyday_word());
            let field = mapped[index].or(of_export).or(by_name);
            let is_of_report = REPORT_COLUMNS.iter().any(|known| known.eq_ignore_ascii_case(name));
            let column = match field {
                Some(field) => Column::Field(field),
                None if name.is_empty() => Column::Nameless,
                None if hints.map.is_some() || export.is_some() => Column::PassedOver,
                None if name.eq_ignore_ascii_case(STATUS_COLUMN) => Column::Status,
                None if is_of_report => Column::PassedOver,
                None => return Err(unknown(name)),
            };
            if !matches!(column, Column::PassedOver | Column::Nameless) && columns.contains(&column) {
                let field = field.map_or(STATUS_COLUMN, Field::name);
                return Err(format!("the header has two columns for {field}, the second is {name:?}"));
            }
            columns.push(column);
        }
        let mut doubts = Vec::new();
        let name_of = |field| Some(&header[columns.iter().position(|column| *column == Column::Field(field))?]);
        let (from_column, to_column) = (name_of(Field::FromId), name_of(Field::ToId));
        let from_type = Given::of(("--from", hints.from.as_ref()), from_column, &mut doubts)?;
        let to_type = Given::of(("--to", hints.to.as_ref()), to_column, &mut doubts)?;
        if let (Some(from), true) = (&hints.from, from_column.is_some_and(|column| of_ids(column).is_none())) {
            doubts.extend(doubt_by_columns(from, &header));
        }
        let read = Self {
            columns,
            separator,
            header,
            from_type,
            to_type,
            portal: hints.portal.map(|portal| portal.0.get()),
            group: hints.group.as_ref().map(|group| group.as_str().to_owned()),
            plan: hints.plan,
            doubts,
        };
        read.complete(hints, export.is_some())
    }

    fn complete(self, hints: &Hints, is_export: bool) -> Result<Self, String> {
        let has = |field: Field| self.columns.contains(&Column::Field(field));
        let needed = needed(self.from_type.is_some(), self.to_type.is_some());
        let missing: Vec<&str> = needed.filter(|(field, _)| !has(*field)).map(|(_, name)| name).collect();
        if missing.is_empty() {
            return Ok(self);
        }
        if is_export {
            return Err(
                "it is HubSpot's own export, and needs the type of its records: --from TYPE, as in --from contacts"
                    .to_owned(),
            );
        }
        let how = match &hints.map {
            Some(map) => match self.with_hubspots_names(map) {
                Some(map) => format!(
                    "with --map only the columns are read that it names, or that bear the name of a field; name all: --map {map:?}"
                ),
                None => "name its columns with --map".to_owned(),
            },
            None => "the first line must name the columns, or --map \"YOUR COLUMN=from_id,…\" says which is which"
                .to_owned(),
        };
        Err(format!("the header lacks {}; {how}", missing.join(", ")))
    }

    /// What `--map` would have to be, if the ids that it leaves out stand in the columns that HubSpot's exports have for
    /// them. It is only proposed: the records of an export need not be those that somebody meant who names another column.
    fn with_hubspots_names(&self, map: &Mapping) -> Option<String> {
        let only = |is_one: fn(&str) -> bool| {
            let mut named = self.header.iter().filter(|name| is_one(name));
            named.next().filter(|_| named.next().is_none())
        };
        let mut pairs: Vec<String> = map.pairs().map(|(column, field)| format!("{column}={}", field.name())).collect();
        let given = pairs.len();
        let ids = [(Field::FromId, only(is_record_id)), (Field::ToId, only(|name| of_associated(name).is_some()))];
        for (field, column) in ids {
            if let Some(column) = column.filter(|_| !self.columns.contains(&Column::Field(field))) {
                pairs.push(format!("{column}={}", field.name()));
            }
        }
        (pairs.len() > given).then(|| pairs.join(","))
    }

    /// Sentences for people, about types that may be wrong.
    pub fn doubts(&self) -> &[String] {
        &self.doubts
    }

    /// Whether a field may go on in the next line: not where each column is read, since no field of a job has line breaks,
    /// and so a quote left open spoils one row only.
    pub fn may_span_lines(&self) -> bool {
        self.columns.contains(&Column::PassedOver)
    }

    /// The cells of a row that is no job, to be mended. `None` where it cannot be told which is which.
    pub fn cells(&self, row: &str) -> Option<Cells> {
        let values = fields(row, self.separator).ok()?;
        let row = Row { columns: &self.columns, values: &values };
        let written = |field: Field| row.value(Column::Field(field)).unwrap_or_default().to_owned();
        let or = |field: Field, given: Option<&str>| match written(field) {
            text if text.is_empty() => given.unwrap_or_default().to_owned(),
            text => text,
        };
        // Where the row could have said it, an empty cell may be what is wrong with it.
        let unless_said = |field: Field, usual: &str| if row.has(field) { written(field) } else { usual.to_owned() };
        Some(Cells(Field::ALL.map(|field| match field {
            Field::FromType => or(field, self.from_type.as_ref().map(Given::text)),
            Field::ToType => or(field, self.to_type.as_ref().map(Given::text)),
            Field::PortalId => or(field, self.portal.map(|portal| portal.to_string()).as_deref()),
            Field::Group => or(field, self.group.as_deref()),
            Field::Types => unless_said(field, WHOLE_ASSOCIATION),
            Field::Action => unless_said(field, Action::Archive.as_str()),
            Field::DryRun if self.plan => true.to_string(),
            Field::DryRun => unless_said(field, &false.to_string()),
            Field::FromId | Field::ToId | Field::JobId | Field::NotAfter => written(field),
        })))
    }

    /// What stands in a row. Without a job id of its own it gets one that follows from its content alone: the same in
    /// any file, on any line.
    pub fn content(&self, row: &str) -> Result<Content, String> {
        let values = fields(row, self.separator)?;
        if values.iter().all(String::is_empty) || self.is_header(&values) {
            return Ok(Content::Nothing);
        }
        let (len, expected) = (values.len(), self.columns.len());
        if len < expected {
            return Err(format!("has {len} fields, the header has {expected}"));
        }
        let named = |index: usize| self.columns.get(index).is_some_and(|column| *column != Column::Nameless);
        if let Some((index, value)) =
            values.iter().enumerate().find(|(index, value)| !named(*index) && !value.is_empty())
        {
            let several = if is_number(value) { format!(": {SEVERAL_IDS}") } else { String::new() };
            return Err(format!("has {value:?} in column {}, to which the header gives no name{several}", index + 1));
        }
        let row = Row { columns: &self.columns, values: &values };
        if row.status().is_some_and(|text| DONE.iter().any(|done| text.eq_ignore_ascii_case(done.as_str()))) {
            return Ok(Content::DoneBefore);
        }
        if row.text(Field::ToId)?.is_empty() {
            let is_named = !row.text(Field::FromId)?.is_empty();
            return Ok(if is_named { Content::NotAssociated } else { Content::WithoutIds });
        }
        let is_unanswered = row.status().is_some_and(|text| text.eq_ignore_ascii_case(UNANSWERED));
        self.body(&row).map(|body| Content::Job { body, is_unanswered })
    }

    fn is_header(&self, values: &[String]) -> bool {
        let filled = values.iter().rposition(|value| !value.is_empty()).map_or(0, |last| last + 1);
        values[..filled] == self.header[..]
    }

    fn body(&self, row: &Row<'_>) -> Result<Vec<u8>, String> {
        let from_type = agreed(Field::FromType, row.text(Field::FromType)?, self.from_type.as_ref())?;
        let to_type = agreed(Field::ToType, row.text(Field::ToType)?, self.to_type.as_ref())?;
        let portal = self.portal(row)?;
        let from_id = one_id(Field::FromId, row.text(Field::FromId)?, ONE_ID)?;
        let to_ids = row.text(Field::ToId)?;
        let mut to_ids: Vec<&str> = to_ids.split(';').map(str::trim).filter(|id| !id.is_empty()).collect();
        if to_ids.is_empty() {
            return Err("to_id: is empty".to_owned());
        }
        to_ids.iter().try_for_each(|id| one_id(Field::ToId, id, SEVERAL_IDS).map(drop))?;
        let all = matches!(to_ids.as_slice(), [only] if only.eq_ignore_ascii_case(ALL));
        if all {
            to_ids = vec![ALL];
        }
        let action = row.has(Field::Action).then(|| action(row.text(Field::Action)?)).transpose()?.unwrap_or_default();
        if all && action != Action::Archive {
            return Err(format!(
                "to_id: all says what is to be removed; where action is {}, write the ids of the records",
                action.as_str()
            ));
        }
        let types = row.has(Field::Types).then(|| types(row.text(Field::Types)?, action)).transpose()?.flatten();
        let not_after = row.text(Field::NotAfter)?;
        let says_dry = row.has(Field::DryRun).then(|| flag(Field::DryRun, row.text(Field::DryRun)?)).transpose()?;
        let dry_run = self.plan || says_dry.unwrap_or(false);
        let group = Some(row.text(Field::Group)?).filter(|group| !group.is_empty()).or(self.group.as_deref());
        let job_id = row.text(Field::JobId)?;

        let mut input = Map::new();
        if let Some(types) = &types {
            let types =
                types.iter().map(|(category, id)| json!({"associationCategory": category, "associationTypeId": id}));
            input.insert("types".to_owned(), types.collect());
        }
        input.insert("from".to_owned(), json!({"id": from_id}));
        let to = if all { json!(ALL) } else { to_ids.iter().map(|id| json!({"id": id})).collect() };
        input.insert("to".to_owned(), to);
        let mut body = Map::new();
        let own_id = || {
            let mut name =
                format!("{}\n{from_type}\n{from_id}\n{to_type}\n{}", portal.unwrap_or_default(), to_ids.join(";"));
            if types.is_some() || !not_after.is_empty() {
                let types = types.iter().flatten().map(|(category, id)| format!("{category} {id}"));
                let types: Vec<String> = types.collect();
                name.push_str(&format!("\n{}\n{not_after}", types.join(";")));
            }
            // To look and to do is the same job: a plan can be laid beside what became of it.
            if action != Action::Archive {
                name.push_str(&format!("\n{}", action.as_str()));
            }
            Uuid::new_v5(&NAMESPACE, name.as_bytes()).to_string()
        };
        body.insert("jobId".to_owned(), if job_id.is_empty() { own_id() } else { job_id.to_owned() }.into());
        if let Some(portal) = portal {
            body.insert("portalId".to_owned(), portal.into());
        }
        body.insert("fromObjectType".to_owned(), from_type.into());
        body.insert("toObjectType".to_owned(), to_type.into());
        body.insert("inputs".to_owned(), json!([input]));
        if !not_after.is_empty() {
            body.insert("notAfter".to_owned(), not_after.into());
        }
        if action != Action::Archive {
            body.insert("action".to_owned(), action.as_str().into());
        }
        if dry_run {
            body.insert("dryRun".to_owned(), true.into());
        }
        if let Some(group) = group {
            body.insert("group".to_owned(), group.into());
        }
        Ok(Value::Object(body).to_string().into_bytes())
    }

    fn portal(&self, row: &Row<'_>) -> Result<Option<u64>, String> {
        let text = row.text(Field::PortalId)?;
        if text.is_empty() {
            return Ok(self.portal);
        }
        let portal = text.parse().map_err(|_| format!("portal_id: {text:?} is not a positive integer"))?;
        match self.portal {
            Some(given) if given != portal => Err(format!("portal_id: is {portal}, while --portal says {given}")),
            Some(_) | None => Ok(Some(portal)),
        }
    }
}

/// The values of a row by their columns.
struct Row<'a> {
    columns: &'a [Column],
    values: &'a [String],
}

impl<'a> Row<'a> {
    fn has(&self, field: Field) -> bool {
        self.columns.contains(&Column::Field(field))
    }

    /// Empty where there is no such column.
    fn text(&self, field: Field) -> Result<&'a str, String> {
        let text = self.value(Column::Field(field)).unwrap_or_default();
        match invisible(text) {
            Some(fault) => Err(format!("{}: {fault}", field.name())),
            None => Ok(text),
        }
    }

    fn status(&self) -> Option<&'a str> {
        self.value(Column::Status)
    }

    fn value(&self, wanted: Column) -> Option<&'a str> {
        let found = self.columns.iter().zip(self.values).find(|(column, _)| **column == wanted);
        found.map(|(_, value)| value.as_str())
    }
}

/// HubSpot's own export of records and what they are associated with.
struct Export {
    record: usize,
    associated: usize,
}

impl Export {
    /// `None`: the header is not one of these.
    fn of_header(header: &[String], hints: &Hints) -> Result<Option<Self>, String> {
        let typed = |of: fn(&str) -> Option<ObjectType>| {
            header.iter().enumerate().filter_map(move |(index, name)| Some((index, of(name)?)))
        };
        let associated: Vec<(usize, ObjectType)> = typed(of_associated).collect();
        if associated.is_empty() {
            return Ok(None);
        }
        let records = header.iter().enumerate().filter(|(_, name)| is_record_id(name)).map(|(index, _)| index);
        let records: Vec<usize> = records.collect();
        let listed = |indices: &mut dyn Iterator<Item = usize>| {
            indices.map(|index| format!("{:?}", header[index])).collect::<Vec<_>>().join(", ")
        };
        let record = match records.as_slice() {
            [] => return Ok(None),
            [record] => *record,
            _ => {
                return Err(format!(
                    "the header has several columns of record ids, {}; say with --map which of them is from_id",
                    listed(&mut records.iter().copied())
                ));
            }
        };
        let wanted: Vec<&(usize, ObjectType)> = match &hints.to {
            Some(to) => associated.iter().filter(|(_, object_type)| object_type == to).collect(),
            None => associated.iter().collect(),
        };
        let known = || listed(&mut associated.iter().map(|(index, _)| *index));
        match wanted.as_slice() {
            [(associated, _)] => Ok(Some(Self { record, associated: *associated })),
            [] => Err(format!("the header has no associated records of the type in --to; it has {}", known())),
            _ => Err(format!(
                "the header has several columns of associated records, {}; choose one with --to TYPE",
                known()
            )),
        }
    }

    fn field(&self, index: usize) -> Option<Field> {
        match index {
            index if index == self.record => Some(Field::FromId),
            index if index == self.associated => Some(Field::ToId),
            _ => None,
        }
    }
}

/// The columns that a file must have, beside the types that are given.
fn needed(from_type_given: bool, to_type_given: bool) -> impl Iterator<Item = (Field, &'static str)> {
    let needed = [
        (Field::FromType, from_type_given, "from_object_type (or --from TYPE)"),
        (Field::FromId, false, Field::FromId.name()),
        (Field::ToType, to_type_given, "to_object_type (or --to TYPE)"),
        (Field::ToId, false, Field::ToId.name()),
    ];
    needed.into_iter().filter(|(_, given, _)| !given).map(|(field, _, name)| (field, name))
}

/// Why a header without any name that is known is none: it lacks the ids, or it is no header at all.
fn nothing_known(header: &[String], hints: &Hints) -> String {
    let unseen = header.iter().find_map(|name| Some((name, invisible(name)?)));
    if let Some((name, fault)) = unseen {
        return format!("the column {name:?} {fault}");
    }
    if header.is_empty() {
        return "the first line has only empty cells, and must name the columns: write the names there, or delete the lines \
                above them"
            .to_owned();
    }
    let shown: Vec<String> = header.iter().map(|name| format!("{name:?}")).collect();
    let shown = named(&shown);
    if header.iter().any(|value| is_number(value)) {
        return format!("its first line must name the columns, and is a row, {shown}: {}", header_for(header, hints));
    }
    let records: Vec<&String> = header.iter().filter(|name| is_record_id(name)).collect();
    if let [from, to] = records[..] {
        return format!(
            "the header has two columns of record ids; say with --map {:?} which of them is which",
            format!("{from}=from_id,{to}=to_id")
        );
    }
    let is_export = !records.is_empty() || header.iter().any(|name| name.to_lowercase().starts_with("associated "));
    let needed = match is_export {
        true => "an export needs the column \"Record ID\" and one of associated ids, such as \"Associated Company IDs\", since names alone do not tell which records are meant: export again with the ids of associated records".to_owned(),
        false => {
            let needed: Vec<&str> = needed(hints.from.is_some(), hints.to.is_some()).map(|(_, name)| name).collect();
            format!("needed are {}, with the ids of records, not their names", needed.join(", "))
        }
    };
    format!(
        "the header has the columns {shown}; {needed}, or say with --map \"YOUR COLUMN=from_id,…\" which columns have ids"
    )
}

/// How to put a header above a row that has none, so that the file is read.
fn header_for(row: &[String], hints: &Hints) -> String {
    let has_ids = |text: &str| text.split(';').all(|id| is_number(id.trim()));
    let numbers: Vec<usize> = (0..row.len()).filter(|place| has_ids(&row[*place])).collect();
    if row.len() == 4 && numbers == [1, 3] {
        return "put from_object_type,from_id,to_object_type,to_id above".to_owned();
    }
    let [from, to, ..] = numbers[..] else {
        return "a row needs the ids of two records, and only one cell of this one is a number; write the rows with both, and \
                a line with the names of the columns above"
            .to_owned();
    };
    let [from, to] = [from + 1, to + 1];
    let mut names: Vec<String> = (1..=row.len().min(MAX_NAMED)).map(|number| format!("column{number}")).collect();
    if row.len() > MAX_NAMED {
        names.push(format!("and so on to column{}", row.len()));
    }
    let types = match (hints.from.is_some(), hints.to.is_some()) {
        (true, true) => "",
        (false, true) => " and the type with --from",
        (true, false) => " and the type with --to",
        (false, false) => " and the types with --from and --to",
    };
    format!(
        "put a line with a name for each of its {} columns above, such as {}, separated as the row is, and say with --map \
         which have ids, such as \"column{from}=from_id,column{to}=to_id\"{types}",
        row.len(),
        names.join(",")
    )
}

/// Names in a message at most.
const MAX_NAMED: usize = 20;

fn named(names: &[String]) -> String {
    let more = names.len().saturating_sub(MAX_NAMED);
    let shown = names.iter().take(MAX_NAMED).cloned().collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{shown} and {more} more") } else { shown }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Refuses several ids where one is read, and one that is written with separators.
fn one_id<'a>(field: Field, text: &'a str, mend: &str) -> Result<&'a str, String> {
    let parts: Vec<&str> = text.split([',', '|', '/', ' ', ';']).filter(|part| !part.is_empty()).collect();
    match parts.len() > 1 && parts.iter().all(|part| is_number(part)) {
        true => Err(format!("{}: {text:?} is no id: {mend}", field.name())),
        false => Ok(text),
    }
}

const SEVERAL_IDS: &str =
    "several ids in a cell have semicolons between them, as 9001;9002, and an id has no separators";
const ONE_ID: &str = "write one id, without separators, and a row for each";

/// The fields that `--map` gives to the columns, in their order.
fn mapped(header: &[String], hints: &Hints) -> Result<Vec<Option<Field>>, String> {
    let mut fields = vec![None; header.len()];
    for (column, field) in hints.map.iter().flat_map(|mapping| mapping.pairs()) {
        let mut found = header.iter().enumerate().filter(|(_, name)| name.eq_ignore_ascii_case(column));
        let Some((index, _)) = found.next() else {
            return Err(format!("the header has no column {column:?}, which --map names; it has {}", named(header)));
        };
        if found.next().is_some() {
            return Err(format!("the header has the column {column:?} twice, and --map does not tell which"));
        }
        fields[index] = Some(field);
    }
    Ok(fields)
}

fn unknown(name: &str) -> String {
    match invisible(name) {
        Some(fault) => format!("the column {name:?} {fault}"),
        None => format!(
            "the header has the unknown column {name:?}; known are {}; --map says which column is which and passes over others",
            Field::names()
        ),
    }
}

/// What a row says, or what holds for all where it says nothing; both may say the same.
fn agreed<'a>(field: Field, row: &'a str, given: Option<&'a Given>) -> Result<&'a str, String> {
    let Some(given) = given else { return Ok(row) };
    if row.is_empty() {
        return Ok(given.text());
    }
    let differs = match (&given.by, ObjectType::parse(row)) {
        (By::CommandLine, Ok(of_row)) => of_row != given.object_type,
        (By::CommandLine, Err(_)) => true,
        (By::Column(_), Ok(of_row)) => contradict(&of_row, &given.object_type),
        // The row is refused as it is.
        (By::Column(_), Err(_)) => false,
    };
    match &given.by {
        By::CommandLine if differs => {
            Err(format!("{}: is {row:?}, while the command line says {}", field.name(), given.text()))
        }
        By::Column(name) if differs => {
            Err(format!("{}: is {row:?}, while the column {name:?} has the ids of another type", field.name()))
        }
        By::CommandLine | By::Column(_) => Ok(row),
    }
}

/// `USER_DEFINED 37; USER_DEFINED 38`. `None`: the whole association, which must be said: an empty field may be a slip.
fn types(text: &str, action: Action) -> Result<Option<Vec<(&'static str, u64)>>, String> {
    let (done, whole) = match action {
        Action::Archive => ("remove", "the whole association"),
        Action::Restore { .. } => ("restore", "the association itself, without labels"),
    };
    if text.eq_ignore_ascii_case(WHOLE_ASSOCIATION) {
        return Ok(None);
    }
    if text == UNKNOWN_TYPES {
        return Err(format!(
            "types: nothing tells whether only labels were to be {done}d; write the labels, such as USER_DEFINED 37, or all"
        ));
    }
    if text.is_empty() {
        return Err(format!(
            "types: is empty; write the labels to {done}, such as USER_DEFINED 37, or all for {whole}"
        ));
    }
    let one = |text: &str| {
        let (category, id) = text.split_once(' ')?;
        let category = LabelCategory::ALL.into_iter().find(|known| known.as_str().eq_ignore_ascii_case(category))?;
        Some((category.as_str(), id.trim().parse().ok()?))
    };
    // As a plan shows them, with what people call them. It is the number that counts, and so the name is not read.
    let named = |text: &str| {
        let (category, id) = one(text.strip_suffix(')')?.split_once(" (")?.0)?;
        Some(format!(
            "types: {text:?} has a name behind the number; write {category} {id}, and leave out what has no name there, such as \
             HUBSPOT_DEFINED 279: it is the association itself, with which everything goes"
        ))
    };
    let read = |text: &str| {
        let text = text.trim();
        one(text).ok_or_else(|| {
            named(text).unwrap_or_else(|| {
                format!("types: {text:?} is no label; write category and id, such as USER_DEFINED 37, as a plan has them (the types of `archive --plan`, or the column types_present of `enqueue --plan --outcomes`)")
            })
        })
    };
    text.split(';').filter(|text| !text.trim().is_empty()).map(read).collect::<Result<_, _>>().map(Some)
}

/// An empty field may be a slip, and what is not said here would remove something.
fn action(text: &str) -> Result<Action, String> {
    Action::of_word(&text.to_ascii_lowercase())
        .ok_or_else(|| format!("action: {text:?} is no action; write archive or restore"))
}

fn flag(field: Field, text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(format!(
            "{}: {text:?} is neither true nor false: write one of these words, or leave the column out",
            field.name()
        )),
    }
}

/// What is wrong with a job, in the words of a CSV file.
pub fn in_columns(message: &str) -> String {
    let message = message.replace("leave portalId out of the job", "leave portal_id out of the row");
    for field in Field::ALL {
        if let Some(rest) = message.strip_prefix(field.place()) {
            let rest = rest.trim_start_matches(|c: char| c == '[' || c == ']' || c == '.' || c.is_ascii_alphanumeric());
            return format!("{}{rest}", field.name());
        }
    }
    message
}

/// Made once at random for rows. Changing it gives every row another id.
const NAMESPACE: Uuid = Uuid::from_u128(0x5d0c_8f3e_77a1_4b52_9c64_1fe8_20b9_d3a7);

#[cfg(test)]
mod tests;
