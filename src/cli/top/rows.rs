//! What can be scrolled: trouble first, then accounts, lanes, and what was not archived.

use jiff::Timestamp;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::figures::{self, bar, cells_of, count, cut, fitted, sentence, span, span_or_dash, wrapped};
use super::leases::{rank, short_name, standing_words, worked_on_by};
use super::order::{Order, Target, account_name, orders_of};
use super::status::{
    Account, Behind, Day, DeadLetters, FailingPair, Failure, GroupBehind, Guard, Lane, Lease, LostQueue, Paused, Rate,
    Status,
};
use super::theme::Theme;
use crate::telemetry::unread_results::UnreadResults;

/// Most rows of each kind. With a limit a frame is soon made, whatever the service holds.
const MOST_ROWS: usize = 200;
/// Standstills; each lane that stands is found again among the lanes.
const MOST_PAUSED: usize = 10;
const MARGIN: usize = 2;
/// Until then a queue that was deleted is a warning of `/readyz`.
const LOSS_IS_NEWS_FOR: f64 = 3_600.0;
/// What the warning about pairs that fail by themselves has in it.
const ALONE_WORDS: &str = "while others go on";
const ALONE: &str = "one-pair-fails-by-itself";
const DELETED: &str = "a-queue-was-deleted";
const UNREAD: &str = "nobody-reads-the-results";
/// What a sentence of `/readyz` has in it, and the section of the runbook about it: the first that is found.
const SECTIONS: [(&str, &str); 16] = [
    // Whatever does not work then, this is why.
    ("resource alarm", "outcomes-cannot-be-published"),
    ("the broker refuses messages", "the-broker-refuses-messages"),
    ("no queue is bound", "a-message-has-nowhere-to-go"),
    ("draining:", "a-stop-takes-long"),
    ("the worker hangs", "the-worker-is-down"),
    ("no jobs come in", "no-jobs-are-taken"),
    ("the jobs of a queue do not come in", "no-jobs-are-taken"),
    ("a queue is not worked on", "no-worker-holds-the-lease"),
    ("no outcomes can go out", "outcomes-cannot-be-published"),
    ("messages wait", "the-broker-refuses-messages"),
    ("with 429", "too-many-429s"),
    ("every removal", "the-guard-has-stopped-an-account"),
    ("occupy too much memory", "no-jobs-are-taken"),
    ("from which nobody takes", "jobs-wait-in-a-queue-that-nobody-takes-from"),
    (ALONE_WORDS, ALONE),
    ("was gone at", DELETED),
];

#[derive(Clone, Debug)]
pub struct Row {
    pub lines: Vec<Line<'static>>,
    /// A name by which the row is found again in the next frame; `None` for what cannot be chosen.
    pub key: Option<String>,
    /// What may be ordered of it, each by a key of its own.
    pub orders: Vec<Order>,
}

#[cfg(test)]
pub fn linked_sections() -> impl Iterator<Item = &'static str> {
    SECTIONS.iter().map(|(_, section)| *section).chain([UNREAD])
}

/// All rows, none wider than `width`.
pub fn rows(status: &Status, theme: Theme, width: usize) -> Vec<Row> {
    let page = Page { status, theme, width };
    let parts = [page.standby(), page.trouble(), page.accounts(), page.lanes(), page.failures(), page.dead_letters()];
    parts.into_iter().chain([page.leases(), page.hints()]).flatten().collect()
}

struct Page<'a> {
    status: &'a Status,
    theme: Theme,
    width: usize,
}

/// HubSpot may allow fewer than the settings do.
fn pace_words(rate: &Rate, bars: usize) -> String {
    let Rate { requests, interval_seconds, configured_requests, configured_interval_seconds, used } = *rate;
    let interval_is_set = interval_seconds == configured_interval_seconds;
    let set = match (interval_is_set, requests == configured_requests) {
        (true, true) => String::new(),
        (true, false) => format!(" now, {} set", count(configured_requests)),
        (false, _) => format!(" now, {} in {} set", count(configured_requests), span(configured_interval_seconds)),
    };
    let (bar, interval) = (bar(used, requests, bars), span(interval_seconds));
    format!("{bar} {} sent in the last {interval}; {} allowed{set}", count(used), count(requests))
}

/// HubSpot's limit is that of all apps of the account together; the budget of the settings is this service's own.
fn day_words(day: &Day, left: u64, bars: usize) -> String {
    let Day { used, budget, limit, used_by_all, .. } = *day;
    match (limit.zip(used_by_all), budget) {
        (Some((limit, all)), _) => format!(
            "{} {} sent today, {} of {} by all apps together, {} left",
            bar(all, limit, bars),
            count(used),
            count(all),
            count(limit),
            count(left)
        ),
        (None, Some(budget)) => format!("{} {} of {} sent today", bar(used, budget, bars), count(used), count(budget)),
        (None, None) => format!("{} sent today, {} left", count(used), count(left)),
    }
}

/// How the commands name the account of a pause.
fn name_in_commands(Paused { account, portal_id, .. }: &Paused) -> String {
    portal_id.unwrap_or(*account).to_string()
}

/// What to do, whatever the account.
fn common_mend(paused: &Paused) -> (&str, String) {
    (&paused.kind, paused.mend.replace(&format!(" {}`", name_in_commands(paused)), " …`"))
}

/// Whoever is to approve or reject must know what.
fn behind_words(behind: &Behind) -> String {
    let Behind { jobs, at_least, groups, groups_left_out } = behind;
    if *jobs == 0 {
        return "Behind the guard: this worker has seen no job yet. Parked jobs come back within ten minutes."
            .to_owned();
    }
    let of_group = |GroupBehind { group, jobs, job_ids }: &GroupBehind| {
        let name = group.as_ref().map_or_else(|| "without a group".to_owned(), |group| format!("of group {group}"));
        format!("{} {name} (such as {})", count(*jobs), job_ids.join(", "))
    };
    let mut told: Vec<String> = groups.iter().map(of_group).collect();
    told.extend((*groups_left_out > 0).then(|| format!("and {} more groups", count(*groups_left_out))));
    let at_least = if *at_least { "at least " } else { "" };
    format!("Behind the guard {at_least}{}: {}", figures::of(*jobs, "job"), told.join("; "))
}

impl Page<'_> {
    fn standby(&self) -> Vec<Row> {
        let said = self.status.standby.iter();
        let lines = said.map(|words| self.wrapped(&sentence(words), MARGIN, self.theme.quiet()));
        let rows = lines.map(|lines| Row { lines, key: None, orders: Vec::new() });
        self.section("This worker", rows.collect(), "", 0)
    }

    fn trouble(&self) -> Vec<Row> {
        let Status { reasons, warnings, paused, paused_left_out, failing_alone, .. } = self.status;
        let mut rows = Vec::new();
        // What only wants to be known comes after what stands still.
        rows.extend(reasons.iter().take(MOST_ROWS).map(|words| self.sentence(words)));
        let shown = &paused[..paused.len().min(MOST_PAUSED)];
        rows.extend(shown.iter().enumerate().map(|(place, paused)| self.paused(paused, &shown[..place])));
        // The pairs that fail by themselves have rows of their own.
        let is_told_below = |words: &&String| words.contains(ALONE_WORDS) && !failing_alone.is_empty();
        let warnings = warnings.iter().filter(|words| !is_told_below(words));
        rows.extend(warnings.take(MOST_ROWS).map(|words| self.sentence(words)));
        rows.extend(failing_alone.iter().take(MOST_PAUSED).map(|pair| self.failing_alone(pair)));
        rows.extend(self.unread_results(true));
        let more = paused.len().saturating_sub(MOST_PAUSED) + paused_left_out;
        self.section("Trouble", rows, "", more)
    }

    /// What is no trouble, or no longer.
    fn hints(&self) -> Vec<Row> {
        let is_old = |lost: &&LostQueue| self.status.ago(lost.last_at) >= LOSS_IS_NEWS_FOR;
        let lost = self.status.broker.lost_queues.iter().filter(is_old).map(|lost| self.lost_queue(lost));
        self.section("Worth knowing", lost.chain(self.unread_results(false)).collect(), "", 0)
    }

    /// Outcomes that nobody fetches are trouble once that has lasted for as long as the alert waits.
    fn unread_results(&self, as_trouble: bool) -> Option<Row> {
        let broker = &self.status.broker;
        let (Some(ready @ 1..), Some(0)) = (broker.results_ready, broker.results_consumers) else { return None };
        let seconds = broker.results_unread_since.map(|since| self.status.ago(since)).unwrap_or_default();
        if as_trouble != (seconds >= UnreadResults::LASTS.as_secs_f64()) {
            return None;
        }
        let waiting = format!("{} {} there", figures::of(ready, "outcome"), if ready == 1 { "waits" } else { "wait" });
        let words = format!("nobody has been subscribed to the results queue for {}; {waiting}", span(seconds));
        let style = if as_trouble { self.theme.warning() } else { self.theme.quiet() };
        let mut lines = self.wrapped(&words, MARGIN, style);
        lines.extend(self.runbook(UNREAD));
        Some(self.row("trouble results".to_owned(), Vec::new(), lines))
    }

    fn lost_queue(&self, lost: &LostQueue) -> Row {
        let LostQueue { queue, times, loss, last_at } = lost;
        let times = if *times > 1 { format!(", {} times by now", count(*times)) } else { String::new() };
        let ago = span(self.status.ago(*last_at));
        let words = format!("queue {queue:?} was gone {ago} ago and is declared again{times}; {loss}");
        let mut lines = self.wrapped(&words, MARGIN, self.theme.quiet());
        lines.extend(self.runbook(DELETED));
        self.row(format!("lost {queue}"), Vec::new(), lines)
    }

    fn failing_alone(&self, pair: &FailingPair) -> Row {
        let FailingPair { portal_id, lane, from, to, job_id, tries, last_at, next_try_at, http_status, message } = pair;
        let (from_type, to_type) = lane.split_once('/').unwrap_or((lane, ""));
        let said = http_status.map_or_else(|| "no answer".to_owned(), |status| format!("HubSpot says {status}"));
        let said = message.as_ref().map_or_else(|| said.clone(), |message| format!("{said}: {message}"));
        let words = format!(
            "one pair fails by itself while others go on: {}, {from_type} {from} → {to_type} {to}, tried alone \
             {} times, last {} ago{}; {} Job {job_id}",
            account_name(0, *portal_id),
            count(*tries),
            span(self.status.ago(*last_at)),
            next_try_at.map(|at| self.next_try(at)).unwrap_or_default(),
            sentence(&said),
        );
        let mut lines = self.wrapped(&words, MARGIN, Style::new());
        lines.extend(self.runbook("one-pair-fails-by-itself"));
        self.row(format!("alone {lane} {from} {to}"), Vec::new(), lines)
    }

    fn next_try(&self, at: Timestamp) -> String {
        match self.status.ahead(at) {
            seconds if seconds > 0.0 => format!(", next in {}", span(seconds)),
            _ => ", next due now".to_owned(),
        }
    }

    fn sentence(&self, words: &str) -> Row {
        let mut lines = self.wrapped(words, MARGIN, self.theme.warning());
        if let Some((_, section)) = SECTIONS.iter().find(|(part, _)| words.contains(part)) {
            lines.extend(self.runbook(section));
        } else if let Some(first) = self.status.paused.first().filter(|_| words.contains("every account is paused")) {
            // Why they stand still is a matter of each pause.
            lines.extend(self.linked(&first.runbook));
        }
        self.row(format!("trouble {words}"), Vec::new(), lines)
    }

    fn runbook(&self, section: &str) -> Vec<Line<'static>> {
        self.linked(&format!("{}#{section}", self.status.runbook))
    }

    /// Its place in the documents: the whole address would be broken, and could not be opened from here either.
    fn linked(&self, address: &str) -> Vec<Line<'static>> {
        let place =
            address.rsplit_once("/docs/").map_or_else(|| address.to_owned(), |(_, place)| format!("docs/{place}"));
        self.wrapped(&format!("Runbook: {place}"), MARGIN + 2, self.theme.quiet())
    }

    /// `above`: those that are told before it. What to do is told once where it is the same but for the account.
    fn paused(&self, paused: &Paused, above: &[Paused]) -> Row {
        let Paused { account, portal_id, lane, kind, detail, since, resume_at, probe_at, mend, runbook, behind } =
            paused;
        let lane = lane.as_ref().and_then(|lane| lane.split_once('/'));
        let target = match lane {
            None => Target::account(*account, *portal_id),
            Some(lane) => Target::lane(*account, *portal_id, lane),
        };
        let until = match (resume_at, probe_at) {
            (Some(at), _) => format!("goes on in {}", span(self.status.ahead(*at))),
            (None, Some(at)) => format!("next try in {}", span(self.status.ahead(*at))),
            (None, None) if kind == "guard" => "until it is approved (a) or rejected (r)".to_owned(),
            (None, None) => "until an operator resumes it".to_owned(),
        };
        let standing = span(self.status.ago(*since));
        let what = format!("{} STANDS STILL: {} for {standing}, {until}", target.subject, words_of(kind));
        let mut lines = self.wrapped(&what, MARGIN, self.theme.warning());
        if !detail.is_empty() {
            lines.extend(self.wrapped(detail, MARGIN + 2, Style::new()));
        }
        if let Some(behind) = behind {
            lines.extend(self.wrapped(&behind_words(behind), MARGIN + 2, Style::new()));
        }
        let what = match above.iter().find(|other| common_mend(other) == common_mend(paused)) {
            Some(other) if other.portal_id == *portal_id => {
                format!("as for {} above", account_name(*account, *portal_id))
            }
            Some(other) => format!(
                "as for {} above, with {} in place of {}",
                account_name(other.account, other.portal_id),
                name_in_commands(paused),
                name_in_commands(other)
            ),
            None => mend.clone(),
        };
        lines.extend(self.wrapped(&format!("What to do: {what}"), MARGIN + 2, self.theme.strong()));
        lines.extend(self.linked(runbook));
        self.row(format!("paused {}", target.path), target.orders(Some(kind)), lines)
    }

    fn accounts(&self) -> Vec<Row> {
        let mut accounts: Vec<&Account> = self.status.accounts.iter().collect();
        accounts.sort_by_key(|account| {
            let standing = (!account.stands_by, account.own_pause().is_some(), account.paused_lanes > 0);
            (std::cmp::Reverse((standing, account.held_jobs)), account.index)
        });
        let more = accounts.len().saturating_sub(MOST_ROWS);
        let rows = accounts.into_iter().take(MOST_ROWS).map(|account| self.account(account)).collect();
        self.section("Accounts", rows, "none yet", more)
    }

    fn account(&self, account: &Account) -> Row {
        let pause = account.own_pause();
        let Target { subject, path } = Target::account(account.index, account.portal_id);
        let (state, style) = match pause {
            // Neither its quota nor its guard is known here.
            _ if account.stands_by && account.in_flight > 0 => {
                let requests = figures::of(account.in_flight, "request");
                (format!("{}, {requests} in flight", worked_on_by(self.status)), self.theme.warning())
            }
            _ if account.stands_by => (worked_on_by(self.status).to_owned(), self.theme.quiet()),
            Some(pause) => (format!("PAUSED: {}", words_of(&pause.kind)), self.theme.warning()),
            None if account.guard.as_ref().is_some_and(Guard::is_stopped) => {
                ("REJECTED: its removals end with GUARD_REJECTED".to_owned(), self.theme.warning())
            }
            None if account.paused_lanes == 1 => ("1 lane PAUSED".to_owned(), self.theme.warning()),
            None if account.paused_lanes > 1 => {
                (format!("{} lanes PAUSED", count(account.paused_lanes)), self.theme.warning())
            }
            None if account.held_jobs > 0 => ("working".to_owned(), self.theme.good()),
            None => ("nothing in hand".to_owned(), Style::new()),
        };
        let first = Line::from(vec![
            Span::raw(" ".repeat(MARGIN)),
            Span::styled(subject.clone(), self.theme.strong()),
            Span::raw("  "),
            Span::styled(cut(&state, self.width.saturating_sub(MARGIN + 2 + cells_of(&subject))), style),
        ]);
        if account.stands_by {
            return self.row(format!("account {path}"), orders_of(account), vec![first]);
        }
        let bars = if self.width < 60 { 8 } else { 16 };
        let quota = pace_words(&account.rate, bars);
        let day = match account.day.left {
            Some(left) => day_words(&account.day, left, bars),
            None => format!("{} sent today", count(account.day.used)),
        };
        let safety = match (account.safety.journal, account.safety.verify) {
            (true, true) => Some("journal and verify on"),
            (true, false) => Some("journal on"),
            (false, true) => Some("verify on"),
            (false, false) => None,
        };
        let mut facts = vec![
            format!("{}, {} in hand", figures::of(account.held_jobs, "job"), figures::of(account.held_pairs, "pair")),
            format!("{} of {} in flight", count(account.in_flight), count(account.max_in_flight)),
            format!("{} archived", count(account.totals.pairs_archived)),
            format!("{} throttled", count(account.totals.throttled)),
        ];
        if account.held_jobs > 0 {
            facts.push(format!("work in hand takes {}", span_or_dash(account.drain_seconds)));
        }
        facts.extend(safety.map(str::to_owned));
        let guard = account.guard.as_ref().map(|guard| self.guard(guard, bars));
        let mut lines = vec![first];
        lines.extend(self.flow(&[Some(quota), Some(day), guard].into_iter().flatten().collect::<Vec<_>>(), "   "));
        lines.extend(self.flow(&facts, " · "));
        self.row(format!("account {path}"), orders_of(account), lines)
    }

    fn guard(&self, guard: &Guard, bars: usize) -> String {
        let Guard { max_pairs, window_seconds, used, state, approved_until } = guard;
        let standing = match (state.as_str(), approved_until) {
            ("open", _) => String::new(),
            ("waiting", _) => " WAITS for approve (a) or reject (r)".to_owned(),
            ("rejected", _) => " REJECTED until it is approved (a)".to_owned(),
            ("approved", Some(until)) => format!(" approved for another {}", span(self.status.ahead(*until))),
            (other, _) => format!(" {other}"),
        };
        // Once approved, the limit holds nothing up: a full bar would say that it stops soon.
        if state == "approved" {
            return format!("guard{standing}: everything passes, {} pairs so far", count(*used));
        }
        let window = span(*window_seconds);
        let figures = format!("{} of {} pairs in {window}", count(*used), count(*max_pairs));
        format!("{} guard{standing}: {figures}", bar(*used, *max_pairs, bars))
    }

    /// Where there is one alone, the head tells all of it.
    fn leases(&self) -> Vec<Row> {
        if self.status.leases.len() < 2 {
            return Vec::new();
        }
        let mut leases: Vec<&Lease> = self.status.leases.iter().collect();
        leases.sort_by_key(|lease| rank(lease));
        let more = leases.len().saturating_sub(MOST_ROWS);
        let rows = leases.into_iter().take(MOST_ROWS).map(|lease| self.lease(lease)).collect();
        self.section("Jobs queues", rows, "", more)
    }

    fn lease(&self, lease: &Lease) -> Row {
        let style = match lease.standing.as_str() {
            "away" => self.theme.warning(),
            "held" => self.theme.good(),
            _ => Style::new(),
        };
        let name = short_name(lease, &self.status.leases);
        let since = span(self.status.ago(lease.since));
        let words = format!("{name}: {}, for {since}", standing_words(&lease.standing));
        self.row(format!("lease {}", lease.jobs_queue), Vec::new(), self.wrapped(&words, MARGIN, style))
    }

    fn lanes(&self) -> Vec<Row> {
        let stands: Vec<u64> =
            self.status.accounts.iter().filter(|it| it.own_pause().is_some()).map(|account| account.index).collect();
        let lanes = self.status.lanes.iter().take(MOST_ROWS);
        let rows: Vec<Row> = lanes.map(|lane| self.lane(lane, stands.contains(&lane.account))).collect();
        let more = self.status.lanes.len().saturating_sub(MOST_ROWS) + self.status.lanes_left_out;
        let mut section = self.section("Lanes", rows, "nothing is under way", more);
        if !self.status.lanes.is_empty() {
            let names = self.columns("Lanes", ["account", "state", "pairs", "sent", "again", "oldest"]);
            section[0].lines = vec![Line::styled(names, self.theme.heading())];
        }
        section
    }

    fn lane(&self, lane: &Lane, account_stands: bool) -> Row {
        let types = (lane.from_object_type.as_str(), lane.to_object_type.as_str());
        let kind = lane.pause.as_ref().map(|pause| pause.kind.as_str());
        let target = Target::lane(lane.account, lane.portal_id, types);
        let labels = if lane.kind == "labels" { " (labels)" } else { "" };
        let background = if lane.background { " (background)" } else { "" };
        let (state, style) = match (&lane.pause, account_stands) {
            (Some(_), _) => ("PAUSED", self.theme.warning()),
            (None, true) => ("ACCOUNT", self.theme.warning()),
            (None, false) => ("open", Style::new()),
        };
        let account = account_name(lane.account, lane.portal_id);
        let name = format!("  {} → {}{labels}{background}", types.0, types.1);
        let numbers = [lane.waiting_pairs, lane.in_flight, lane.returned_batches].map(count);
        let [waiting, in_flight, again] = numbers.each_ref().map(String::as_str);
        let oldest = span_or_dash(lane.oldest_seconds);
        let text = self.columns(&name, [&account, state, waiting, in_flight, again, &oldest]);
        self.row(
            format!("lane {labels}{background} {}", target.path),
            target.orders(kind),
            vec![Line::styled(text, style)],
        )
    }

    /// The name of a lane has what the numbers leave; where that is too little, the account gives way.
    fn columns(&self, name: &str, [account, state, waiting, in_flight, again, oldest]: [&str; 6]) -> String {
        let account = if self.width < 70 { String::new() } else { format!(" {}", fitted(account, 16)) };
        let figures = format!(" {} {waiting:>8} {in_flight:>6} {again:>5} {oldest:>11}", fitted(state, 7));
        let room = self.width.saturating_sub(cells_of(&account) + cells_of(&figures));
        cut(&format!("{}{account}{figures}", fitted(name, room.max(12))), self.width)
    }

    fn failures(&self) -> Vec<Row> {
        let rows = self.status.failures.iter().take(MOST_ROWS).map(|failure| self.failure(failure)).collect();
        self.section("Pairs not archived", rows, "none since this worker began", 0)
    }

    fn failure(&self, failure: &Failure) -> Row {
        let Failure { source, category, pairs, pairs_since_start, message, http_status, last_at, job_ids } = failure;
        let source = if source == "HUBSPOT" { "HubSpot" } else { "the worker" };
        let status = http_status.map(|status| format!(", {status}")).unwrap_or_default();
        let what = format!(
            "{category} (said by {source}{status}): {} in 15 min, {} in all, the latest {} ago",
            count(*pairs),
            count(*pairs_since_start),
            span(self.status.ago(*last_at)),
        );
        self.cause(format!("failure {source} {category}"), &what, message, "jobs", job_ids)
    }

    fn dead_letters(&self) -> Vec<Row> {
        let waiting = self.status.broker.dead_letters_ready.filter(|waiting| *waiting > 0);
        let waiting = waiting.map(|waiting| format!("; {} in the queue now", count(waiting))).unwrap_or_default();
        let rows = self.status.dead_letters.iter().take(MOST_ROWS).map(|cause| {
            let DeadLetters { category, messages, message, last_at, ids } = cause;
            let category = if category.is_empty() { "without a category" } else { category };
            let latest = span(self.status.ago(*last_at));
            let what = format!("{category}: {}, the latest {latest} ago", figures::of(*messages, "message"));
            self.cause(format!("letters {category}"), &what, message, "ids", ids)
        });
        let none = match waiting.is_empty() {
            true => "none since this worker began",
            false => "none since this worker began; those in the queue: `association-archiver dead-letters list`",
        };
        self.section(&format!("Dead letters since the start{waiting}"), rows.collect(), none, 0)
    }

    fn cause(&self, key: String, what: &str, message: &str, of: &str, ids: &[String]) -> Row {
        let mut lines = self.wrapped(what, MARGIN, self.theme.strong());
        lines.extend(self.wrapped(message, MARGIN + 2, Style::new()));
        if !ids.is_empty() {
            let ids = format!("{of}: {}", ids.join(", "));
            lines.extend(self.wrapped(&ids, MARGIN + 2, self.theme.quiet()));
        }
        self.row(key, Vec::new(), lines)
    }

    /// Rows below a heading; `none` says that there are none, and where it is empty nothing does.
    fn section(&self, heading: &str, mut rows: Vec<Row>, none: &str, more: usize) -> Vec<Row> {
        let still = |lines| Row { lines, key: None, orders: Vec::new() };
        if rows.is_empty() && none.is_empty() {
            return rows;
        }
        let mut heading = vec![Line::styled(cut(heading, self.width), self.theme.heading())];
        if rows.is_empty() {
            heading.extend(self.wrapped(none, MARGIN, self.theme.quiet()));
        }
        rows.insert(0, still(heading));
        if more > 0 {
            rows.push(still(self.wrapped(&format!("and {} more", count(more as u64)), MARGIN, self.theme.quiet())));
        }
        rows
    }

    fn row(&self, key: String, orders: Vec<Order>, lines: Vec<Line<'static>>) -> Row {
        Row { lines, key: Some(key), orders }
    }

    fn wrapped(&self, text: &str, margin: usize, style: Style) -> Vec<Line<'static>> {
        let lines = wrapped(text, self.width.saturating_sub(margin)).into_iter();
        lines.map(|line| Line::styled(format!("{}{line}", " ".repeat(margin)), style)).collect()
    }

    fn flow(&self, parts: &[String], between: &str) -> Vec<Line<'static>> {
        let margin = MARGIN + 2;
        flow(parts, between, self.width.saturating_sub(margin))
            .into_iter()
            .map(|line| Line::raw(format!("{}{line}", " ".repeat(margin))))
            .collect()
    }
}

/// The parts one after another, each on one line as a whole if it fits.
pub fn flow(parts: &[String], between: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for part in parts {
        match lines.last_mut() {
            Some(line) if cells_of(line) + cells_of(between) + cells_of(part) <= width => {
                line.push_str(between);
                line.push_str(part);
            }
            _ => lines.extend(wrapped(part, width)),
        }
    }
    lines
}

/// The kind of a pause, for people.
fn words_of(kind: &str) -> String {
    match kind {
        "operator" => "by hand".to_owned(),
        "day_spent" => "the day's requests are spent".to_owned(),
        "outage" => "requests to HubSpot fail".to_owned(),
        "guard" => "by its guard".to_owned(),
        "journal" => "the journal cannot be written".to_owned(),
        other => other.replace('_', " "),
    }
}
