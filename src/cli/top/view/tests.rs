#![expect(clippy::unwrap_used)]

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::style::Color;

use super::super::order::Target;
use super::super::status::{Account, Behind, FailingPair, GroupBehind, Guard, Lease, LostQueue, Pause, Paused};
use super::*;
use crate::lease::order::Instruction;

/// `/status` of a real worker: a token revoked, a scope missing, the results queue full.
const TROUBLE: &str = include_str!("trouble.json");
const PAGE: &str = include_str!("../../../admin/page/page.js");
const RUNBOOK: &str = include_str!("../../../../docs/operating.md");

fn trouble() -> Status {
    Status::read(serde_json::from_str(TROUBLE).unwrap()).unwrap()
}

fn view() -> View {
    let mut view = View::new("127.0.0.1:9090", Theme::without_colours());
    view.answered(trouble());
    view
}

fn drawn(view: &mut View, width: u16, height: u16) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| view.draw(frame)).unwrap();
    terminal
}

fn lines(view: &mut View, width: u16, height: u16) -> Vec<String> {
    let terminal = drawn(view, width, height);
    let cells = terminal.backend().buffer().content.chunks(width.into());
    cells.map(|row| row.iter().map(ratatui::buffer::Cell::symbol).collect::<String>().trim_end().to_owned()).collect()
}

fn whole(view: &mut View) -> String {
    let height = view.height(100);
    lines(view, 100, height).join("\n")
}

#[test]
fn trouble_is_first_and_says_what_to_do() {
    let lines = lines(&mut view(), 80, 24);
    let expected = ["Trouble", "▶ portal 815 STANDS STILL: unauthorized for 46 s, next try in 7.8 s"];
    assert_eq!(lines[10..12], expected, "{}", lines.join("\n"));
    assert!(lines[12..].iter().any(|line| line.starts_with("    What to do: Set hubspot.accounts[1]")), "{lines:?}");
    assert!(lines[0].starts_with("association-archiver  ready, with TROUBLE  0.1.0, up 1 min 10 s"), "{}", lines[0]);
}

#[test]
fn everything_is_told_somewhere() {
    let told = whole(&mut view());
    for part in [
        "z parked 5,722 (10s 5,722, back within 10 s at the latest)",
        "▓ unpublished 7,334",
        "all jobs are answered in –",
        "portal 815  PAUSED: unauthorized",
        "52 sent today, 1,148 left",
        "1 lane PAUSED",
        "contacts → deals",
        "VALIDATION_ERROR (said by HubSpot, 400): 9 in 15 min, 9 in all",
        "jobs: crm-01313",
        "in 10 min",
        "missing scopes: crm.objects.deals.write",
        "What to do: Add the scopes",
        "docs/operating.md#the-broker-refuses-messages",
    ] {
        assert!(told.contains(part), "{part} is not in\n{told}");
    }
}

/// Fifty parked jobs must not decide the estimate for all others, and what it leaves out stands beside it.
#[test]
fn what_the_estimate_leaves_out_stands_beside_it() {
    let mut status = trouble();
    status.backlog.drain_unknown = None;
    (status.backlog.drain_seconds, status.backlog.jobs_held) = (Some(9.0), 2_575);
    (status.backlog.jobs_parked, status.backlog.background_ready) = (Some(50), Some(2_208));
    status.backlog.background_held = 2_500;
    status.background = Some(Background { ready: Some(2_208), held: 2_500, ..Background::default() });
    status.broker.parked = [("1h".to_owned(), Some(50))].into();
    status.broker.back_by =
        [("1h".to_owned(), status.at.checked_add(std::time::Duration::from_secs(1_620)).ok())].into();
    let told = |status: Status| {
        let mut view = View::new("127.0.0.1:9090", Theme::without_colours());
        view.answered(status);
        whole(&mut view)
    };
    let known = told(status.clone());
    for part in [
        "all jobs are answered in about 9 s to 27 min 9 s",
        "50 parked jobs come back within 27 min at the latest",
        "not counted: 4,708 background jobs",
        "z parked 50 (1h 50, back within 27 min at the latest)",
        "in hand 2,575 (2,500 background jobs among them)",
    ] {
        assert!(known.contains(part), "{part} is not in\n{known}");
    }
    status.broker.back_by.clear();
    let unknown = told(status);
    let wait = "50 parked jobs come back within 1 h at the latest";
    assert!(unknown.contains("answered in about 9 s to 1 h") && unknown.contains(wait), "{unknown}");
    assert!(unknown.contains("z parked 50 (1h 50, back within 1 h at the latest)"), "{unknown}");
}

#[test]
fn a_guard_that_has_stopped_names_what_waits_behind_it() {
    let mut status = trouble();
    let group = |group: Option<&str>, jobs, ids: &[&str]| GroupBehind {
        group: group.map(str::to_owned),
        jobs,
        job_ids: ids.iter().map(|&id| id.to_owned()).collect(),
    };
    let groups = vec![group(Some("import-7"), 2_800, &["crm-1", "crm-2"]), group(None, 100, &["by-hand"])];
    let behind = Behind { jobs: 20_000, at_least: true, groups, groups_left_out: 3 };
    status.paused =
        vec![Paused { kind: "guard".to_owned(), behind: Some(behind), since: status.at, ..Paused::default() }];
    let told = |status: Status| {
        let mut view = View::new("127.0.0.1:9090", Theme::without_colours());
        view.answered(status);
        whole(&mut view).split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let some = told(status.clone());
    let words = "Behind the guard at least 20,000 jobs: 2,800 of group import-7 (such as crm-1, crm-2); 100 without a \
                 group (such as by-hand); and 3 more groups";
    assert!(some.contains(words), "{some}");
    status.paused[0].behind = Some(Behind::default());
    let none = told(status);
    assert!(none.contains("Behind the guard: this worker has seen no job yet."), "{none}");
}

#[test]
fn the_estimate_says_whose_jobs_it_is_about_and_how_far_the_background_is() {
    let told = |status: Status| {
        let mut view = View::new("127.0.0.1:9090", Theme::without_colours());
        view.answered(status);
        whole(&mut view).split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let lease = |shard: u64, standing: &str| Lease {
        jobs_queue: format!("jobs.{shard}"),
        standing: standing.to_owned(),
        ..Lease::default()
    };
    let mut status = trouble();
    (status.backlog.drain_unknown, status.backlog.drain_seconds) = (None, Some(9.0));
    status.leases = vec![lease(1, "held"), lease(2, "standingBy"), lease(3, "standingBy")];
    let background = Background {
        ready: Some(2_208),
        parked: Some(100),
        answered: 12_450,
        jobs_per_second: Some(1_300.4),
        drain_seconds: Some(7_800.0),
        ..Background::default()
    };
    status.background = Some(background.clone());
    let sharded = told(status.clone());
    for part in [
        "the jobs in this worker's queues (1 of 3) are answered in about 9 s",
        "background: 2,208 waiting, 100 parked",
        "12,450 answered since the start, 1,300/s lately",
        "the rest takes about 2 h 10 min",
    ] {
        assert!(sharded.contains(part), "{part} is not in\n{sharded}");
    }
    status.leases.clear();
    let why = Some("background.window is closed".to_owned());
    status.background = Some(Background { drain_seconds: None, drain_unknown: why, ..background });
    let alone = told(status);
    assert!(alone.contains("if no other worker helps, all jobs are answered in about 9 s"), "{alone}");
    assert!(alone.contains("no estimate of it: background.window is closed"), "{alone}");
}

#[test]
fn a_worker_that_stands_by_says_how_to_find_the_one_that_works() {
    let mut status = trouble();
    status.standby = Some("standing by: this tells: rabbitmqctl list_consumers | grep -F jobs.lease".to_owned());
    let mut view = View::new("127.0.0.1:9090", Theme::without_colours());
    view.answered(status);
    let told = whole(&mut view);
    assert!(told.contains("This worker\n  standing by: this tells: rabbitmqctl list_consumers | grep"), "{told}");
}

#[test]
fn a_warning_links_its_section_and_a_sentence_has_one_full_stop() {
    let mut status = trouble();
    status.warnings = vec!["4,550 jobs wait in queue \"q\", from which nobody takes, since amqp.shards".to_owned()];
    let message = Some("The batch has inputs that are not valid.".to_owned());
    status.failing_alone = vec![FailingPair { message, job_id: "nightly".to_owned(), ..FailingPair::default() }];
    let mut view = View::new("127.0.0.1:9090", Theme::without_colours());
    view.answered(status);
    let told = whole(&mut view).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(told.contains("#jobs-wait-in-a-queue-that-nobody-takes-from"), "{told}");
    assert!(told.contains("not valid. Job nightly"), "{told}");
}

#[test]
fn a_pair_that_fails_by_itself_is_told_once_and_when_it_goes_again() {
    let mut status = trouble();
    status.warnings = vec!["one pair fails by itself while others go on: 7 and 9 in contacts/companies".to_owned()];
    let next_try_at = status.at.checked_add(Duration::from_secs(600)).ok();
    status.failing_alone = vec![FailingPair { next_try_at, last_at: status.at, tries: 4, ..FailingPair::default() }];
    let told = |status: Status| {
        let mut view = View::new("127.0.0.1:9090", Theme::without_colours());
        view.answered(status);
        whole(&mut view).split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let some = told(status.clone());
    assert!(some.contains("4 times, last 0 s ago, next in 10 min; no answer."), "{some}");
    assert_eq!(some.matches("while others go on").count(), 1, "{some}");
    status.failing_alone.clear();
    assert!(told(status).contains("while others go on"));
}

#[test]
fn what_is_no_trouble_yet_or_no_longer_comes_last() {
    let mut status = trouble();
    let ago = |seconds| status.at.checked_sub(Duration::from_secs(seconds)).unwrap();
    let (lately, long_ago) = (ago(11), ago(3_600));
    let loss = "about 12,900 messages that were in it when last looked at are lost".to_owned();
    let lost = LostQueue { queue: "results".to_owned(), times: 2, loss, last_at: long_ago };
    status.broker.lost_queues = vec![lost];
    (status.broker.results_ready, status.broker.results_consumers) = (Some(1), Some(0));
    status.broker.results_unread_since = Some(lately);
    let told = |status: Status| {
        let mut view = View::new("127.0.0.1:9090", Theme::without_colours());
        view.answered(status);
        whole(&mut view).split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let early = told(status.clone());
    let (_, hints) = early.split_once("Worth knowing").unwrap();
    for part in [
        "nobody has been subscribed to the results queue for 11 s; 1 outcome waits there",
        "queue \"results\" was gone 1 h ago and is declared again, 2 times by now; about 12,900 messages that were in \
         it when last looked at are lost",
        "#a-queue-was-deleted",
    ] {
        assert!(hints.contains(part), "{part} is not in\n{hints}");
    }
    status.broker.results_unread_since = Some(long_ago);
    let late = told(status);
    let (trouble, _) = late.split_once("Accounts").unwrap();
    assert!(trouble.contains("the results queue for 1 h; 1 outcome waits there"), "{trouble}");
}

#[test]
fn what_to_do_is_told_once_for_accounts_that_stand_for_the_same_reason() {
    let mut status = trouble();
    let stands = |account: u64, portal: u64| Paused {
        account,
        portal_id: Some(portal),
        kind: "guard".to_owned(),
        since: status.at,
        mend: format!("Is it meant? `association-archiver approve {portal}` lets it through."),
        ..Paused::default()
    };
    status.paused = vec![stands(0, 4_711), stands(1, 815)];
    let mut view = View::new("127.0.0.1:9090", Theme::without_colours());
    view.answered(status);
    let told = whole(&mut view).split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(told.matches("Is it meant?").count(), 1, "{told}");
    assert!(told.contains("What to do: as for portal 4711 above, with 815 in place of 4711"), "{told}");
}

#[test]
fn any_size_will_do_and_nothing_is_lost_by_scrolling() {
    let whole = whole(&mut view());
    for (width, height) in [(1, 1), (3, 2), (20, 5), (40, 10), (80, 24), (120, 40), (250, 80)] {
        let mut view = view();
        let area = Rect::new(0, 0, width, height);
        let mut seen = String::new();
        for _ in 0..14 {
            seen.push_str(&lines(&mut view, width, height).join("\n"));
            view.go(Move::Down, area);
        }
        if height >= 24 {
            for part in ["Trouble", "Accounts", "Lanes", "Pairs not archived", "crm-06300"] {
                assert!(seen.contains(part), "{part} at {width}×{height}\n{whole}");
            }
        }
        view.go(Move::First, area);
        if (width, height) == (80, 24) {
            assert!(lines(&mut view, width, height).contains(&"Trouble".to_owned()));
        }
    }
}

#[test]
fn the_chosen_row_stays_chosen_when_others_come_before_it() {
    let mut view = view();
    let area = Rect::new(0, 0, 80, 24);
    let chosen = |view: &mut View| {
        drawn(view, 80, 24);
        view.order('p')
    };
    while chosen(&mut view).is_none_or(|order| order.target.path != "/accounts/4711/lanes/contacts/deals") {
        view.go(Move::Down, area);
    }
    let before = chosen(&mut view).unwrap();
    assert_eq!(
        (before.target.subject.as_str(), before.instruction),
        ("portal 4711, contacts → deals", Instruction::Resume)
    );
    let mut status = trouble();
    status.reasons = vec!["no jobs come in from the broker".to_owned()];
    status.accounts.reverse();
    view.answered(status);
    assert_eq!(chosen(&mut view), Some(before.clone()));
    assert!(lines(&mut view, 80, 24).iter().any(|line| line.contains("▶ portal 4711, contacts → deals")));

    // It has gone: what `p` does next is said in the last line.
    view.answered(Status { paused: Vec::new(), ..trouble() });
    assert_ne!(chosen(&mut view), Some(before));
}

#[test]
fn what_is_asked_names_what_it_is_about_and_is_never_cut() {
    let mut view = view();
    let target = Target::lane(0, Some(4_711), ("contacts", "companies"));
    for (instruction, consequence) in [
        (Instruction::Pause, "until it is resumed."),
        (Instruction::Resume, "is tried at once."),
        (Instruction::Approve, "counted anew."),
        (Instruction::Reject, "until it is approved."),
    ] {
        view.footer = Footer::Asked(Order { instruction, target: target.clone() });
        for width in [40, 80, 120] {
            let told = lines(&mut view, width, 24).join(" ");
            let question = format!("{instruction:?} portal 4711, contacts → companies? y/n");
            let told = told.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(told.contains(&question) && told.ends_with(consequence), "{width}: {told}");
        }
    }
    view.footer =
        Footer::Token { order: Order { instruction: Instruction::Pause, target }, typed: "secret".to_owned() };
    assert!(lines(&mut view, 80, 24).last().unwrap().starts_with(" admin.token: ******_"));
}

/// Portal 815's guard has stopped it.
fn guarded(state: &str) -> Status {
    let mut status = trouble();
    let guard =
        Guard { max_pairs: 2_000, window_seconds: 1_800.0, used: 2_000, state: state.to_owned(), approved_until: None };
    let account = &mut status.accounts[1];
    account.guard = Some(guard);
    account.pause = (state == "waiting").then(|| Pause { scope: "account".to_owned(), kind: "guard".to_owned() });
    let stands =
        Paused { account: 1, portal_id: Some(815), kind: "guard".to_owned(), since: status.at, ..Paused::default() };
    status.paused = (state == "waiting").then_some(stands).into_iter().collect();
    status
}

#[test]
fn a_guard_that_waits_is_shown_with_its_figures_and_takes_two_answers() {
    let mut view = View::new("127.0.0.1:9090", Theme::without_colours());
    view.answered(guarded("waiting"));
    let told = whole(&mut view);
    for part in [
        "portal 815 STANDS STILL: by its guard for 0 s, until it is approved (a) or rejected (r)",
        "guard WAITS for approve (a) or reject (r): 2,000 of 2,000 pairs in 30 min",
    ] {
        assert!(told.contains(part), "{part} is not in\n{told}");
    }
    let area = Rect::new(0, 0, 80, 24);
    drawn(&mut view, 80, 24);
    assert_eq!(view.order('r').unwrap().path(), "/accounts/815/reject", "it is the only one that waits");
    while !lines(&mut view, 80, 24).last().unwrap().ends_with("a approve  r reject portal 815") {
        view.go(Move::Down, area);
    }
    assert_eq!(view.order('a').unwrap().path(), "/accounts/815/approve");
    assert_eq!(view.order('r').unwrap().path(), "/accounts/815/reject");
    assert_eq!(view.order('p'), None, "a resumption would not answer the guard");

    let mut status = guarded("waiting");
    let another = Account { index: 7, portal_id: Some(7), ..status.accounts[1].clone() };
    status.accounts.push(another);
    // The first row tells of no account.
    status.reasons.push("every account is paused".to_owned());
    view.answered(status);
    view.go(Move::First, area);
    drawn(&mut view, 80, 24);
    assert_eq!(view.order('a'), None, "of two, one has to be chosen");
}

#[test]
fn whoever_was_rejected_can_be_approved_and_an_open_guard_wants_no_answer() {
    let orders = |status: Status| {
        let mut view = View::new("127.0.0.1:9090", Theme::without_colours());
        view.answered(status);
        let area = Rect::new(0, 0, 100, 60);
        drawn(&mut view, 100, 60);
        while view.order('p').is_none_or(|order| order.target.path != "/accounts/815") {
            view.go(Move::Down, area);
            drawn(&mut view, 100, 60);
        }
        (['p', 'a', 'r'].map(|key| view.order(key).map(|order| order.instruction)), whole(&mut view))
    };
    let (of_rejected, told) = orders(guarded("rejected"));
    assert_eq!(of_rejected, [Some(Instruction::Pause), Some(Instruction::Approve), None]);
    assert!(
        told.contains("portal 815  REJECTED: its removals end with GUARD_REJECTED")
            && told.contains("REJECTED until it is approved (a)"),
        "{told}"
    );
    for words in ["rejected: its removals end with GUARD_REJECTED", "rejected until it is approved"] {
        assert!(PAGE.contains(words), "the page says it in other words: {words}");
    }
    let (of_open, _) = orders(guarded("open"));
    assert_eq!(of_open, [Some(Instruction::Pause), None, None]);
}

#[test]
fn of_an_account_that_another_worker_works_on_nothing_is_told_as_if_it_were_of_now() {
    let mut status = guarded("open");
    status.accounts[1].stands_by = true;
    status.leases[0].standing = "standingBy".to_owned();
    let mut view = View::new("127.0.0.1:9090", Theme::without_colours());
    view.answered(status);
    let told = whole(&mut view);
    assert!(told.contains("portal 815  another worker works on it"), "{told}");
    assert!(!told.contains("guard:"), "{told}");
}

#[test]
fn who_works_is_said_and_every_jobs_queue_is_listed_where_there_are_several() {
    let told = whole(&mut view());
    assert!(told.contains("holds the lease as vm/12870") && !told.contains("Jobs queues"), "{told}");

    let lease = |shard: &str, standing: &str| Lease {
        jobs_queue: format!("association-archiver.jobs{shard}"),
        standing: standing.to_owned(),
        since: trouble().started_at,
        holder: None,
    };
    let shards = [lease("", "standingBy"), lease(".4711", "standingBy"), lease(".815", "held"), lease(".9", "away")];
    let mut view = View::new("127.0.0.1:9090", Theme::without_colours());
    view.answered(Status { leases: shards.to_vec(), ..trouble() });
    let told = whole(&mut view);
    for part in [
        "holds 1 of 4 jobs queues: 815; cannot reach 1",
        "9: cannot reach the lease, for 1 min 10 s",
        "shared: stands by: another worker holds the lease",
    ] {
        assert!(told.contains(part), "{part} is not in\n{told}");
    }
    assert!(!told.contains("ready, stands by"), "it works");
}

#[test]
fn a_service_that_is_silent_is_said_to_be() {
    let mut nobody = View::new("127.0.0.1:9090", Theme::without_colours());
    assert_eq!(lines(&mut nobody, 80, 24)[0], "asking 127.0.0.1:9090 …");
    nobody.unanswered("no answer from the service at 127.0.0.1:9090: Connection refused".to_owned());
    let told = lines(&mut nobody, 80, 24).join(" ");
    assert!(told.starts_with("NO ANSWER") && told.contains("refused") && told.contains("--url"), "{told}");

    let mut view = view();
    view.unanswered("no answer: Connection refused".to_owned());
    let told = lines(&mut view, 80, 24);
    assert!(told[0].contains("NO ANSWER") && told[1].starts_with("no answer: Connection refused"), "{told:?}");
    assert!(told.iter().any(|line| line.contains("STANDS STILL")), "what it said last is still there");
    view.answered(trouble());
    assert!(lines(&mut view, 80, 24)[0].contains("with TROUBLE"));
}

#[test]
fn nothing_from_outside_steers_the_terminal() {
    let mut status = trouble();
    status.paused[0].detail = "\u{1b}[2Jgone \u{7}\u{9b}31m".to_owned();
    status.failures[0].category = "A\u{1b}]0;title\u{7}".to_owned();
    let mut view = View::new("127.0.0.1:9090", Theme::without_colours());
    view.answered(status);
    let told = whole(&mut view);
    assert!(told.chars().all(|letter| letter == '\n' || !letter.is_control()), "{told:?}");
    assert!(told.contains("gone"));
}

#[test]
fn no_colour_is_used_where_none_is_wanted() {
    let coloured = |theme| {
        let mut view = View::new("127.0.0.1:9090", theme);
        view.answered(trouble());
        let terminal = drawn(&mut view, 80, 24);
        terminal.backend().buffer().content.iter().any(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset)
    };
    assert!(!coloured(Theme::without_colours()));
    assert!(coloured(Theme::with_colours()));
}

#[test]
fn a_service_without_accounts_or_of_another_version_is_shown_as_far_as_it_goes() {
    assert!(Status::read(serde_json::json!({"status": "ok"})).is_none(), "not this service");
    let mut view = View::new("127.0.0.1:9090", Theme::without_colours());
    let young = Status::read(serde_json::json!({"version": "9.9.9", "ready": true, "backlog": {"new": 1}})).unwrap();
    view.answered(young);
    let told = whole(&mut view);
    assert!(told.contains("ready  9.9.9") && told.contains("none yet") && told.contains("░ waiting –"), "{told}");
}

#[test]
fn every_section_of_the_runbook_that_is_linked_is_there() {
    let headings: Vec<String> = RUNBOOK
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
        .map(|heading| heading.to_lowercase().replace(' ', "-"))
        .collect();
    for section in super::super::rows::linked_sections() {
        assert!(headings.iter().any(|heading| heading == section), "{section}");
        assert!(PAGE.contains(section), "the page does not link {section}");
    }
}

#[test]
fn ends_of_the_estimate_that_are_next_to_each_other_are_one() {
    assert_eq!(range(Some(1_000.0), Some(1.0)), "about 16 min 41 s");
    assert_eq!(range(Some(10.0), Some(60.0)), "about 10 s to 1 min 10 s");
}
