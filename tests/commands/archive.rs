//! `archive` on a terminal: what is shown before it is asked.

use harness::SimulatorProcess;

use super::program::on_a_terminal;

const HEADER: &str = "from_object_type,from_id,to_object_type,to_id,types,portal_id\n";

#[tokio::test]
async fn the_question_counts_what_can_go_and_says_why_the_rest_cannot() {
    let simulator = SimulatorProcess::start(&[]).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, rows: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, format!("{HEADER}{rows}")).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let settings = [("hubspot.base_url", simulator.uri()), ("hubspot.access_token", "x")];
    let mixed = write(
        "mixed.csv",
        "contacts,1,companies,2,user_defined 37,\ncontacts,3,companies,5000x,all,\ncontacts,4,companies,5,all,4799\n",
    );
    let shown = on_a_terminal(&["archive", &mixed], &settings, "n\n").await;
    for words in [
        "rows that will be answered REJECTED: 2",
        "  line 3: to_id: \"5000x\" is not",
        "  line 4: portal_id 4799 is named, but the only account is configured without",
        "1 pair, contacts → companies (only the label USER_DEFINED 37), portal ",
        "Archive what is in",
        "nothing was changed",
    ] {
        assert!(shown.contains(words), "{words:?}: {shown}");
    }
    assert_eq!(shown.matches("portal 4").count(), 1, "{shown}");

    // Nothing can go: nothing is asked, and the rows have their answers.
    let none = write("none.csv", "contacts,4,companies,5,all,4799\n");
    let shown = on_a_terminal(&["archive", &none], &settings, "").await;
    assert!(!shown.contains("[y/N]") && shown.contains("REJECTED              1"), "{shown}");

    // A label that nobody carries does not look as if it could go.
    let label = write("label.csv", "contacts,1,companies,2,USER_DEFINED 999,\n");
    let pair = ["--associate", "contacts:1=companies:2"];
    let listed = SimulatorProcess::start(&pair).await.unwrap();
    let settings = [("hubspot.base_url", listed.uri()), ("hubspot.access_token", "x")];
    let shown = on_a_terminal(&["archive", &label, "--plan"], &settings, "").await;
    assert!(shown.contains("1 associated, but without the labels that are to be removed"), "{shown}");
    let shown = on_a_terminal(&["archive", &label, "--yes"], &settings, "").await;
    assert!(shown.contains("ARCHIVED              1            1            1"), "{shown}");
}
