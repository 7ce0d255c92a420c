#![expect(clippy::unwrap_used)]

use super::super::hints::Mapping;
use super::*;

const HEADER: &str = "from_object_type,from_id,to_object_type,to_id";

fn content(header: &str, row: &str, hints: &Hints) -> Result<Content, String> {
    Columns::of_header(header, None, hints)?.content(row)
}

fn job_with(header: &str, row: &str, hints: &Hints) -> Result<Value, String> {
    match content(header, row, hints)? {
        Content::Job { body, .. } => Ok(serde_json::from_slice(&body).unwrap()),
        other @ (Content::Nothing | Content::NotAssociated | Content::WithoutIds | Content::DoneBefore) => {
            Err(format!("{other:?}"))
        }
    }
}

fn job(header: &str, row: &str) -> Result<Value, String> {
    job_with(header, row, &Hints::default())
}

#[test]
fn a_row_is_a_job_of_one_pair_in_whatever_order() {
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
    let id = |header: &str, row: &str| job(header, row).unwrap()["jobId"].as_str().unwrap().to_owned();
    let first = id(HEADER, "contacts,101,companies,9001");
    insta::assert_snapshot!(first, @"d02f975a-a4a4-5c4c-9b2d-6599d4fa1419");
    assert_eq!(first, id("to_id,to_object_type,from_id,from_object_type", "9001,companies,101,contacts"));
    assert_eq!(first, id(&format!("{HEADER},job_id"), "contacts,101,companies,9001,"));
    assert_eq!(first, id(&format!("{HEADER},types"), "contacts,101,companies,9001,all"));
    for other in ["contacts,101,companies,9002", "contacts,1019,companies,001", "deals,101,companies,9001"] {
        assert_ne!(first, id(HEADER, other));
    }
    assert_ne!(first, id(&format!("{HEADER},portal_id"), "contacts,101,companies,9001,7"));
    assert_ne!(first, id(&format!("{HEADER},types"), "contacts,101,companies,9001,WORK 1"));
}

#[test]
fn labels_and_deadlines_have_columns() {
    let header = format!("{HEADER},types,not_after");
    let read = job(&header, "contacts,1,companies,2;3 ;,user_defined 37; WORK 4,2027-01-01T00:00:00Z").unwrap();
    assert_eq!(
        read["inputs"],
        json!([{
            "types": [
                {"associationCategory": "USER_DEFINED", "associationTypeId": 37},
                {"associationCategory": "WORK", "associationTypeId": 4},
            ],
            "from": {"id": "1"},
            "to": [{"id": "2"}, {"id": "3"}],
        }])
    );
    assert_eq!(read["notAfter"], "2027-01-01T00:00:00Z");
    let whole = job(&header, "contacts,1,companies,2,all,").unwrap();
    assert!(whole["inputs"][0].get("types").is_none() && whole.get("notAfter").is_none());
    for (types, why) in [
        ("", "is empty"),
        ("?", "nothing tells"),
        ("37", "is no label"),
        ("LABEL 37", "is no label"),
        ("USER_DEFINED 37 (Manager)", "write USER_DEFINED 37"),
        ("user_defined 38; hubspot_defined 1 (Primary (old))", "write HUBSPOT_DEFINED 1"),
        ("Manager", "as a plan has them"),
        ("HUBSPOT_DEFINED 279; and 2 more", "\"and 2 more\" is no label"),
    ] {
        let fault = job(&header, &format!("contacts,1,companies,2,{types},")).unwrap_err();
        assert!(fault.starts_with("types: ") && fault.contains(why), "{fault}");
    }
}

#[test]
fn action_dry_run_group_and_all_have_columns() {
    let header = format!("{HEADER},action,dry_run,group");
    let read = job(&header, "contacts,1,companies,2,Restore,TRUE,import 7").unwrap();
    assert_eq!(
        (&read["action"], &read["dryRun"], &read["group"]),
        (&json!("restore"), &json!(true), &json!("import 7"))
    );
    let plain = job(&header, "contacts,1,companies,2,archive,false,").unwrap();
    assert_eq!(plain, job(HEADER, "contacts,1,companies,2").unwrap());
    assert_ne!(plain["jobId"], read["jobId"], "to restore is another job");
    let looked = job(&header, "contacts,1,companies,2,archive,true,g").unwrap();
    assert_eq!(plain["jobId"], looked["jobId"], "to look is the same job");
    for all in ["all", "ALL", "all;"] {
        assert_eq!(job(HEADER, &format!("contacts,1,companies,{all}")).unwrap()["inputs"][0]["to"], json!("all"));
    }
    assert_eq!(job(HEADER, "contacts,1,companies,2;all").unwrap()["inputs"][0]["to"][1], json!({"id": "all"}));
    for (cells, why) in [
        (",true,", "action: \"\" is no action; write archive or restore"),
        ("delete,true,", "action: \"delete\" is no action"),
        ("archive,,", "dry_run: \"\" is neither true nor false"),
        ("archive,yes,", "dry_run: \"yes\" is neither true nor false"),
    ] {
        let fault = job(&header, &format!("contacts,1,companies,2,{cells}")).unwrap_err();
        assert!(fault.starts_with(why), "{fault}");
    }
    let report = format!("{header},status,types_present,present,warnings");
    for status in ["ARCHIVED", "restored"] {
        let row = format!("contacts,1,companies,2,restore,false,,{status},,,");
        assert_eq!(content(&report, &row, &Hints::default()), Ok(Content::DoneBefore));
    }
    // A plan is a plan again, whatever has become of it.
    let planned = job(&report, "contacts,1,companies,2,archive,true,,PLANNED,USER_DEFINED 37,true,LABELS_GO").unwrap();
    assert_eq!(planned["dryRun"], json!(true));
}

#[test]
fn the_command_line_may_ask_for_a_plan_and_name_a_group() {
    let header = format!("{HEADER},action,dry_run,group");
    let hints = Hints { plan: true, group: crate::contract::ids::Group::new("of all"), ..Hints::default() };
    let read = job_with(&header, "contacts,1,companies,2,restore,false,own", &hints).unwrap();
    assert_eq!((&read["dryRun"], &read["group"]), (&json!(true), &json!("own")));
    let read = job_with(HEADER, "contacts,1,companies,2", &hints).unwrap();
    assert_eq!((&read["dryRun"], &read["group"]), (&json!(true), &json!("of all")));
}

#[test]
fn hubspots_export_is_known_by_its_header() {
    let header = "Record ID,First Name,Associated Company,Associated Company IDs";
    let contacts = Hints { from: ObjectType::parse("contacts").ok(), ..Hints::default() };
    let read = job_with(header, "101,Ann,Acme;Bolt,9001;9002", &contacts).unwrap();
    assert_eq!((&read["fromObjectType"], &read["toObjectType"]), (&json!("contacts"), &json!("companies")));
    assert_eq!(read["inputs"], json!([{"from": {"id": "101"}, "to": [{"id": "9001"}, {"id": "9002"}]}]));
    assert_eq!(content(header, "102,Bob,,", &contacts), Ok(Content::NotAssociated));
    let with_properties = "Record ID,Action,Group,Associated Company IDs";
    let same = job_with(with_properties, "101,restore,Wholesale,9001;9002", &contacts).unwrap();
    assert_eq!(same, read, "properties of a record say nothing of the job");
    assert!(job(header, "101,Ann,Acme,9001").unwrap_err().contains("--from TYPE"));
    let two = "Record ID,Associated Company IDs,Associated Deal IDs";
    assert!(job_with(two, "1,2,3", &contacts).unwrap_err().contains("choose one with --to"));
    let deals = Hints { to: ObjectType::parse("deals").ok(), ..contacts.clone() };
    assert_eq!(job_with(two, "1,2,3", &deals).unwrap()["inputs"][0]["to"], json!([{"id": "3"}]));
    let tickets = Hints { to: ObjectType::parse("tickets").ok(), ..contacts };
    assert!(job_with(two, "1,2,3", &tickets).unwrap_err().contains("no associated records"));
}

/// Ids of another type than is said would remove associations of records that nobody has named.
#[test]
fn the_type_that_the_header_names_is_not_overruled() {
    let types = |text: &str| ObjectType::parse(text).ok();
    let hints = |from: &str, to: &str, map: &str| Hints {
        map: (!map.is_empty()).then(|| Mapping::parse(map).unwrap()),
        from: types(from),
        to: types(to),
        ..Hints::default()
    };
    let typed = "Record ID - Contact,First Name,Associated Company IDs";
    let read = job_with(typed, "101,Ann,9001", &Hints::default()).unwrap();
    assert_eq!((&read["fromObjectType"], &read["toObjectType"]), (&json!("contacts"), &json!("companies")));
    job_with(typed, "101,Ann,9001", &hints("0-1", "", "")).unwrap();
    let both = "Record ID - Contact,Record ID - Company";
    let map = "Record ID - Contact=from_id,Record ID - Company=to_id";
    assert!(job(both, "1,2").unwrap_err().contains(&format!("--map {map:?}")));
    let read = job_with(both, "1,2", &hints("", "", map)).unwrap();
    assert_eq!((&read["fromObjectType"], &read["toObjectType"]), (&json!("contacts"), &json!("companies")));
    for (header, hints, refused) in [
        (
            typed,
            hints("companies", "", ""),
            "\"Record ID - Contact\" has the ids of contacts, while --from says companies",
        ),
        (
            both,
            hints("companies", "contacts", map),
            "\"Record ID - Contact\" has the ids of contacts, while --from says",
        ),
        (
            both,
            hints("contacts", "deals", map),
            "\"Record ID - Company\" has the ids of companies, while --to says deals",
        ),
        (
            "Record ID,Associated Company IDs",
            hints("contacts", "deals", "Record ID=from_id,Associated Company IDs=to_id"),
            "\"Associated Company IDs\" has the ids of companies, while --to says deals",
        ),
    ] {
        let fault = Columns::of_header(header, None, &hints).unwrap_err();
        assert!(fault.contains(refused), "{fault}");
    }
    let with_types = "Record ID - Contact,Company,from_object_type,to_object_type";
    let mapped = hints("", "", "Record ID - Contact=from_id,Company=to_id");
    job_with(with_types, "1,2,contacts,companies", &mapped).unwrap();
    let fault = job_with(with_types, "1,2,companies,contacts", &mapped).unwrap_err();
    assert!(
        fault.starts_with("from_object_type: is \"companies\", while the column \"Record ID - Contact\""),
        "{fault}"
    );

    let doubts = |header: &str, hints: &Hints| Columns::of_header(header, None, hints).unwrap().doubts().to_vec();
    let plain = "Record ID,First Name,Associated Company IDs";
    assert!(doubts(plain, &hints("companies", "", ""))[0].contains("\"First Name\" is one of an export of contacts"));
    assert_eq!(doubts(plain, &hints("contacts", "", "")), [""; 0]);
    let mapped = hints("companies", "deals", "Contact ID=from_id,Deal ID=to_id");
    let said = doubts("Contact ID,Deal ID", &mapped);
    assert!(said.len() == 1 && said[0].contains("\"Contact ID\" has the ids of companies"), "{said:?}");
}

#[test]
fn a_mapping_names_columns_and_passes_over_the_others() {
    let types = |text: &str| ObjectType::parse(text).ok();
    let map = Mapping::parse("Contact=from_id,Company=to_id").ok();
    let hints = Hints { map, from: types("contacts"), to: types("companies"), ..Hints::default() };
    let read = job_with("Contact\tName\tCOMPANY", "1\tx, y\t2", &hints).unwrap();
    assert_eq!(read["inputs"], json!([{"from": {"id": "1"}, "to": [{"id": "2"}]}]));
    assert_eq!(content("Contact,Company", "1,", &hints), Ok(Content::NotAssociated));
    assert!(job_with("Contact,Name", "1,2", &hints).unwrap_err().contains("no column \"Company\", which --map names"));
    assert!(job_with("Contact,Company,company", "1,2,3", &hints).unwrap_err().contains("twice"));
}

/// Which record is meant is not guessed: beside a column that somebody has named, it need not be that of the export.
#[test]
fn a_mapping_that_lacks_one_of_hubspots_own_columns_is_told_in_full() {
    let types = |text: &str| ObjectType::parse(text).ok();
    let hints = |map: &str| Hints {
        map: Mapping::parse(map).ok(),
        from: types("contacts"),
        to: types("companies"),
        ..Hints::default()
    };
    let header = "Record ID,Company,Associated Company IDs";
    for (map, whole) in [
        ("Company=to_id", "Company=to_id,Record ID=from_id"),
        ("Company=from_id", "Company=from_id,Associated Company IDs=to_id"),
    ] {
        let fault = job_with(header, "1,2,3", &hints(map)).unwrap_err();
        assert!(fault.ends_with(&format!("--map {whole:?}")), "{fault}");
        job_with(header, "1,2,3", &hints(whole)).unwrap();
    }
    let two = "Record ID - Contact,Record ID - Deal,Company";
    assert!(job_with(two, "1,2,3", &hints("Company=to_id")).unwrap_err().ends_with("name its columns with --map"));
}

/// What is advised for a file without a header works for that very file.
#[test]
fn the_header_that_is_advised_fits_the_row() {
    let row = "Ann,101,Acme,9001,x";
    let types = |text: &str| ObjectType::parse(text).ok();
    let hints = Hints { from: types("contacts"), to: types("companies"), ..Hints::default() };
    let advice = job_with(row, row, &hints).unwrap_err();
    let header = advice.split_once("such as ").unwrap().1.split_once(", separated").unwrap().0;
    let map = Mapping::parse(advice.rsplit('"').nth(1).unwrap()).ok();
    let read = job_with(header, row, &Hints { map, ..hints }).unwrap();
    assert_eq!(read["inputs"], json!([{"from": {"id": "101"}, "to": [{"id": "9001"}]}]), "{advice}");
    assert!(job(row, row).unwrap_err().ends_with(" and the types with --from and --to"));
    let plain = job("contacts,1,companies,2", "contacts,1,companies,2").unwrap_err();
    assert!(plain.ends_with("put from_object_type,from_id,to_object_type,to_id above"), "{plain}");
}

#[test]
fn the_command_line_fills_what_a_row_lacks_and_contradicts_none() {
    let header = "from_object_type,from_id,to_id,portal_id";
    let portal = std::num::NonZeroU64::new(7).map(crate::contract::ids::PortalId);
    let hints = Hints {
        map: None,
        from: ObjectType::parse("contact").ok(),
        to: ObjectType::parse("0-2").ok(),
        portal,
        ..Hints::default()
    };
    for row in ["contacts,1,2,7", ",1,2,"] {
        let read = job_with(header, row, &hints).unwrap();
        assert_eq!((&read["toObjectType"], &read["portalId"]), (&json!("0-2"), &json!(7)));
    }
    assert!(job_with(header, "deals,1,2,7", &hints).unwrap_err().starts_with("from_object_type: is \"deals\""));
    assert!(job_with(header, "contacts,1,2,8", &hints).unwrap_err().starts_with("portal_id: is 8"));
}

#[test]
fn blank_rows_and_columns_and_repeated_headers_are_passed_over() {
    let header = format!("{HEADER},,");
    for nothing in ["", ",,,", " , ,\t,,,", HEADER, &header] {
        assert_eq!(content(&header, nothing, &Hints::default()), Ok(Content::Nothing), "{nothing:?}");
    }
    assert!(job(&header, "contacts,1,companies,2,,").is_ok());
    assert_eq!(content(HEADER, "contacts,1,companies,", &Hints::default()), Ok(Content::NotAssociated));
    assert_eq!(content(HEADER, "contacts,,companies,", &Hints::default()), Ok(Content::WithoutIds));
    assert!(job(HEADER, "contacts,1,companies,;").unwrap_err().starts_with("to_id: is empty"));
    assert!(job(HEADER, "contacts,1,companies,2,,,").is_ok());
    assert!(job(HEADER, "contacts,1,companies,2,,x").unwrap_err().contains("\"x\" in column 6"));
    let report = format!("line,{HEADER},status,message");
    assert_eq!(content(&report, "2,contacts,1,companies,2,ARCHIVED,", &Hints::default()), Ok(Content::DoneBefore));
    assert!(job(&report, "2,contacts,1,companies,2,FAILED,why").is_ok());
}

#[test]
fn what_is_no_row_says_why() {
    for (header, row, why) in [
        ("from_object_type,from_id,to_object_type", "", "the header lacks to_id; "),
        ("from_object_type,from_id,to_object_type,to_id,simulate", "", "unknown column \"simulate\""),
        ("from_object_type,from_id,to_object_type,to_id,to_id", "", "two columns for to_id"),
        ("from_object_type,from_\u{200b}id", "", "invisible character, U+200B, after \"from_\""),
        (
            "contacts,1,companies,2",
            "",
            "first line must name the columns, and is a row, \"contacts\", \"1\", \"companies\", \"2\"",
        ),
        ("contacts,1,companies,8;9", "", ": put from_object_type,from_id,to_object_type,to_id above"),
        ("Ann,101,Acme", "", ": a row needs the ids of two records, and only one cell of this one is a number; write"),
        ("101", "", "and is a row, \"101\": a row needs the ids of two records"),
        (
            "Ann,101,Acme,9001;9002,x",
            "",
            "such as column1,column2,column3,column4,column5, separated as the row is, and say with --map which have ids, such as \
             \"column2=from_id,column4=to_id\" and the types",
        ),
        ("1,2,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q,r,s,t,u,v,w", "", "column19,column20,and so on to column23, separated as"),
        (
            "First name,Company name",
            "",
            "has the columns \"First name\", \"Company name\"; needed are from_object_type (or --from TYPE), from_id,",
        ),
        ("Record ID,Associated Company", "", "has the columns \"Record ID\", \"Associated Company\"; an export needs"),
        (HEADER, "contacts,1,companies,\"9001, 9002\"", "to_id: \"9001, 9002\" is no id: several ids in a cell"),
        (HEADER, "contacts,1,companies,\"3;9,001\"", "to_id: \"9,001\" is no id"),
        (
            HEADER,
            "contacts,1,companies,9001,9002",
            "has \"9002\" in column 5, to which the header gives no name: several",
        ),
        (HEADER, "contacts,1;2,companies,3", "from_id: \"1;2\" is no id: write one id"),
        (HEADER, "contacts,1,companies", "has 3 fields, the header has 4"),
        (HEADER, "contacts,\"1,companies,2", "quote that is not closed"),
        (HEADER, "contacts,1\u{200b},companies,2", "from_id: has an invisible character, U+200B, after \"1\""),
        (HEADER, "contacts,1,companies,2\rcontacts,3,companies,4", "carriage return inside"),
        ("from_object_type,from_id,to_object_type,to_id\rcontacts,1,companies,2", "", "carriage return inside"),
        (&format!("{HEADER},portal_id"), "contacts,1,companies,2,x", "portal_id: \"x\" is not"),
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
    let of_account = "portalId 7 is named, but …, or leave portalId out of the job";
    assert_eq!(in_columns(of_account), "portal_id 7 is named, but …, or leave portal_id out of the row");
}

/// What is asked of whoever mends the row is what the row is for.
#[test]
fn a_restore_is_refused_in_words_about_restoring() {
    let header = format!("{HEADER},types,action");
    let fault = |row: &str| job(&header, row).unwrap_err();
    let words = |done: &str, whole: &str| {
        format!("types: is empty; write the labels to {done}, such as USER_DEFINED 37, or all for {whole}")
    };
    assert_eq!(fault("contacts,1,companies,2,,archive"), words("remove", "the whole association"));
    assert_eq!(fault("contacts,1,companies,2,,restore"), words("restore", "the association itself, without labels"));
    assert!(fault("contacts,1,companies,2,?,restore").contains("only labels were to be restored; write the labels"));
    let all = "to_id: all says what is to be removed; where action is restore, write the ids of the records";
    assert_eq!(fault("contacts,1,companies,all,all,restore"), all);
    assert_eq!(fault("contacts,1,companies,all,,restore"), all);
}
