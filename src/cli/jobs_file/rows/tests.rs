#![expect(clippy::unwrap_used)]

use super::super::job_field::Field;
use super::*;

const LIMITS: JobLimits = JobLimits { max_bytes: 200, max_pairs: 3 };

fn format(expected: Expected) -> Format {
    Format { expected, naming: Naming::ByContent, limits: LIMITS, hints: Hints::default() }
}

type Read = Vec<(u64, Result<String, String>)>;

async fn read_as(text: &[u8], format: Format) -> Result<(Read, LeftOut), RowsFault> {
    let mut rows = Rows::new(text, format);
    let mut read = Vec::new();
    while let Some(row) = rows.next().await? {
        let job = row.job.map(|job| job.job.id.to_string()).map_err(|fault| match fault {
            RowFault::Job(malformed) => malformed.message,
            RowFault::Encoding(fault) => fault,
        });
        read.push((row.line, job));
    }
    Ok((read, rows.left_out()))
}

async fn read(text: &str, expected: Expected) -> Result<Read, RowsFault> {
    read_as(text.as_bytes(), format(expected)).await.map(|(read, _)| read)
}

const JOB: &str = r#"{"jobId":"a","fromObjectType":"contacts","toObjectType":"companies","inputs":[{"from":{"id":"1"},"to":[{"id":"2"}]}]}"#;

const HEADER: &str = "from_object_type,from_id,to_object_type,to_id";

#[tokio::test]
async fn lines_are_jobs_and_keep_their_numbers() {
    let nameless = JOB.replace(r#""jobId":"a","#, "");
    let text = format!("\u{feff}{JOB}\r\n\n{{}}\n\u{feff}{nameless}\n{}", "x".repeat(300));
    let read = read(&text, Expected::Either).await.unwrap();
    assert_eq!(read.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [1, 3, 4, 5]);
    assert_eq!(read[0].1.as_deref(), Ok("a"));
    assert!(read[1].1.as_ref().unwrap_err().starts_with("fromObjectType: is missing"));
    insta::assert_snapshot!(read[2].1.as_ref().unwrap(), @"86c4e99f-ceac-51ff-83d9-77ef7df42a77");
    assert!(read[3].1.as_ref().unwrap_err().contains("jobs.max_bytes"));
}

#[tokio::test]
async fn what_a_line_lacks_stands_in_its_body_afterwards() {
    let nameless = JOB.replace(r#""jobId":"a","#, "");
    let portal = std::num::NonZeroU64::new(7).map(PortalId);
    let hints = Hints { portal, ..Hints::default() };
    let mut rows = Rows::new(nameless.as_bytes(), Format { hints: hints.clone(), ..format(Expected::Either) });
    let RowJob { body, job } = rows.next().await.unwrap().unwrap().job.unwrap();
    assert_eq!(job::parse(&body, JobProperties::default(), &LIMITS).unwrap(), job);
    assert_eq!((job.id.as_str(), job.portal), ("86c4e99f-ceac-51ff-83d9-77ef7df42a77", portal));
    let of_another = JOB.replace(r#""jobId":"a""#, r#""jobId":"a","portalId":8"#);
    let (read, _) = read_as(of_another.as_bytes(), Format { hints, ..format(Expected::Either) }).await.unwrap();
    assert_eq!(read[0].1, Err("portalId: is 8, while --portal says 7".to_owned()));
    let (read, _) =
        read_as(nameless.as_bytes(), Format { naming: Naming::Required, ..format(Expected::Either) }).await.unwrap();
    assert!(read[0].1.as_ref().unwrap_err().starts_with("jobId: is missing"));
}

#[tokio::test]
async fn a_plan_is_asked_for_in_every_line_and_a_group_where_there_is_none() {
    let group = crate::contract::ids::Group::new("import \"7\"");
    let hints = Hints { plan: true, group: group.clone(), ..Hints::default() };
    let with = |field: &str| JOB.replace(r#""jobId":"a","#, &format!(r#""jobId":"a",{field}"#));
    let lines = [JOB.to_owned(), with(r#""dryRun":false,"#), with(r#""dryRun":true,"group":"own","#)];
    let text = lines.join("\n");
    let limits = JobLimits { max_bytes: 300, max_pairs: 3 };
    let mut rows = Rows::new(text.as_bytes(), Format { hints, limits, ..format(Expected::Either) });
    let mut groups = Vec::new();
    while let Some(row) = rows.next().await.unwrap() {
        let RowJob { body, job } = row.job.unwrap();
        assert_eq!(job::parse(&body, JobProperties::default(), &limits).unwrap(), job);
        assert!(job.dry_run && job.id.as_str() == "a", "{job:?}");
        groups.push(job.group);
    }
    assert_eq!(groups, [group.clone(), group, crate::contract::ids::Group::new("own")]);
}

#[tokio::test]
async fn a_row_that_is_no_job_keeps_its_cells() {
    let from = crate::contract::object_type::ObjectType::parse("contacts").ok();
    let hints = Hints { from, plan: true, ..Hints::default() };
    let text = "from_id,to_object_type,to_id,types\n5000x,companies,\"2; 3\",\n1,companies\n1,companies,2,all\n";
    let mut rows = Rows::new(text.as_bytes(), Format { hints, ..format(Expected::Csv) });
    let mut cells = async || {
        let cells = rows.next().await.unwrap().unwrap().cells;
        cells.map(|cells| Field::ALL.map(|field| cells.text(field).to_owned()).join("|"))
    };
    // An empty cell may be what is wrong.
    assert_eq!(cells().await.as_deref(), Some("contacts|5000x|companies|2; 3|||||archive|true|"));
    assert_eq!(cells().await.as_deref(), Some("contacts|1|companies||||||archive|true|"));
    assert_eq!(cells().await, None, "it is a job");
}

#[tokio::test]
async fn csv_is_known_by_its_header_or_its_name() {
    let text = format!("\u{feff}{HEADER},job_id\ncontacts,1,companies,2,a\n\ncontacts,01,companies,2,b\n");
    for expected in [Expected::Csv, Expected::Either] {
        let read = read(&text, expected).await.unwrap();
        assert_eq!(read[0], (2, Ok("a".to_owned())));
        assert_eq!(read[1].0, 4);
        assert!(read[1].1.as_ref().unwrap_err().starts_with("from_id: is \"01\", but must be"), "{:?}", read[1]);
    }
    assert!(matches!(read("contacts,1,companies,2\n", Expected::Csv).await, Err(RowsFault::Text(_))));
    assert!(matches!(read("contacts,1,companies,2\n", Expected::Either).await, Err(RowsFault::Text(_))));
    assert!(read("", Expected::Csv).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_spreadsheets_and_shells_make_of_a_csv_is_read_as_one() {
    let plain = format!("{HEADER},job_id\ncontacts,1,companies,2,a\ncontacts,3,companies,4,b\n");
    let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    let joined = format!(
        "\u{feff}{HEADER},job_id\r\ncontacts,1,companies,2,a\r\n\u{feff}{HEADER},job_id\r\ncontacts,3,companies,4,b"
    );
    let variants: [Vec<u8>; 6] = [
        plain.clone().into_bytes(),
        plain.replace(',', ";").into_bytes(),
        plain.replace(',', "\t").into_bytes(),
        format!("sep=;\r\n{}", plain.replace(',', ";").replace('\n', ";;\r\n")).into_bytes(),
        utf16(&format!("\u{feff}{}", plain.replace(',', "\t"))),
        joined.into_bytes(),
    ];
    for text in variants {
        let (read, _) = read_as(&text, format(Expected::Csv)).await.unwrap();
        let ids: Vec<&str> = read.iter().map(|(_, id)| id.as_deref().unwrap()).collect();
        assert_eq!(ids, ["a", "b"], "{}", String::from_utf8_lossy(&text));
    }
    let blanks = format!("{HEADER}\n,,,\n\u{20}\ncontacts,1,companies,2\n;;;\n");
    assert_eq!(read(&blanks, Expected::Csv).await.unwrap().len(), 2, "only the row of semicolons is a fault");
}

#[tokio::test]
async fn a_field_that_nobody_reads_may_have_line_breaks_and_others_none() {
    let hints = Hints { from: crate::contract::object_type::ObjectType::parse("contacts").ok(), ..Hints::default() };
    let of_export = Format { hints, ..format(Expected::Csv) };
    let export = "Record ID,Notes,Associated Company IDs\n1,\"two\r\nlines\",2\n3,,\n4,x,5\n";
    let (read, left_out) = read_as(export.as_bytes(), of_export.clone()).await.unwrap();
    assert_eq!(read.iter().map(|(line, job)| (*line, job.is_ok())).collect::<Vec<_>>(), [(2, true), (5, true)]);
    assert_eq!(left_out, LeftOut { not_associated: 1, without_ids: 0, done_before: 0 });
    let open = "Record ID,Notes,Associated Company IDs\n1,\"open,2\n3,x,4\n";
    let fault = read_as(open.as_bytes(), of_export).await.unwrap_err();
    assert_eq!(fault.to_string(), "opens a quote in line 2 that is not closed: mend that row");
    let own = format!("{HEADER}\ncontacts,\"1,companies,2\ncontacts,3,companies,4\n");
    let (read, _) = read_as(own.as_bytes(), format(Expected::Csv)).await.unwrap();
    assert!(read[0].1.is_err() && read[1].1.is_ok(), "a quote left open spoils one row");
}

#[tokio::test]
async fn a_line_in_another_encoding_is_told_from_a_wrong_job() {
    let text = [format!("{HEADER}\ncontacts,1,companies,2\n").as_bytes(), b"caf\xe9,1,companies,2\n"].concat();
    let mut rows = Rows::new(text.as_slice(), format(Expected::Csv));
    assert!(rows.next().await.unwrap().unwrap().job.is_ok());
    assert!(matches!(rows.next().await.unwrap().unwrap().job, Err(RowFault::Encoding(_))));
    let unseen = format!("\u{200b}{JOB}");
    let read = read(&unseen, Expected::Either).await.unwrap();
    assert!(read[0].1.as_ref().unwrap_err().contains("invisible character, U+200B, at its start"), "{read:?}");
}

#[tokio::test]
async fn a_line_that_was_cut_is_no_shorter_row() {
    // What is kept of it ends within the last id.
    let row = format!("{}contacts,1,companies,2345", " ".repeat(LIMITS.max_bytes - 22));
    let rows = read(&format!("{HEADER}\n{row}\ncontacts,1,companies,2\n"), Expected::Csv).await.unwrap();
    assert!(rows[0].1.as_ref().unwrap_err().contains("jobs.max_bytes"), "{:?}", rows[0]);
    assert!(rows[1].1.is_ok());
    let spaces = " ".repeat(LIMITS.max_bytes + 1);
    assert!(read(&format!("{JOB}\n{spaces}{JOB}\n"), Expected::Either).await.unwrap()[1].1.is_err());
    let header = read(&format!("{HEADER}{spaces},job_id\ncontacts,1,companies,2,a\n"), Expected::Csv).await;
    assert!(matches!(header, Err(RowsFault::Text(message)) if message.contains("jobs.max_bytes")));
}

#[tokio::test]
async fn what_is_said_of_columns_is_not_ignored_where_there_are_none() {
    let hints = Hints { from: crate::contract::object_type::ObjectType::parse("deals").ok(), ..Hints::default() };
    let fault = read_as(JOB.as_bytes(), Format { hints, ..format(Expected::Either) }).await.unwrap_err();
    assert!(fault.to_string().contains("--from"), "{fault}");
}

/// A table whose name does not end with .csv, such as the "Unicode text" of a spreadsheet, is refused as a whole, and not
/// row by row as JSON. Lines of JSON are answered one by one, also where the first is broken.
#[tokio::test]
async fn a_table_that_is_no_csv_of_jobs_is_not_read_as_json() {
    for (text, words) in [
        (
            "Contact\tCompany\r\n101\t9001\r\n",
            "the header has the columns \"Contact\", \"Company\"; needed are from_object_type",
        ),
        ("Contact;Company\n101;9001\n", "or say with --map \"YOUR COLUMN=from_id,…\""),
        ("101\t9001\n102\t9001\n", "its first line must name the columns, and is a row"),
        (",,\n,,\n", "the first line has only empty cells"),
        ("from_id,to_id\n101,9001\n", "the header lacks from_object_type (or --from TYPE), to_object_type"),
    ] {
        let fault = read(text, Expected::Either).await.unwrap_err().to_string();
        assert!(fault.starts_with("is no CSV of jobs and no NDJSON: ") && fault.contains(words), "{text:?}: {fault}");
    }
    for broken in ["no job", "[1, 2]", "{\"jobId\": \"b\", ", "\"jobId\":\"b\",\"fromObjectType\":\"contacts\"}"] {
        let read = read(&format!("{broken}\n{JOB}\n"), Expected::Either).await.unwrap();
        assert!(matches!(&read[..], [(1, Err(_)), (2, Ok(id))] if id == "a"), "{broken}: {read:?}");
    }
}

#[tokio::test]
async fn rows_without_an_answer_are_counted() {
    let text = format!("{HEADER},status\ncontacts,1,companies,2,UNANSWERED\ncontacts,1,companies,3,FAILED\n");
    let mut rows = Rows::new(text.as_bytes(), format(Expected::Either));
    while rows.next().await.unwrap().is_some() {}
    assert_eq!(rows.unanswered(), 1);
}
