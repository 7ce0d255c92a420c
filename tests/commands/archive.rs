//! `archive` on a terminal: what is shown before it is asked.

use std::time::Duration;

use harness::{SimulatorProcess, eventually};
use serde_json::json;

use super::program::{on_a_terminal, on_a_terminal_of, run_with};
use super::terminal::Terminal;

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
        "  line 3: to_id: is \"5000x\", but must be",
        "  line 4: portal_id 4799 is named, but the only account is configured without",
        "1 pair, contacts → companies (only the label USER_DEFINED 37), portal ",
        "Archive what is in",
        "nothing was changed",
    ] {
        assert!(shown.contains(words), "{words:?}: {shown}");
    }
    assert_eq!(shown.matches(", portal 4").count(), 1, "{shown}");

    // Nothing can go: nothing is asked, and the rows have their answers.
    let none = write("none.csv", "contacts,4,companies,5,all,4799\n");
    let shown = on_a_terminal(&["archive", &none], &settings, "").await;
    assert!(!shown.contains("[y/N]") && shown.contains("REJECTED              1"), "{shown}");

    // With the type of the plain association all labels go, and Primary is none of these.
    let plain = write(
        "plain.csv",
        "contacts,1,companies,2,HUBSPOT_DEFINED 279;USER_DEFINED 37,\ncontacts,1,companies,3,HUBSPOT_DEFINED 1,\n",
    );
    let shown = on_a_terminal(&["archive", &plain], &settings, "n\n").await;
    for words in [
        "pairs whose types name HUBSPOT_DEFINED 279: 1; if that is the plain association",
        "everything between the two records goes",
        "(the labels HUBSPOT_DEFINED 279, USER_DEFINED 37, and with it perhaps everything)",
        "(only the label HUBSPOT_DEFINED 1)",
    ] {
        assert!(shown.contains(words), "{words:?}: {shown}");
    }

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

/// The line before anything is sent, the table and the outcome are of the same words, which are those of the file.
#[tokio::test]
async fn a_row_without_its_portal_is_told_in_the_words_of_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (config, csv, ndjson) = (path("two.toml"), path("pairs.csv"), path("jobs.ndjson"));
    let account = |portal: u32| format!("[[hubspot.accounts]]\nportal_id = {portal}\naccess_token = \"{portal}\"\n");
    std::fs::write(&config, [1, 2].map(account).concat()).unwrap();
    std::fs::write(&csv, format!("{HEADER}contacts,1,companies,2,all,\n")).unwrap();
    std::fs::write(&ndjson, format!("{}\n", harness::job("a").pair(1, 2).to_json())).unwrap();
    let settings = [("hubspot.base_url", "http://127.0.0.1:1")];
    for (file, field) in [(&csv, "portal_id"), (&ndjson, "portalId")] {
        let ran = run_with(&["archive", file, "--yes", "--config", &config], &settings, "").await;
        let words =
            format!("{field} is missing: it is required where several accounts are configured; or give --portal");
        assert!(ran.code == 3 && ran.stdout.contains(&words), "{words}: {ran:?}");
        assert_eq!(ran.stderr.matches(&words).count(), 2, "{words}: {ran:?}");
    }
}

/// Whoever is asked is told what HubSpot says by then, and not half a minute after the answer.
#[tokio::test]
async fn the_question_says_that_hubspot_takes_no_token_or_cannot_be_asked() {
    let simulator = SimulatorProcess::start(&["--token", "4711=good"]).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pairs.csv");
    std::fs::write(&file, format!("{HEADER}contacts,1,companies,2,all,\n")).unwrap();
    let shown =
        async |settings: &[(&str, &str)]| on_a_terminal(&["archive", file.to_str().unwrap()], settings, "n\n").await;
    let good = shown(&[("hubspot.base_url", simulator.uri()), ("hubspot.access_token", "good")]).await;
    assert!(good.contains("portal 4711") && !good.contains("token in") && good.contains("[y/N]"), "{good}");
    let refused = shown(&[("hubspot.base_url", simulator.uri()), ("hubspot.access_token", "bad")]).await;
    let words = "the only account: HubSpot does not take the token in hubspot.access_token: HubSpot answered 401";
    assert!(refused.contains(words) && refused.contains("[y/N]"), "{refused}");
    let away = shown(&[("hubspot.base_url", "http://127.0.0.1:1"), ("hubspot.access_token", "good")]).await;
    let words = "the only account: HubSpot cannot be asked now: no connection to HubSpot could be made";
    assert!(away.contains(words) && away.contains("[y/N]"), "{away}");
}

/// The token of another portal: nobody is asked whether to archive there.
#[tokio::test]
async fn a_token_of_another_portal_is_refused_before_the_question() {
    let simulator = SimulatorProcess::start(&["--token", "4711=good"]).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (config, pairs) = (path("settings.toml"), path("pairs.csv"));
    std::fs::write(&config, "[[hubspot.accounts]]\nportal_id = 4712\naccess_token = \"good\"\n").unwrap();
    std::fs::write(&pairs, format!("{HEADER}contacts,1,companies,2,all,\n")).unwrap();
    let settings = [("hubspot.base_url", simulator.uri())];
    let shown = on_a_terminal(&["archive", &pairs, "--config", &config], &settings, "y\n").await;
    let words = "error: portal 4712: the token in hubspot.accounts[0].access_token belongs to portal 4711; put a token of \
                 portal 4712 there, or correct portal_id";
    assert!(shown.contains(words) && !shown.contains("[y/N]"), "{shown}");
    assert_eq!(simulator.state().await.unwrap()["pairsArchivedTotal"], json!(0));
}

/// Whoever has a token in a variable, and no file of settings, is told how to name the portal; and that way works.
#[tokio::test]
async fn a_portal_that_is_named_for_a_token_without_one_is_told_how_to_be_named() {
    let simulator = SimulatorProcess::start(&["--token", "4711=good"]).await.unwrap();
    let row = |portal: &str| format!("{HEADER}contacts,1,companies,2,all,{portal}\n");
    let directory = tempfile::tempdir().unwrap();
    let token = directory.path().join("token");
    std::fs::write(&token, "good").unwrap();
    let (uri, token) = (("hubspot.base_url", simulator.uri()), token.to_str().unwrap());
    let files = [uri, ("hubspot.access_token_file", token)];
    let plain = [uri, ("hubspot.access_token", "good")];
    let listed = [uri, ("hubspot.accounts.0.access_token", "good")];
    let by_variables = |token: &str| {
        format!(
            "only if it is, name the portal in hubspot.accounts (by variables: ARCHIVER__HUBSPOT__ACCOUNTS__0__PORTAL_ID=4711 \
             and, instead of ARCHIVER__HUBSPOT__{token}, ARCHIVER__HUBSPOT__ACCOUNTS__0__{token}), or leave "
        )
    };
    let (by_row, by_option) = ("portal_id 4711 is named", "--portal 4711 is given");
    for (settings, arguments, portal, named, place, mend) in [
        (
            &files,
            &["archive"][..],
            "4711",
            by_row,
            "the file ",
            by_variables("ACCESS_TOKEN_FILE") + "portal_id out of the row",
        ),
        (
            &files,
            &["archive", "--portal", "4711"],
            "",
            by_option,
            "the file ",
            by_variables("ACCESS_TOKEN_FILE") + "--portal out",
        ),
        (&plain, &["archive"], "4711", by_row, "hubspot.access_token ", by_variables("ACCESS_TOKEN")),
        (
            &listed,
            &["archive"],
            "4711",
            by_row,
            "hubspot.accounts[0].access_token ",
            "only if it is, give the account portal_id = 4711 in hubspot.accounts, or leave ".to_owned(),
        ),
    ] {
        let ran = run_with(arguments, settings, &row(portal)).await;
        let check = "but the only account is configured without a portal id: check first that the token in";
        let first = format!("{named}, {check} {place}");
        assert!(ran.code == 3 && ran.stdout.contains(&first) && ran.stdout.contains(&mend), "{first}: {mend}: {ran:?}");
    }
    let named = [uri, ("hubspot.accounts.0.portal_id", "4711"), ("hubspot.accounts.0.access_token_file", token)];
    for (arguments, portal) in [(&["archive"][..], "4711"), (&["archive", "--portal", "4711"], "")] {
        let ran = run_with(arguments, &named, &row(portal)).await;
        assert!(ran.code == 0 && ran.stdout.contains("ARCHIVED"), "{ran:?}");
    }
}

/// What is asked for the question counts in the rolling interval, as all that is sent afterwards.
#[tokio::test]
async fn the_request_for_the_question_counts_in_the_interval() {
    let simulator = SimulatorProcess::start(&["--limit", "5/2s"]).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pairs.csv");
    let rows: String = (1..=6).map(|id| format!("contacts,{id},companies,9,all,\n")).collect();
    std::fs::write(&file, format!("{HEADER}{rows}")).unwrap();
    let settings = [
        ("hubspot.base_url", simulator.uri()),
        ("hubspot.access_token", "x"),
        ("rate_limit.requests", "5"),
        ("rate_limit.interval", "2s"),
        ("batch.max_pairs", "1"),
    ];
    let mut terminal = Terminal::start(&["archive", file.to_str().unwrap()], &settings, (120, 40));
    for (said, keys) in [("about 6 requests", ""), ("[y/N] ", "y\n"), ("ARCHIVED              6", "")] {
        let shown = async || Ok(terminal.raw().contains(said).then_some(()));
        eventually(Duration::from_secs(60), said, shown).await.unwrap_or_else(|_| panic!("{}", terminal.raw()));
        terminal.press(keys);
    }
    let state = simulator.state().await.unwrap();
    assert_eq!(state["accounts"][0]["maxRequestsInInterval"], json!(5), "{state}");
}

/// What is wrong with a pair is told in its outcome. A line of the log about its request reads as if all of it had failed.
#[tokio::test]
async fn a_request_that_is_refused_for_one_pair_is_no_alarm() {
    let simulator = SimulatorProcess::start(&["--bad-id", "7"]).await.unwrap();
    let rows: String = (1..=20).map(|id| format!("contacts,{id},companies,9,all,\n")).collect();
    let settings = [("hubspot.base_url", simulator.uri()), ("hubspot.access_token", "x")];
    let ran = run_with(&["archive", "--yes"], &settings, &format!("{HEADER}{rows}")).await;
    assert_eq!((ran.code, ran.stdout.lines().count()), (3, 20), "{ran:?}");
    assert!(!ran.stderr.contains("WARN"), "{ran:?}");
    let [head, row] = [("NOT DONE", "JOBS", "PAIRS"), ("", "1", "1")]
        .map(|(first, jobs, pairs)| format!("{first:<10} {jobs:>12} {pairs:>12} "));
    let cause = format!("{head}CAUSE\n{row}HUBSPOT ");
    assert!(ran.stderr.contains(&cause), "{cause}: {}", ran.stderr);
}

/// A row of the file of what failed is for a pair, or for a row that is no job; the table counts jobs and pairs apart.
#[tokio::test]
async fn jobs_and_pairs_that_are_not_done_are_counted_apart() {
    let simulator = SimulatorProcess::start(&["--bad-id", "7"]).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let failed = directory.path().join("failed.csv");
    let rows = "contacts,1,companies,7;2,all,\ncontacts,1,companies,3;4,all,4799\ncontacts,1,companies,x,all,\n";
    let settings = [("hubspot.base_url", simulator.uri()), ("hubspot.access_token", "x")];
    let arguments = ["archive", "--failed", failed.to_str().unwrap()];
    let ran = run_with(&arguments, &settings, &format!("{HEADER}{rows}")).await;
    assert_eq!(ran.code, 3, "{ran:?}");
    let row = |first: &str, jobs: &str, pairs: &str| format!("{first:<10} {jobs:>12} {pairs:>12} ");
    let rejected = format!("{}{:>12}\n", row("REJECTED", "2", "-"), "-");
    let [head, of_pair, of_job] = [("NOT DONE", "JOBS", "PAIRS"), ("", "1", "1"), ("", "1", "-")]
        .map(|(first, jobs, pairs)| row(first, jobs, pairs));
    for words in [
        rejected,
        format!("{head}CAUSE\n"),
        format!("{of_pair}HUBSPOT VALIDATION_ERROR"),
        format!("{of_job}WORKER UNKNOWN_PORTAL"),
        format!("{of_job}WORKER MALFORMED_JOB"),
        "failed.csv has 4 rows: 3 for pairs that failed or were rejected, 1 for what is no job\n".to_owned(),
    ] {
        assert!(ran.stderr.contains(&words), "{words:?}: {}", ran.stderr);
    }
    assert_eq!(std::fs::read_to_string(failed).unwrap().lines().count(), 1 + 4);
}

#[tokio::test]
async fn what_is_counted_adds_up_where_rows_are_repeated() {
    let simulator = SimulatorProcess::start(&[]).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("twice.csv");
    // A row twice, a pair of it in another row, and a row of another portal, which counts nowhere.
    let rows = "contacts,1,companies,2;3,all,\ncontacts,1,companies,2;3,all,\ncontacts,1,companies,3;4,all,\n\
                contacts,1,companies,3,all,4799\n";
    std::fs::write(&file, format!("{HEADER}{rows}")).unwrap();
    let file = file.to_str().unwrap();
    let settings = [("hubspot.base_url", simulator.uri()), ("hubspot.access_token", "x")];
    let shown = on_a_terminal(&["archive", file], &settings, "y\n").await;
    for words in [
        "(archiving a pair again does no harm): 3\r\n",
        "6 pairs, of them repeated: 3, contacts → companies, ",
        "about 1 request for 3 different ones, 1s, or longer if HubSpot allows less\r\n",
        "ARCHIVED              3            6            6\r\n",
        "                                   3 of all these repeated: a row before asks for the same pair\r\n",
    ] {
        assert!(shown.contains(words), "{words:?}: {shown}");
    }
    let looked =
        on_a_terminal(&["archive", file, "--plan"], &[&settings[..], &[("safety.verify", "true")]].concat(), "").await;
    assert!(!looked.contains("pairs removed"), "a plan removes nothing: {looked}");
    let piped = run_with(&["archive"], &settings, &std::fs::read_to_string(file).unwrap()).await;
    assert!(
        piped.stderr.contains("  3 of all these repeated: ") && piped.stderr.contains("no harm): 3\n"),
        "{piped:?}"
    );
}

#[tokio::test]
async fn the_question_counts_looks_and_proofs_and_is_not_asked_where_a_file_is_in_the_way() {
    let simulator = SimulatorProcess::start(&[]).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let rows: String = (1..=1_250).map(|id| format!("contacts,{id},companies,9,USER_DEFINED 37,\n")).collect();
    std::fs::write(path("pairs.csv"), format!("{HEADER}{rows}")).unwrap();
    let plain = [("hubspot.base_url", simulator.uri()), ("hubspot.access_token", "x"), ("rate_limit.requests", "10")];
    let (pairs, journal, failed) = (path("pairs.csv"), path("journal.ndjson"), path("failed.csv"));
    let safe = [("safety.journal", "file"), ("safety.journal_file", &journal), ("safety.verify", "true")];
    let safe = [&plain[..], &safe].concat();
    let asked = async |settings: &[(&str, &str)], more: &[&str]| {
        on_a_terminal(&[&["archive", &pairs][..], more].concat(), settings, "n\n").await
    };
    // A day's budget may take longer than the ceiling.
    let daily = [&plain[..], &[("rate_limit.daily", "5")]].concat();
    for (settings, words) in [
        (&daily[..], "about 13 requests, 3d, or longer if HubSpot allows less"),
        (&plain, "about 13 requests, 13s, or longer if HubSpot allows less"),
        (&safe, "at least 17 requests (2 to look before, 2 to read back), 19s, or longer if HubSpot allows less"),
    ] {
        let shown = asked(settings, &["--failed", &failed]).await;
        assert!(shown.contains(words) && shown.contains("nothing was changed"), "{shown}");
        assert!(!std::path::Path::new(&failed).exists(), "nothing failed");
    }
    let planned = asked(&safe, &["--plan"]).await;
    let words = "contacts → companies (only looked at, and only the label USER_DEFINED 37), portal 4711 (standard), at least 2 requests";
    assert!(planned.contains(words), "{planned}");

    // From which side pairs are sent is found out on the way; labels go from their own side.
    let folding = path("folding.toml");
    std::fs::write(&folding, "[batch]\nfold = [\"companies/contacts\"]\n").unwrap();
    let labels = asked(&plain, &["--config", &folding]).await;
    assert!(labels.contains("about 13 requests, 13s, or longer if HubSpot allows less"), "{labels}");
    std::fs::write(&pairs, format!("{HEADER}{}", rows.replace("USER_DEFINED 37", "all"))).unwrap();
    let folded = asked(&plain, &["--config", &folding]).await;
    assert!(folded.contains(", 2 to 13 requests, 2s to 13s, or longer if HubSpot allows less"), "{folded}");
    let proven = asked(&safe, &["--config", &folding]).await;
    assert!(
        proven.contains("at least 4 requests (1 to look before, 1 to read back), 6s, or longer if HubSpot allows less"),
        "{proven}"
    );

    std::fs::write(&failed, "kept").unwrap();
    let nowhere = path("nowhere/failed.csv");
    for (file, why) in [(&failed, "it exists already"), (&nowhere, "No such file")] {
        let shown = asked(&plain, &["--failed", file]).await;
        assert!(shown.contains(&format!("{file} cannot be made: {why}")) && !shown.contains("[y/N]"), "{shown}");
        let settings = [("amqp.uri", "amqp://127.0.0.1:1")];
        let shown = on_a_terminal(&["enqueue", &pairs, "--follow", "--outcomes", file], &settings, "n\n").await;
        assert!(shown.contains(why) && !shown.contains("[y/N]"), "{shown}");
    }
    assert_eq!(std::fs::read_to_string(&failed).unwrap(), "kept");
}

/// What failed in one run and was done in the next needs no third one, in whichever order the files are given.
#[tokio::test]
async fn what_was_done_in_the_second_run_is_left_out_of_the_third() {
    let simulator = SimulatorProcess::start(&["--bad-id", "7"]).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (pairs, [first, second]) = (path("pairs.csv"), ["first", "second"].map(path));
    // Equal rows too, and a job that is done in part.
    let rows = "contacts,1,companies,2,all,\ncontacts,7,companies,2,all,\ncontacts,7,companies,2,all,\n\
                contacts,1,companies,3;7,all,\n";
    std::fs::write(&pairs, format!("{HEADER}{rows}")).unwrap();
    let settings = [("hubspot.base_url", simulator.uri()), ("hubspot.access_token", "x")];
    let resumed = async |outcomes: &[&str]| {
        let resume = outcomes.iter().flat_map(|file| ["--resume", file]);
        run_with(&["archive", &pairs, "--yes"].into_iter().chain(resume).collect::<Vec<_>>(), &settings, "").await
    };
    let ran = resumed(&[]).await;
    assert!(ran.code == 3 && ran.stdout.matches("\"status\":\"ARCHIVED\"").count() == 1, "{ran:?}");
    std::fs::write(&first, ran.stdout).unwrap();
    simulator.configure(&json!({"everyAccount": {"badIds": []}})).await.unwrap();
    let ran = resumed(&[&first]).await;
    assert!(ran.stderr.contains("left out because they were done before: 1\n"), "{ran:?}");
    assert!(ran.stderr.contains("all runs together: 4 jobs, 1 of them done before and 3 now, 0 left\n"), "{ran:?}");
    std::fs::write(&second, ran.fine()).unwrap();
    for files in [[&first, &second], [&second, &first]] {
        let ran = resumed(&files.map(String::as_str)).await;
        assert!(ran.stderr.contains("left out because they were done before: 4\n"), "{ran:?}");
        let whole = "all runs together: 4 jobs, 4 of them done before and 0 now, 0 left\n";
        assert!(ran.stderr.contains(whole), "{ran:?}");
        assert_eq!(ran.fine(), "", "nothing is sent");
    }
}

/// Whoever is asked and goes away is told that nothing was changed, as whoever says no.
#[tokio::test]
async fn an_interrupt_at_the_question_is_a_no() {
    let simulator = SimulatorProcess::start(&[]).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pairs.csv");
    std::fs::write(&file, format!("{HEADER}contacts,1,companies,2,all,\n")).unwrap();
    let settings = [("hubspot.base_url", simulator.uri()), ("hubspot.access_token", "x")];
    for (command, words) in [("archive", "nothing was changed"), ("enqueue", "nothing was published")] {
        let mut terminal = Terminal::start(&[command, file.to_str().unwrap()], &settings, (120, 40));
        for (said, key) in [("[y/N] ", "\u{3}"), (words, "")] {
            let shown = async || Ok(terminal.raw().contains(said).then_some(()));
            eventually(Duration::from_secs(60), said, shown).await.unwrap_or_else(|_| panic!("{}", terminal.raw()));
            terminal.press(key);
        }
    }
}

/// That nothing is answered does not say that nothing was asked for, nor that nothing was done.
#[tokio::test]
async fn an_interrupt_before_the_first_answer_does_not_say_that_nothing_was_done() {
    let simulator = SimulatorProcess::start(&[]).await.unwrap();
    let done_unseen = json!([{"when": {"kind": "archive"}, "then": {"answer": {"status": 503, "done": true}}}]);
    simulator.put_faults(&done_unseen).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ten.csv");
    let rows: String = (1..=10).map(|id| format!("contacts,{id},companies,9,all,\n")).collect();
    std::fs::write(&file, format!("{HEADER}{rows}")).unwrap();
    let settings = [("hubspot.base_url", simulator.uri()), ("hubspot.access_token", "x")];
    let mut terminal = Terminal::start(&["archive", file.to_str().unwrap(), "--yes"], &settings, (200, 40));
    let is_sent = async || {
        let sent = simulator.state().await?["requestsByKind"]["archive"].as_u64();
        Ok(sent.is_some_and(|sent| sent > 0).then_some(()))
    };
    eventually(Duration::from_secs(60), "a request", is_sent).await.unwrap();
    terminal.press("\u{3}");
    let is_over = async || Ok(terminal.raw().contains("to go on: ").then_some(()));
    eventually(Duration::from_secs(60), "the end", is_over).await.unwrap_or_else(|_| panic!("{}", terminal.raw()));
    let shown = terminal.raw();
    assert!(shown.contains("read and not answered: 10") && !shown.contains("nothing was done"), "{shown}");
    assert!(shown.contains("left without an answer: 10 of the 10 jobs of this run"), "{shown}");
}

/// A large file takes its time before the question.
#[tokio::test]
async fn on_a_terminal_it_says_how_far_a_file_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pairs.csv");
    let rows: String = (1..=20_000).map(|id| format!("contacts,{id},companies,9,all,\n")).collect();
    std::fs::write(&file, format!("{HEADER}{rows}contacts,x,companies,9,all,\n")).unwrap();
    let file = file.to_str().unwrap();
    let settings = [("hubspot.base_url", "http://127.0.0.1:1"), ("hubspot.access_token", "x")];
    let reading = format!("reading {file}: ");
    for (command, answer) in [(&["archive", file][..], "n\n"), (&["enqueue", file, "--dry-run"], "")] {
        let shown = on_a_terminal_of("xterm", command, &settings, answer).await;
        assert!(shown.contains(&reading) && shown.contains(" rows"), "{shown}");
        let left: Vec<String> = shown.split('\n').map(left_standing).collect();
        assert!(left.iter().any(|line| line.contains("line 20002: ")), "{left:?}");
        assert!(!left.iter().any(|line| line.contains("reading ")), "it is gone when the reading ends: {left:?}");
    }
    let ran = run_with(&["enqueue", file, "--dry-run"], &settings, "").await;
    assert!(ran.stderr.contains("line 20002: ") && !ran.stderr.contains("reading "), "{ran:?}");
}

/// A log line is not glued to the line of progress, and that says how far the proofs are.
#[tokio::test]
async fn lines_stand_above_the_line_of_progress() {
    let simulator = SimulatorProcess::start(&["--bad-id", "7", "--latency", "500ms"]).await.unwrap();
    let passing = json!([{"when": {"kind": "archive", "requests": [1, 1]}, "then": {"answer": {"status": 503}}}]);
    simulator.put_faults(&passing).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pairs.csv");
    std::fs::write(&file, format!("{HEADER}contacts,1,companies,2,all,\ndeals,7,companies,2,all,\n")).unwrap();
    let settings = [("hubspot.base_url", simulator.uri()), ("hubspot.access_token", "x"), ("safety.verify", "true")];
    let shown = on_a_terminal_of("xterm", &["archive", file.to_str().unwrap(), "--yes"], &settings, "").await;
    assert!(shown.contains("1 in hand; pairs removed: 1, of them proven: 0"), "{shown:?}");
    let lines: Vec<String> = shown.split('\n').map(left_standing).collect();
    // No date and no name of a module: what the log warns of is a sentence.
    let is_right = |line: &String| line.starts_with("warning: lane contacts/companies: ") || line.starts_with('{');
    for words in ["did not do what a batch asked for", "\"status\":\"ARCHIVED\""] {
        let line = lines.iter().find(|line| line.contains(words)).unwrap_or_else(|| panic!("{words}: {shown:?}"));
        assert!(is_right(line), "{line:?}: {shown:?}");
    }
    assert!(!lines.iter().any(|line| line.contains("in hand")), "the line goes at the end: {shown:?}");
}

/// What a terminal shows of a line in the end.
fn left_standing(written: &str) -> String {
    let (mut line, mut at) = (Vec::new(), 0);
    let mut letters = written.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\r' => at = 0,
            '\u{1b}' => {
                let order: String = letters.by_ref().take_while(|letter| !letter.is_ascii_alphabetic()).collect();
                if order == "[2" || order == "[" {
                    line.truncate(if order == "[2" { 0 } else { at });
                }
            }
            letter => {
                line.resize(line.len().max(at + 1), ' ');
                line[at] = letter;
                at += 1;
            }
        }
    }
    line.into_iter().collect()
}
