//! The live page in a real browser. Chromium comes with Debian's package of that name, which `make test` installs.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::{Result, ensure};
use association_archiver::contract::refusal::Refusal;
use association_archiver::engine::guard::GuardState;
use association_archiver::engine::pause::PauseKind;
use association_archiver::engine::status::{GuardStatus, PauseScope, PauseStatus, SafetyStatus};
use association_archiver::lease::view::{LeaseStanding, LeaseView};
use association_archiver::telemetry::dead_letters::DeadLetterCause;
use association_archiver::telemetry::failing_alone::FailingPair;
use association_archiver::telemetry::failures::{FailedJob, FailureCount};
use association_archiver::telemetry::lost_queue::LostQueue;
use association_archiver::telemetry::pause_history::PauseSpan;
use association_archiver::telemetry::snapshot::JobCounts;
use association_archiver::telemetry::throughput::ThroughputSeries;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use harness::{Browser, Scheme};
use jiff::SignedDuration;
use sha2::{Digest, Sha256};

use super::*;

/// The page asks every two seconds; the rest is for a busy machine.
const LIMIT: Duration = Duration::from_secs(90);

#[tokio::test]
async fn the_page_runs_its_own_script_and_nothing_else() {
    let worker = Worker::start(None).await;
    let answer = worker.get("/").await;
    assert!(answer.headers()["content-type"].to_str().unwrap().starts_with("text/html"));
    let policy = answer.headers()["content-security-policy"].to_str().unwrap().to_owned();
    let page = answer.text().await.unwrap();
    for (directive, begin, end) in [("script-src", "<script>", "</script>"), ("style-src", "<style>", "</style>")] {
        assert_eq!(page.matches(begin).count(), 1);
        let text = page.split_once(begin).unwrap().1.split_once(end).unwrap().0;
        let hash = STANDARD.encode(Sha256::digest(text));
        assert!(policy.contains(&format!("{directive} 'sha256-{hash}'")), "{directive} in {policy}");
    }
    assert!(policy.contains("connect-src 'self'") && !policy.contains("unsafe"), "{policy}");
    for outside in ["http:", "https:", "//cdn", "@import", "url(", " src=", "<link", "<iframe", "data:"] {
        assert!(!page.contains(outside), "{outside} in the page");
    }
    for unescaped in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function(", " style="]
    {
        assert!(!page.contains(unescaped), "{unescaped} in the page");
    }
}

#[tokio::test]
async fn the_page_shows_trouble_and_takes_nothing_for_html() -> Result<()> {
    let worker = Worker::start(None).await;
    let mut engine = engine();
    engine.admit(job(0, "contacts", "companies", 1), now());
    let broker = BrokerState { consuming: true, publishing: true, ..BrokerState::default() };
    worker.show(&engine, broker.clone(), false);
    let mut browser = Browser::start().await?;
    browser.open(&worker.url("/")).await?;
    browser.until(LIMIT, "document.getElementById('state').textContent === 'ready'").await?;

    engine.pause(AccountIndex(1), now());
    let trouble = Some("<img src=x onerror=alert(1)>".to_owned());
    worker.show(&engine, BrokerState { consuming: false, consuming_trouble: trouble, ..broker }, false);
    browser.until(LIMIT, "document.getElementById('state').textContent === 'not ready'").await?;

    let text = browser.run("document.querySelector('main').innerText").await?;
    let text = text.as_str().unwrap_or_default();
    for expected in [
        "portal 815 stands still: by hand",
        "until an operator resumes it",
        "What to do: Resume it on the page, in top, or with association-archiver resume",
        "contacts → companies",
        "<img src=x onerror=alert(1)>",
    ] {
        ensure!(text.contains(expected), "{expected:?} is not in\n{text}");
    }
    ensure!(browser.run("document.images.length").await? == 0, "a text became HTML");
    ensure!(browser.complaints().is_empty(), "{:?}", browser.complaints());
    Ok(())
}

#[tokio::test]
async fn an_operator_pauses_and_resumes_from_the_page() -> Result<()> {
    let mut worker = Worker::start(Some(TOKEN)).await;
    let mut engine = engine();
    engine.admit(job(0, "contacts", "companies", 1), now());
    worker.show(&engine, BrokerState::default(), false);
    worker.carry_out_orders(engine);
    let mut browser = Browser::start().await?;
    browser.open(&worker.url("/")).await?;
    let button = "[...document.querySelectorAll('.account')].find((card) => card.innerText.includes('portal 815'))\
                  .querySelector('button')";
    browser.until(LIMIT, "document.querySelectorAll('.account').length === 2").await?;
    browser.run(&format!("{button}.click()")).await?;
    let submit = |token: &str| {
        format!("document.getElementById('token').value = {token:?}; document.getElementById('order').click()")
    };
    browser.run(&submit("wrong")).await?;
    browser.until(LIMIT, "document.getElementById('answer').textContent.includes('not that of admin.token')").await?;
    browser.run(&submit(TOKEN)).await?;
    browser.until(LIMIT, "!document.getElementById('ask').open").await?;
    browser.until(LIMIT, &format!("{button}.textContent === 'Resume'")).await?;
    browser.run("document.querySelector('.card button').click()").await?;
    ensure!(browser.run("document.getElementById('token').value").await? == TOKEN, "it is asked for once only");
    browser.run("document.getElementById('order').click()").await?;
    let note = "document.getElementById('done').textContent.includes('pause is over')";
    browser.until(LIMIT, note).await?;
    browser.run("document.getElementById('cancel').click()").await?;
    browser.until(LIMIT, &format!("{button}.textContent === 'Pause'")).await?;
    browser
        .run(&format!("getSelection().selectAllChildren(document.querySelector('h1')); {button}.id = 'mine'"))
        .await?;
    let (asked, drawn) =
        ("performance.getEntriesByName(location.href + 'status').length", "document.getElementById('mine')");
    let before = browser.run(asked).await?.as_u64().unwrap_or_default();
    browser.until(LIMIT, &format!("{asked} > {}", before + 1)).await?;
    ensure!(browser.run(&format!("{drawn} !== null")).await? == true, "drawn anew under the hand of who copies a text");
    browser.run(&format!("getSelection().removeAllRanges(); {drawn}.focus()")).await?;
    browser.until(LIMIT, &format!("{drawn} === null && document.activeElement === {button}")).await?;
    let stored = "localStorage.length + sessionStorage.length + document.cookie.length";
    ensure!(browser.run(stored).await? == 0, "the token stays in memory");
    // The refused order is told by the browser itself.
    ensure!(browser.complaints().iter().all(|complaint| complaint.contains("401")), "{:?}", browser.complaints());
    Ok(())
}

/// Times below a chart, and ids beside each other, that touch the next one on their line.
const CROWDED: &str = "(() => {
    const crowded = [], rows = [...document.querySelectorAll('svg')].map((svg) => [...svg.querySelectorAll('[text-anchor=middle]')]);
    rows.push(...[...document.querySelectorAll('td')].map((cell) => [...cell.querySelectorAll('.id')]));
    for (const row of rows) {
        row.map((node) => [node.textContent, node.getBoundingClientRect()]).reduce((before, next) => {
            const [words, a] = before, [, b] = next;
            if (Math.abs(a.top - b.top) < 2 && b.left - a.right < 4) crowded.push(words);
            return next;
        }, ['', { top: -9, right: 0 }]);
    }
    return crowded.join(' ');
})()";

/// Words that a line broke inside, leaving out ids and what is longer than a phone's line.
const BROKEN_WORDS: &str = "(() => {
    const broken = [], walker = document.createTreeWalker(document.querySelector('main'), NodeFilter.SHOW_TEXT);
    for (let node; (node = walker.nextNode()); ) {
        if (node.parentElement.closest('[hidden], noscript, svg, .id')) continue;
        for (const word of node.data.matchAll(/(?<![^\\s/-])[^\\s/-]{2,30}(?![^\\s/-])/g)) {
            const range = document.createRange();
            range.setStart(node, word.index);
            range.setEnd(node, word.index + word[0].length);
            const lines = new Set([...range.getClientRects()].map((line) => Math.round(line.top)));
            if (lines.size > 1) broken.push(word[0]);
        }
    }
    return broken.join(' ');
})()";

/// What is wider than its place.
const OVERFLOWING: &str = "(() => {
    const wide = [...document.querySelectorAll('main *')].filter((node) => !node.closest('[hidden], svg')
        && (node.getBoundingClientRect().right > innerWidth + 1
            || (node.matches('.table') && node.scrollWidth > node.clientWidth + 1)));
    if (document.documentElement.scrollWidth > innerWidth) wide.push(document.documentElement);
    return wide.map((node) => node.tagName + '.' + node.className + ' ' + node.textContent.slice(0, 60)).join('; ');
})()";

/// Lines of text, buttons and labels that lie on one another. An id is cut, so its text is wider than what is seen.
const OVERLAPPING: &str = "(() => {
    const boxes = [...document.querySelectorAll('main :is(button, .chip)')].map((node) => [node, node.getBoundingClientRect()]);
    const walker = document.createTreeWalker(document.querySelector('main'), NodeFilter.SHOW_TEXT);
    for (let node; (node = walker.nextNode()); ) {
        if (!node.data.trim() || node.parentElement.closest('[hidden], noscript, svg, .id')) continue;
        const range = document.createRange();
        range.selectNodeContents(node);
        boxes.push(...[...range.getClientRects()].map((line) => [node, line]));
    }
    const over = [], isIn = (a, b) => a === b || a.contains(b) || b.contains(a);
    boxes.forEach(([a, p], i) => boxes.slice(i + 1).forEach(([b, q]) => {
        const wide = Math.min(p.right, q.right) - Math.max(p.left, q.left);
        const high = Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top);
        if (wide > 1 && high > 4 && !isIn(a, b)) over.push(a.textContent.slice(0, 40) + ' | ' + b.textContent.slice(0, 40));
    }));
    return over.join('; ');
})()";

/// Nothing is cut, broken, or on top of something else.
async fn fits(browser: &mut Browser, of: &str) -> Result<()> {
    for (what, told) in [
        ("broken", BROKEN_WORDS),
        ("too wide", OVERFLOWING),
        ("run into each other", CROWDED),
        ("on one another", OVERLAPPING),
    ] {
        let told = browser.run(told).await?;
        ensure!(told == "", "{what} of {of}: {told}");
    }
    Ok(())
}

#[tokio::test]
async fn nothing_lies_on_something_else_while_a_worker_stops_or_stands_by() -> Result<()> {
    let worker = Worker::start(None).await;
    let mut browser = Browser::start().await?;
    for (state, snapshot) in [("stopping", stopping()), ("standby", standing_by()), ("draining", draining())] {
        worker.snapshots.send_replace(Arc::new(snapshot));
        for (width, height) in [(390, 844), (820, 1180), (1200, 900)] {
            browser.screen(width, height, Scheme::Light).await?;
            browser.open(&worker.url("/")).await?;
            browser.until(LIMIT, "document.querySelectorAll('.account').length === 2").await?;
            if let Ok(place) = std::env::var("PICTURES") {
                browser.picture(std::path::Path::new(&format!("{place}/{state}-{width}.png")), 6_000).await?;
            }
            fits(&mut browser, &format!("{state} at {width}")).await?;
        }
    }
    Ok(())
}

/// It has left the lease, and waits for what is on the wire.
fn stopping() -> Snapshot {
    let mut snapshot = draining();
    for account in &mut snapshot.status.accounts {
        (account.stands_by, account.in_flight, account.pause) = (true, 14, None);
    }
    snapshot.broker.leases.iter_mut().for_each(|lease| lease.standing = LeaseStanding::Left);
    snapshot
}

fn draining() -> Snapshot {
    let mut snapshot = everything_at_once();
    (snapshot.draining, snapshot.status.held.in_flight) = (true, 14);
    snapshot.grace_until = Some(now().wall + SignedDuration::from_secs(25));
    snapshot
}

fn standing_by() -> Snapshot {
    let mut snapshot = everything_at_once();
    snapshot.broker.consuming = false;
    snapshot.broker.leases.truncate(1);
    snapshot.broker.leases[0].standing = LeaseStanding::StandingBy;
    for account in &mut snapshot.status.accounts {
        (account.stands_by, account.pause) = (true, None);
    }
    snapshot
}

#[tokio::test]
async fn no_word_is_broken_and_nothing_overflows_on_any_screen() -> Result<()> {
    let worker = Worker::start(None).await;
    worker.snapshots.send_replace(Arc::new(everything_at_once()));
    let mut browser = Browser::start().await?;
    for (width, height, scheme) in
        [(390, 844, Scheme::Light), (820, 1180, Scheme::Dark), (1200, 900, Scheme::Light), (1200, 900, Scheme::Dark)]
    {
        browser.screen(width, height, scheme).await?;
        browser.open(&worker.url("/")).await?;
        browser.until(LIMIT, "document.querySelectorAll('#lanes tbody tr').length === 10").await?;
        if let Ok(place) = std::env::var("PICTURES") {
            let file = format!("{place}/everything-{width}-{scheme:?}.png");
            browser.picture(std::path::Path::new(&file), 6_000).await?;
        }
        fits(&mut browser, &format!("everything at {width}")).await?;
        let flow = "[...document.querySelectorAll('#flow i')].every((part) => part.clientWidth >= 3)";
        ensure!(browser.run(flow).await? == true, "a part of the jobs cannot be seen at {width}");
    }
    let told = browser.run("document.querySelector('main').innerText").await?;
    let told = told.as_str().unwrap_or_default();
    for part in [
        "back within 27 min at the latest",
        "48,774, back within 10 min at the latest",
        "12 background jobs among them",
        "and 2,208 in the background queue",
        "about 14 min 40 s",
        "until the background is done, at the 4/s of the last minutes; 12,450 answered since the start",
        "1,300 background jobs among them",
        "until the jobs in this worker's queues (4 of 16) are answered: unknown",
        "97 sent; 100 allowed",
        "13 sent; 87 allowed now, 100 set",
        "1,204,778",
        "There was a problem with the request. Job ",
        "since amqp.shards is set.",
        "in the jobs queue, 2 s ago",
        "tried alone 12 times, last 0 s ago, next in 10 min",
        "is declared again; about 12,900 messages are lost.",
        "was gone 1 h 30 min ago and is declared again",
        "Nobody has been subscribed to the results queue for 0 s; 250,000 outcomes wait there.",
        "Dead letters since the start; 17 in the queue now",
    ] {
        ensure!(told.contains(part) && !told.contains(".."), "{part:?} is not in\n{told}");
    }
    let place = "document.querySelector('#hints').innerText.includes('Nobody has been subscribed')";
    ensure!(browser.run(place).await? == true, "what may be fetched at any moment is no trouble yet");
    let linked = "[...document.querySelectorAll('.card.warning')].filter((card) => !card.querySelector('a')).length";
    ensure!(browser.run(linked).await? == 0, "a warning does not say where to read on");
    let about = browser.run("document.getElementById('about').textContent").await?;
    let about = about.as_str().unwrap_or_default();
    ensure!(about.ends_with("holds 4 of 16 jobs queues, about to hold 3, cannot reach 3"), "{about}");
    let first = browser.run("document.querySelector('#queues tbody tr').innerText").await?;
    ensure!(first.as_str().is_some_and(|row| row.contains("cannot reach the lease")), "trouble is first: {first}");
    browser.run("document.querySelector('#lanes .more').click()").await?;
    browser.until(LIMIT, "document.querySelectorAll('#lanes tbody tr').length === 16").await?;
    ensure!(browser.complaints().is_empty(), "{:?}", browser.complaints());
    Ok(())
}

/// A queue that was gone some minutes ago.
fn lost_queue((minutes, loss): (i64, &str)) -> LostQueue {
    let queue = format!("association-archiver.of-a-company-with-a-long-name.results.{minutes}");
    LostQueue {
        queue,
        times: 1,
        messages: None,
        loss: loss.to_owned(),
        last_at: now().wall - SignedDuration::from_mins(minutes),
    }
}

/// A worker with every kind of trouble, long names and large numbers.
fn everything_at_once() -> Snapshot {
    const LONG: &str =
        "one-of-the-longest-job-ids-that-a-producer-may-choose-for-itself-0123456789-0123456789-0123456789-0123456789";
    let mut engine = engine();
    for (number, name) in (1..).zip(["companies", "deals", "tickets", "p4711_a_custom_object_with_a_long_name"]) {
        engine.admit(job(0, "contacts", name, number), now());
        engine.admit(job(1, "p4711_a_custom_object_with_a_long_name", name, number), now());
        engine.admit(job(0, "2-123456", name, number), now());
        engine.admit(job(1, name, "line_items", number), now());
    }
    let mut status = engine.status(now());
    let pause = |scope, kind, detail: &str| PauseStatus {
        scope,
        kind,
        detail: detail.to_owned(),
        since: now().wall - SignedDuration::from_mins(76),
        resume_at: None,
        probe_at: Some(now().wall + SignedDuration::from_secs(12)),
    };
    let words = "Authentication credentials not found. This API supports OAuth 2.0 authentication.";
    status.accounts[0].pause = Some(pause(PauseScope::Account, PauseKind::Unauthorized, words));
    status.accounts[0].day.left = Some(1_234);
    status.accounts[0].day.used = 248_766;
    (status.accounts[0].rate.used, status.accounts[0].rate.requests) = (13, 87);
    status.accounts[1].rate.used = 97;
    let guard = |state, approved_until| GuardStatus {
        max_pairs: 1_000_000,
        window_seconds: 1_800.0,
        used: 999_876,
        state,
        since: Some(now().wall - SignedDuration::from_mins(76)),
        approved_until,
    };
    status.accounts[0].guard = Some(guard(GuardState::Approved, Some(now().wall)));
    status.accounts[1].guard = Some(guard(GuardState::Waiting, None));
    status.accounts[1].paused_lanes = 1;
    let words =
        "This app hasn't been granted all required scopes: crm.objects.companies.write, crm.objects.contacts.write";
    status.lanes[1].pause = Some(pause(PauseScope::Lane, PauseKind::MissingScopes, words));
    status.held.bytes = 230 * 1024 * 1024;
    status.held.background_jobs = 12;
    status.accounts[1].safety = SafetyStatus { journal: true, verify: true };
    let standings = [
        LeaseStanding::Held,
        LeaseStanding::StandingBy,
        LeaseStanding::Waiting,
        LeaseStanding::Away,
        LeaseStanding::Left,
    ];
    let lease = |shard: usize| LeaseView {
        jobs_queue: format!("association-archiver.of-a-company-with-a-long-name.jobs.{shard}"),
        standing: standings[shard % standings.len()],
        since: now().wall - SignedDuration::from_mins(76),
        holder: None,
    };
    let leases = (0..16).map(lease).collect();
    let broker = BrokerState {
        consuming: true,
        publishing: true,
        publishing_trouble: Some("the broker refuses messages with key \"results\": their queue is full".to_owned()),
        jobs_ready: Some(1_204_778),
        own_jobs_ready: Some(1_204_778),
        parked: [Some(12), Some(0), Some(48_774), Some(3_000)],
        unpublished: 3_800,
        background_ready: Some(2_208),
        background_parked: Some(1_300),
        deserted: Some("4,550 jobs wait in queue \"q\", from which nobody takes, since amqp.shards is set.".to_owned()),
        back_by: [1, 0, 10, 27].map(|minutes| now().wall.checked_add(SignedDuration::from_mins(minutes)).ok()),
        results_ready: Some(250_000),
        results_consumers: Some(0),
        counted_at: Some(now().wall - SignedDuration::from_secs(2)),
        lost_queues: [(5, "about 12,900 messages are lost"), (90, "it was empty when last looked at")]
            .map(lost_queue)
            .to_vec(),
        dead_letters_ready: Some(17),
        leases,
        ..BrokerState::default()
    };
    let level = |top: u64| (0..120).map(|i| top * i / 120).collect::<Vec<u64>>();
    let series = |interval_seconds| ThroughputSeries {
        interval_seconds,
        jobs: level(900),
        background_jobs: vec![20; 120],
        jobs_background: vec![2_208; 120],
        own_live_jobs: level(1_204_778).into_iter().rev().collect(),
        pairs_archived: level(90_000),
        pairs_failed: (0..120).map(|i| u64::from(i % 7 == 0) * i).collect(),
        requests: level(1_000),
        jobs_ready: level(1_204_778).into_iter().rev().collect(),
        jobs_held: vec![10_000; 120],
        jobs_parked: level(51_786),
        jobs_unpublished: level(3_800),
    };
    let span = |account, lane: Option<&str>, kind, minutes: i64, ended: Option<i64>| PauseSpan {
        account,
        portal_id: Some(if account == 0 { 4_711 } else { 815 }),
        lane: lane.map(str::to_owned),
        kind,
        since: now().wall - SignedDuration::from_mins(minutes),
        ended: ended.map(|minutes| now().wall - SignedDuration::from_mins(minutes)),
    };
    let refusal = Refusal::hubspot(
        "VALIDATION_ERROR",
        &"Object contact with id 9007199254740993 does not exist. ".repeat(4),
        400,
    );
    let failed = FailedJob {
        at: now().wall,
        job_id: LONG.into(),
        portal: None,
        pair: None,
        pairs: 3,
        refusal: Arc::new(refusal.clone()),
    };
    let failure = |category: &str, source, pairs| FailureCount {
        source,
        category: category.to_owned(),
        pairs,
        pairs_since_start: pairs + 12_345,
        message: refusal.message.to_string(),
        http_status: refusal.http_status,
        last_at: now().wall.to_string(),
        job_ids: vec![LONG.into(), "crm-sync-81f2".into()],
        jobs: Arc::new(VecDeque::from([failed.clone()])),
    };
    let letter = DeadLetterCause {
        category: "MALFORMED_JOB".to_owned(),
        messages: 17,
        message: "inputs[0].to[0].id: a record's id is a string of digits without leading zeros".to_owned(),
        ids: vec![LONG.to_owned(), "row-17".to_owned()],
        last_at: now().wall,
    };
    Snapshot {
        at: now().wall,
        status,
        jobs: JobCounts { of_background: 12_450, ..JobCounts::default() },
        broker,
        draining: false,
        grace_until: None,
        failing_alone: vec![FailingPair {
            portal_id: None,
            lane: "contacts/companies".to_owned(),
            from: "18446744073709551615".to_owned(),
            to: "9".to_owned(),
            job_id: LONG.to_owned(),
            tries: 12,
            since: now().wall - SignedDuration::from_mins(76),
            last_at: now().wall,
            next_try_at: Some(now().wall + SignedDuration::from_mins(10)),
            http_status: Some(500),
            message: Some("There was a problem with the request.".to_owned()),
        }],
        throughput: series(5.0),
        history: series(180.0),
        pauses: vec![
            span(0, None, PauseKind::Unauthorized, 76, None),
            span(0, None, PauseKind::Outage, 200, Some(150)),
            span(1, Some("contacts/companies"), PauseKind::MissingScopes, 8, None),
        ],
        failures: vec![failure("VALIDATION_ERROR", "HUBSPOT", 120), failure("RETRIES_EXHAUSTED", "WORKER", 0)],
        dead_letters: vec![letter],
        ..Snapshot::default()
    }
}
