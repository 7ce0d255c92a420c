//! One frame: the head, the rows that fit, and what the keys do.

use std::time::{Duration, Instant};

use indicatif::HumanBytes;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Sparkline};

use super::figures::{cells, cells_of, count, count_or_dash, cut, fitted, of, rate, sentence, span, squeezed, wrapped};
use super::leases;
use super::order::Order;
use super::rows::{Row, flow, rows};
use super::status::{Background, Status, Throughput};
use super::theme::Theme;

/// Lower screens have no lines of throughput, and none of jobs.
const LEAST_HEIGHT_FOR_THROUGHPUT: u16 = 18;
const LEAST_HEIGHT_FOR_JOBS: u16 = 10;
const CURVE_HEIGHT: u16 = 2;
/// Lines at the foot.
const MOST_FOOT: usize = 4;

/// All that a frame is made of.
#[derive(Debug)]
pub struct View {
    theme: Theme,
    /// Who is asked, as shown.
    address: String,
    latest: Option<Status>,
    lost: Option<Lost>,
    chosen: Option<String>,
    /// What may be ordered of the chosen row, as it was last shown.
    orders: Vec<Order>,
    /// How the guards that wait may be answered, whatever is chosen.
    answers: Vec<Order>,
    /// The first line of the rows that is seen.
    first: usize,
    pub footer: Footer,
}

/// Since when there is no answer, and why.
#[derive(Debug)]
struct Lost {
    since: Instant,
    cause: String,
}

/// The last line.
#[derive(Debug)]
pub enum Footer {
    Keys,
    /// Waits for `y`.
    Asked(Order),
    /// Waits for the token; `typed` are its letters until now.
    Token {
        order: Order,
        typed: String,
    },
    Said(String),
}

/// Where to look next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Move {
    Up,
    Down,
    PageUp,
    PageDown,
    First,
    Last,
}

impl View {
    pub fn new(address: &str, theme: Theme) -> Self {
        let (latest, lost, chosen) = (None, None, None);
        let (orders, answers) = (Vec::new(), Vec::new());
        let address = address.to_owned();
        Self { theme, address, latest, lost, chosen, orders, answers, first: 0, footer: Footer::Keys }
    }

    pub fn answered(&mut self, status: Status) {
        (self.latest, self.lost) = (Some(status), None);
    }

    pub fn unanswered(&mut self, cause: String) {
        let since = self.lost.as_ref().map_or_else(Instant::now, |lost| lost.since);
        self.lost = Some(Lost { since, cause });
    }

    /// What a key orders: of the chosen row, or else of the only guard that waits.
    pub fn order(&self, key: char) -> Option<Order> {
        let is_meant = |order: &&Order| order.key() == key;
        let mut answers = self.answers.iter().filter(is_meant);
        let only = answers.next().filter(|first| answers.all(|other| other == *first));
        self.orders.iter().find(is_meant).or(only).cloned()
    }

    /// `area` is the whole screen.
    pub fn go(&mut self, to: Move, area: Rect) {
        let Some(status) = &self.latest else { return };
        let rows = rows(status, self.theme, area.width.into());
        let keys: Vec<&String> = rows.iter().filter_map(|row| row.key.as_ref()).collect();
        let Some(last) = keys.len().checked_sub(1) else { return };
        let at = keys.iter().position(|key| Some(*key) == self.chosen.as_ref()).unwrap_or(0);
        // A page is what is surely seen of it.
        let page = usize::from(area.height / 6).max(1);
        let next = match to {
            Move::Up => at.saturating_sub(1),
            Move::Down => at + 1,
            Move::PageUp => at.saturating_sub(page),
            Move::PageDown => at + page,
            Move::First => 0,
            Move::Last => last,
        };
        self.chosen = keys.get(next.min(last)).map(|key| (*key).clone());
    }

    pub fn draw(&mut self, frame: &mut Frame<'_>) {
        let area = frame.area();
        let width = usize::from(area.width);
        let head = self.head(width, area.height);
        let curves = match &self.latest {
            Some(_) if area.height >= LEAST_HEIGHT_FOR_THROUGHPUT => 1 + CURVE_HEIGHT,
            Some(_) | None => 0,
        };
        let foot = self.foot(width);
        let heights = [length(head.len()), Constraint::Length(curves), Constraint::Fill(1), length(foot.len())];
        let [above, middle, below, last] = Layout::vertical(heights).areas(area);
        frame.render_widget(Paragraph::new(head), above);
        if let Some(status) = self.latest.as_ref().filter(|_| curves > 0) {
            self.draw_curves(frame, middle, &status.throughput);
        }
        let seen = self.seen(width, below.height.into());
        frame.render_widget(Paragraph::new(seen), below);
        // The keys are those of the row that has just been chosen, where none was before.
        let foot = if let Footer::Keys = self.footer { self.foot(width) } else { foot };
        let foot: Vec<Line<'_>> =
            foot.iter().map(|line| Line::styled(fitted(line, width), self.theme.footer())).collect();
        frame.render_widget(Paragraph::new(foot), last);
    }

    /// Every line of it, for a reader who cannot scroll.
    pub fn height(&self, width: u16) -> u16 {
        let width = usize::from(width);
        let rows = self.latest.iter().flat_map(|status| rows(status, self.theme, width));
        let rows: usize = rows.map(|row| row.lines.len()).sum();
        let all = self.head(width, u16::MAX).len() + usize::from(1 + CURVE_HEIGHT) + rows + 1;
        u16::try_from(all).unwrap_or(u16::MAX)
    }

    fn head(&self, width: usize, height: u16) -> Vec<Line<'static>> {
        let theme = self.theme;
        let Some(status) = &self.latest else { return self.nobody(width) };
        let (state, style) = match (&self.lost, status) {
            (Some(lost), _) => (format!("NO ANSWER for {}", span(silence(lost))), theme.warning()),
            (None, Status { draining: true, .. }) => ("DRAINING".to_owned(), theme.warning()),
            (None, Status { ready: false, .. }) => ("NOT READY".to_owned(), theme.warning()),
            (None, Status { ready: true, .. }) if leases::stands_by(status) => {
                ("ready, stands by".to_owned(), theme.good())
            }
            (None, Status { ready: true, .. }) if status.paused.is_empty() && status.warnings.is_empty() => {
                ("ready".to_owned(), theme.good())
            }
            (None, Status { ready: true, .. }) => ("ready, with TROUBLE".to_owned(), theme.warning()),
        };
        let name = "association-archiver";
        let about = format!("{}, up {}, {}", status.version, span(status.ago(status.started_at)), self.address);
        let room = width.saturating_sub(cells_of(name) + cells_of(&state) + 4);
        let mut head = vec![Line::from(vec![
            Span::styled(name, theme.strong()),
            Span::raw("  "),
            Span::styled(state, style),
            Span::raw("  "),
            Span::styled(cut(&about, room), theme.quiet()),
        ])];
        if let Some(lost) = &self.lost {
            let words = format!("{}; asked again every second, below is what it said last", lost.cause);
            head.extend(wrapped(&words, width).into_iter().map(|line| Line::styled(line, theme.warning())));
        }
        if height >= LEAST_HEIGHT_FOR_JOBS {
            head.extend(self.jobs(status, width));
        }
        head
    }

    /// What is shown while nobody has answered yet.
    fn nobody(&self, width: usize) -> Vec<Line<'static>> {
        let Some(lost) = &self.lost else {
            return vec![Line::raw(cut(&format!("asking {} …", self.address), width))];
        };
        let words = format!(
            "{} For a service elsewhere: --url http://HOST:PORT. Asked again every second.",
            sentence(&lost.cause)
        );
        let state = format!("NO ANSWER for {}", span(silence(lost)));
        let lines = wrapped(&words, width).into_iter().map(Line::raw);
        std::iter::once(Line::styled(state, self.theme.warning())).chain(lines).collect()
    }

    /// Where all jobs are, as one bar with its legend.
    fn jobs(&self, status: &Status, width: usize) -> Vec<Line<'static>> {
        let backlog = &status.backlog;
        let ended = |names: &[&str]| names.iter().filter_map(|name| status.jobs.outcomes.get(*name)).sum::<u64>();
        let tiers = status.broker.parked.iter().filter_map(|(tier, jobs)| Some((tier, (*jobs)?)));
        let tiers = tiers.filter(|(_, jobs)| *jobs > 0).map(|(tier, jobs)| {
            format!("{tier} {}, back within {} at the latest", count(jobs), span(longest_wait(status, tier)))
        });
        let tiers: Vec<String> = tiers.collect();
        let tiers = if tiers.is_empty() { String::new() } else { format!(" ({})", tiers.join(", ")) };
        let counted = status.broker.counted_at.map(|at| format!(" ({} ago)", span(status.ago(at).round())));
        let counted = counted.filter(|_| backlog.jobs_ready.is_some()).unwrap_or_default();
        let background = match backlog.background_held {
            0 => String::new(),
            jobs => format!(" ({} among them)", of(jobs, "background job")),
        };
        let places = [
            ('█', "archived", Some(ended(&["ARCHIVED"])), ""),
            ('R', "restored, planned", Some(ended(&["RESTORED", "PLANNED"])).filter(|jobs| *jobs > 0), ""),
            ('X', "failed", Some(ended(&["PARTIAL", "FAILED"])), ""),
            ('-', "not tried", Some(ended(&["EXPIRED", "REJECTED"])), ""),
            ('▓', "unpublished", Some(backlog.jobs_unpublished), ""),
            ('▒', "in hand", Some(backlog.jobs_held), &background),
            ('░', "waiting", backlog.jobs_ready, &counted),
            ('b', "background", backlog.background_ready.filter(|jobs| *jobs > 0), ""),
            ('z', "parked", backlog.jobs_parked, &tiers),
        ];
        let jobs = places.map(|(_, _, jobs, _)| jobs.unwrap_or_default());
        let bar: String = places
            .iter()
            .zip(cells(&jobs, width))
            .map(|((letter, ..), cells)| letter.to_string().repeat(cells))
            .collect();
        let told = places.iter().filter(|(letter, _, jobs, _)| !['R', 'b'].contains(letter) || jobs.is_some());
        let legend: Vec<String> =
            told.map(|(letter, name, jobs, more)| format!("{letter} {name} {}{more}", count_or_dash(*jobs))).collect();
        let whose = leases::whose_work(&status.leases);
        let mut figures = match &backlog.drain_unknown {
            Some(why) => vec![format!("nobody can tell when {whose} are answered: {why}")],
            None => {
                let wait = wait_of_parked(status);
                let all = format!("{whose} are answered in {}", range(backlog.drain_seconds, wait));
                let left_out = backlog.drain_seconds.map(|_| left_out(status)).unwrap_or_default();
                [vec![all], left_out].concat()
            }
        };
        figures.extend(status.background.as_ref().map(of_background));
        figures.extend([
            format!("{} archived", of(status.totals.pairs_archived, "pair")),
            format!("{}, {} throttled", of(status.totals.requests, "request"), count(status.totals.throttled)),
            format!("{} of {} in flight", count(status.requests.in_flight), count(status.requests.max_in_flight)),
            format!("{}, {} in hand", of(backlog.pairs_held, "pair"), HumanBytes(backlog.bytes_held)),
        ]);
        figures.extend(leases::summary(&status.leases));
        let mut lines = vec![Line::styled(bar, self.theme.good())];
        lines.extend(flow(&legend, "   ", width).into_iter().map(Line::raw));
        lines.extend(flow(&figures, " · ", width).into_iter().map(|line| Line::styled(line, self.theme.quiet())));
        lines
    }

    fn draw_curves(&self, frame: &mut Frame<'_>, area: Rect, series: &Throughput) {
        let [left, right] = Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).spacing(2).areas(area);
        let per_second =
            |pairs: u64| if series.interval_seconds > 0.0 { pairs as f64 / series.interval_seconds } else { 0.0 };
        // The last interval is still open.
        let closed = series.pairs_archived.split_last().map_or(&[][..], |(_, closed)| closed);
        let lately = per_second(closed.last().copied().unwrap_or_default());
        let most = per_second(closed.iter().copied().max().unwrap_or_default());
        let archived = format!("archived {}, at most {} in 10 min", rate(lately), rate(most));
        self.draw_curve(frame, left, &archived, closed);

        let parts = [&series.jobs_ready, &series.jobs_held, &series.jobs_parked, &series.jobs_unpublished];
        let at = |place: usize| parts.iter().filter_map(|part| part.get(place)).sum::<u64>();
        let unanswered: Vec<u64> = (0..series.jobs_ready.len()).map(at).collect();
        // Where the broker is away nobody can say how many there are.
        let backlog = self.latest.as_ref().map(|status| &status.backlog);
        let is_known = backlog.is_some_and(|backlog| backlog.jobs_ready.is_some() && backlog.jobs_parked.is_some());
        let now = count_or_dash(unanswered.last().copied().filter(|_| is_known));
        self.draw_curve(frame, right, &format!("jobs without an outcome: {now}"), &unanswered);
    }

    fn draw_curve(&self, frame: &mut Frame<'_>, area: Rect, words: &str, values: &[u64]) {
        let [title, curve] = Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(area);
        let width = usize::from(area.width);
        frame.render_widget(Paragraph::new(Line::styled(cut(words, width), self.theme.strong())), title);
        let values = squeezed(values, width);
        frame.render_widget(Sparkline::default().data(&values).style(self.theme.good()), curve);
    }

    /// The lines of the rows that fit, with the chosen row among them.
    fn seen(&mut self, width: usize, height: usize) -> Vec<Line<'static>> {
        let Some(status) = &self.latest else { return Vec::new() };
        let mut rows = rows(status, self.theme, width);
        let chosen = self.choose(&rows);
        let before: usize = rows.iter().take(chosen).map(|row| row.lines.len()).sum();
        let long = rows.get(chosen).map_or(0, |row| row.lines.len());
        // What stands above the first row is its heading, which is seen with it.
        let top = if rows.iter().take(chosen).any(|row| row.key.is_some()) { before } else { 0 };
        if self.first > top {
            self.first = top;
        } else if before + long > self.first + height {
            self.first = (before + long).saturating_sub(height).min(before);
        }
        if let Some(line) = rows.get_mut(chosen).and_then(|row| row.lines.first_mut()) {
            mark(line);
        }
        let all: usize = rows.iter().map(|row| row.lines.len()).sum();
        self.first = self.first.min(all.saturating_sub(height));
        rows.into_iter().flat_map(|row| row.lines).skip(self.first).take(height).collect()
    }

    /// The place of the chosen row; where it has gone, of the first one.
    fn choose(&mut self, rows: &[Row]) -> usize {
        let found = rows.iter().position(|row| row.key.is_some() && row.key == self.chosen);
        let place = found.or_else(|| rows.iter().position(|row| row.key.is_some()));
        self.chosen = place.and_then(|place| rows[place].key.clone());
        self.orders = place.map(|place| rows[place].orders.clone()).unwrap_or_default();
        let answers = rows.iter().flat_map(|row| &row.orders).filter(|order| order.answers_guard());
        self.answers = answers.cloned().collect();
        place.unwrap_or(0)
    }

    /// The keys on one line; what wants an answer or tells of one is never cut.
    fn foot(&self, width: usize) -> Vec<String> {
        let words = match &self.footer {
            Footer::Keys => return vec![cut(&self.keys(), width)],
            Footer::Asked(order) => order.question(),
            Footer::Token { typed, .. } => {
                format!("admin.token: {}_  (Enter sends, Esc leaves it)", "*".repeat(typed.chars().count()))
            }
            Footer::Said(words) => words.clone(),
        };
        let lines = wrapped(&words, width.saturating_sub(1)).into_iter().take(MOST_FOOT);
        lines.map(|line| format!(" {line}")).collect()
    }

    fn keys(&self) -> String {
        let Some(first) = self.orders.first() else {
            return " q quit  ↑↓ choose an account or a lane, which p pauses or resumes".to_owned();
        };
        let keys: Vec<String> =
            self.orders.iter().map(|order| format!("{} {}", order.key(), order.instruction.as_str())).collect();
        format!(" q quit  ↑↓ choose  {} {}", keys.join("  "), first.target.subject)
    }
}

/// For how many seconds the jobs of a delay queue still wait at the latest. A service of an older version may not tell:
/// then it is the time of the queue.
fn longest_wait(status: &Status, tier: &str) -> f64 {
    let by = status.broker.back_by.get(tier).copied().flatten();
    by.map(|by| status.ahead(by)).unwrap_or_else(|| humantime::parse_duration(tier).unwrap_or_default().as_secs_f64())
}

/// The same of all parked jobs; `None` where there are none.
fn wait_of_parked(status: &Status) -> Option<f64> {
    let occupied = status.broker.parked.iter().filter(|(_, jobs)| jobs.is_some_and(|jobs| jobs > 0));
    occupied.map(|(tier, _)| longest_wait(status, tier)).reduce(f64::max)
}

/// A wait that is less than this share of what the work takes tells nothing of its own.
const NEARLY: f64 = 0.05;

/// What the work takes, and up to how long with the wait of parked jobs.
fn range(seconds: Option<f64>, wait: Option<f64>) -> String {
    let Some(seconds) = seconds else { return "–".to_owned() };
    match wait {
        None if seconds > 0.0 => format!("about {}", span(seconds)),
        None => span(seconds),
        // Ends that are next to each other are one figure.
        Some(wait) if wait < NEARLY * seconds => format!("about {}", span(seconds + wait)),
        Some(wait) => format!("about {} to {}", span(seconds), span(seconds + wait)),
    }
}

/// What stands beside the estimate: the wait of parked jobs, and the background, which is not in it.
fn left_out(status: &Status) -> Vec<String> {
    let parked = status.backlog.jobs_parked.map_or_else(|| "the parked jobs".to_owned(), |jobs| of(jobs, "parked job"));
    let come = if status.backlog.jobs_parked == Some(1) { "comes" } else { "come" };
    let parked = wait_of_parked(status).map(|wait| format!("{parked} {come} back within {} at the latest", span(wait)));
    let background = status.background.as_ref().map(|Background { ready, parked, held, .. }| {
        [*ready, *parked, Some(*held)].into_iter().flatten().sum::<u64>()
    });
    let background = background.filter(|jobs| *jobs > 0);
    let background = background.map(|jobs| format!("not counted: {}", of(jobs, "background job")));
    parked.into_iter().chain(background).collect()
}

/// How far the background is: it takes what the live jobs leave, so only what it did lately says how long the rest takes.
fn of_background(background: &Background) -> String {
    let Background { ready, parked, held, answered, jobs_per_second, drain_seconds, drain_unknown } = background;
    let some = |jobs: Option<u64>, word: &str| {
        jobs.filter(|jobs| *jobs > 0).map(|jobs| format!(", {} {word}", count(jobs))).unwrap_or_default()
    };
    let (held, parked) = (some(Some(*held), "in hand"), some(*parked, "parked"));
    let lately = jobs_per_second.map(|jobs| format!(", {} lately", rate(jobs))).unwrap_or_default();
    let waiting = format!("background: {} waiting{held}{parked}", count_or_dash(*ready));
    let done = format!("{} answered since the start{lately}", count(*answered));
    let rest = match (drain_seconds, drain_unknown) {
        (Some(seconds), _) if *seconds > 0.0 => format!("the rest takes about {}", span(*seconds)),
        (Some(_), _) => "all of it done".to_owned(),
        (None, Some(why)) => format!("no estimate of it: {why}"),
        (None, None) => "no estimate of it".to_owned(),
    };
    [waiting, done, rest].join("; ")
}

fn silence(lost: &Lost) -> f64 {
    Duration::from_secs(lost.since.elapsed().as_secs()).as_secs_f64()
}

fn length(lines: usize) -> Constraint {
    Constraint::Length(u16::try_from(lines).unwrap_or(u16::MAX))
}

/// Puts a mark into the margin, which every row has.
fn mark(line: &mut Line<'static>) {
    if let Some(first) = line.spans.first_mut() {
        let marked = first.content.strip_prefix("  ").map(|rest| format!("▶ {rest}"));
        first.content = marked.map_or_else(|| std::mem::take(&mut first.content), Into::into);
    }
    line.style = line.style.patch(Style::new().add_modifier(ratatui::style::Modifier::BOLD));
}

#[cfg(test)]
mod tests;
