//! A first reading of all rows: whether they are right, and what they ask for.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use hashbrown::HashSet;
use jiff::{Timestamp, ToSpan};

use super::rows::{LeftOut, RowFault, RowJob};
use super::source::Source;
use crate::cli::bar::ReadingBar;
use crate::cli::exit::Failure;
use crate::cli::introductions::{Introductions, account_of};
use crate::config::{BatchSettings, RateLimit, Settings};
use crate::contract::action::Action;
use crate::contract::as_set::AsSet;
use crate::contract::association::{Extent, Label, LabelCategory};
use crate::contract::grouped::Grouped;
use crate::contract::ids::Group;
use crate::contract::job::{Ask, Job};
use crate::contract::object_type::{ObjectType, TypePair};
use crate::contract::primary::is_primary;
use crate::contract::refusal::Refusal;
use crate::engine::pack::Caps;
use crate::engine::proof::WAITS;
use crate::engine::step::{Look, Step};
use crate::telemetry::mend::as_one_word;
use crate::worker::accounts::Portals;

/// Lines of each kind that are listed; the others are counted.
const MAX_LISTED: usize = 20;
/// Rows, and records, that are remembered to find equal ones: some 100 MB. What comes after them counts as new.
const MAX_REMEMBERED: usize = 4_000_000;
/// Lanes told apart; all others count as one.
const MAX_LANES: usize = 1_000;
/// Said of pairs, before their number.
pub const REPEATED: &str = "repeated pairs, which a row before asks for too (archiving a pair again does no harm)";
/// Lanes named in a sentence.
const MAX_NAMED: usize = 3;

/// What the rows are and ask for.
#[derive(Debug, Default)]
pub struct Survey {
    pub rows: u64,
    /// Rows that are no jobs.
    pub bad: Faults,
    /// Rows whose jobs are not wanted, and not counted either.
    pub unwanted: u64,
    /// Pairs that an earlier row asks for, too.
    pub repeated: u64,
    /// Rows that the configured accounts must reject; they do not count in what is asked for.
    pub rejected: Faults,
    pub left_out: LeftOut,
    pub last_line: u64,
    /// Rows for which an earlier run had no answer when it ended.
    unanswered: u64,
    /// When the file was last written to.
    written_at: Option<Timestamp>,
    /// See [`super::rows::Rows::doubts`].
    doubts: Vec<String>,
    /// Types that may be the plain association, of category `HUBSPOT_DEFINED`, and how many pairs name them.
    plain: BTreeMap<u64, u64>,
    lanes: BTreeMap<LaneName, Amount>,
    /// The groups of the jobs that archive. No more than two are kept: then it is known that there is more than one.
    groups: BTreeSet<Option<Group>>,
}

/// Rows of which nothing can come.
#[derive(Debug, Default)]
pub struct Faults {
    pub count: u64,
    /// Line and fault, of the first of them.
    pub listed: Vec<(u64, String)>,
}

impl Faults {
    fn note(&mut self, line: u64, fault: String) {
        self.count += 1;
        if self.listed.len() < MAX_LISTED {
            self.listed.push((line, fault));
        }
    }
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
struct LaneName {
    does: Does,
    portal: Option<u64>,
    from: String,
    to: String,
    labels: Vec<(&'static str, u64)>,
    /// One of the labels may be the type of the plain association, with which everything goes.
    perhaps_whole: bool,
}

/// What becomes of the pairs of a job.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
enum Does {
    Archive,
    Restore,
    /// Nothing: HubSpot is looked at.
    Plan,
}

impl Does {
    fn of(job: &Job) -> Self {
        match (job.dry_run, job.action) {
            (true, _) => Self::Plan,
            (false, Action::Archive) => Self::Archive,
            (false, Action::Restore { .. }) => Self::Restore,
        }
    }
}

#[derive(Clone, Copy, Default, Debug)]
struct Amount {
    /// As often as rows ask for them.
    pairs: u64,
    /// Each once.
    different_pairs: u64,
    /// Records of the pairs.
    from_records: u64,
    /// Records of which every association is asked for.
    all_of: u64,
}

/// Tells what was asked for before from what is new.
#[derive(Debug, Default)]
pub struct Repeats {
    hasher: RandomState,
    seen: HashSet<u64>,
}

impl Repeats {
    /// How many pairs of a job one before it asks for too, under whatever id.
    pub fn of(&mut self, job: &Job) -> u64 {
        job.asks.iter().map(|ask| self.of_ask(job, ask)).sum()
    }

    fn of_ask(&mut self, job: &Job, ask: &Ask) -> u64 {
        let Job { portal, from_type, to_type, action, dry_run, .. } = job;
        let lane = (portal, from_type, to_type, action, dry_run, &ask.extent);
        ask.pairs.iter().filter(|pair| self.is_seen(&(&lane, pair))).count() as u64
    }

    fn is_seen(&mut self, what: &impl std::hash::Hash) -> bool {
        let hash = self.hasher.hash_one(what);
        if self.seen.len() < MAX_REMEMBERED { !self.seen.insert(hash) } else { self.seen.contains(&hash) }
    }
}

/// What the rows so far ask for.
#[derive(Default)]
struct Known {
    pairs: Repeats,
    records: Repeats,
}

/// The accounts of the settings; `None` where they have none, as on a machine that only sends jobs.
pub fn portals(settings: &Settings) -> Option<Portals> {
    Some(Portals::of(settings.hubspot.accounts().ok()?))
}

impl Survey {
    /// Reads the rows from `from_line` on whose jobs are wanted.
    pub async fn of(
        source: &mut Source,
        from_line: u64,
        portals: Option<&Portals>,
        mut wanted: impl FnMut(&Job) -> bool,
    ) -> Result<Self, Failure> {
        let mut survey = Self::default();
        let mut known = Known::default();
        let name = source.name.clone();
        let unusable = |fault: &dyn std::fmt::Display| Failure::Usage(format!("{name} {fault}"));
        let mut rows = source.rows()?;
        let bar = ReadingBar::begin(&name, "rows");
        while let Some(row) = rows.next().await.map_err(|fault| unusable(&fault))? {
            bar.one_more();
            if row.line < from_line {
                continue;
            }
            match row.job {
                Ok(RowJob { job, .. }) if !wanted(&job) => survey.unwanted += 1,
                Ok(RowJob { job, .. }) => {
                    survey.rows += 1;
                    match portals.map(|portals| rows.account_of(&job, portals)) {
                        Some(Err(Refusal { message, .. })) => survey.rejected.note(row.line, message.into()),
                        Some(Ok(_)) | None => survey.count(&job, &mut known),
                    }
                }
                Err(RowFault::Encoding(fault)) => {
                    return Err(unusable(&format!("cannot be read: line {} {fault}", row.line)));
                }
                Err(RowFault::Job(malformed)) => survey.bad.note(row.line, malformed.message),
            }
        }
        survey.left_out = rows.left_out();
        survey.doubts = rows.doubts().to_vec();
        survey.last_line = rows.last_line();
        survey.unanswered = rows.unanswered();
        survey.written_at = source.written_at();
        Ok(survey)
    }

    fn count(&mut self, job: &Job, known: &mut Known) {
        if Does::of(job) == Does::Archive && self.groups.len() < 2 && !self.groups.contains(&job.group) {
            self.groups.insert(job.group.clone());
        }
        for ask in &job.asks {
            let Ask { extent, pairs, all_of } = ask;
            let repeated = known.pairs.of_ask(job, ask);
            self.repeated += repeated;
            let labels = match extent {
                Extent::Whole => Vec::new(),
                Extent::Labels(labels) => {
                    labels.iter().map(|label| (label.category.as_str(), label.type_id.get())).collect()
                }
            };
            let (from, to) = (job.from_type.path_segment().to_owned(), job.to_type.path_segment().to_owned());
            let does = Does::of(job);
            let portal = job.portal.map(|portal| portal.0.get());
            let perhaps_whole = self.note_plain(job, extent, pairs.len() as u64);
            let mut lane = LaneName { does, portal, from, to, labels, perhaps_whole };
            if self.lanes.len() >= MAX_LANES && !self.lanes.contains_key(&lane) {
                let other = || "other".to_owned();
                lane = LaneName { does, portal: None, from: other(), to: other(), labels: Vec::new(), perhaps_whole };
            }
            let new_records = pairs.iter().map(|pair| pair.from).collect::<BTreeSet<_>>();
            let mut is_new = |from, all: bool| !known.records.is_seen(&(&lane, from, all));
            let new_records = new_records.into_iter().filter(|from| is_new(*from, false)).count() as u64;
            let new_all_of = all_of.iter().filter(|from| is_new(**from, true)).count() as u64;
            let amount = self.lanes.entry(lane).or_default();
            amount.pairs += pairs.len() as u64;
            amount.different_pairs += pairs.len() as u64 - repeated;
            amount.from_records += new_records;
            amount.all_of += new_all_of;
        }
    }

    /// Whether one of the labels that are to be removed may be the plain association. HubSpot defines that one and Primary, and
    /// which types are Primary is known.
    fn note_plain(&mut self, job: &Job, extent: &Extent, pairs: u64) -> bool {
        let (Action::Archive, Extent::Labels(labels)) = (job.action, extent) else { return false };
        let may_be_plain = |label: &&Label| {
            label.category == LabelCategory::HubspotDefined && !is_primary(&job.from_type, &job.to_type, **label)
        };
        let plain: Vec<&Label> = labels.iter().filter(may_be_plain).collect();
        for label in &plain {
            if self.plain.len() < MAX_NAMED || self.plain.contains_key(&label.type_id.get()) {
                *self.plain.entry(label.type_id.get()).or_default() += pairs;
            }
        }
        !plain.is_empty()
    }

    /// Whether there is no row at all, but for blank ones and those without ids.
    pub fn is_empty(&self) -> bool {
        self.jobs() + self.left_out.telling() == 0
    }

    /// Rows that stand for jobs, or were meant to.
    pub fn jobs(&self) -> u64 {
        self.rows + self.bad.count + self.unwanted
    }

    /// Rows that stand for jobs which the accounts in the settings take.
    pub fn acceptable(&self) -> u64 {
        self.rows - self.rejected.count
    }

    /// Whether no row asks for anything to be changed.
    pub fn only_looks(&self) -> bool {
        self.lanes.keys().all(|lane| lane.does == Does::Plan)
    }

    /// Whether something is to be removed.
    pub fn archives(&self) -> bool {
        self.lanes.keys().any(|lane| lane.does == Does::Archive)
    }

    /// Says what is worth knowing beside the number of jobs, one line each, what may be wrong first.
    pub fn remarks(&self) -> Vec<String> {
        let Self { repeated, left_out, doubts, plain, .. } = self;
        let mut remarks = doubts.clone();
        remarks.extend(plain.iter().map(|(type_id, pairs)| {
            format!(
                "pairs whose types name HUBSPOT_DEFINED {type_id}: {}; if that is the plain association, which a plan shows \
                 without a name, everything between the two records goes, all labels with it",
                Grouped(*pairs)
            )
        }));
        if *repeated > 0 {
            remarks.push(format!("{REPEATED}: {}", Grouped(*repeated)));
        }
        remarks.extend(left_out.in_words());
        if self.unanswered > 0 {
            remarks.push(format!(
                "rows that are sent again although their jobs may be done by now, since their status is UNANSWERED: {}; {} \
                 tells what became of them",
                Grouped(self.unanswered),
                self.outcomes_since()
            ));
        }
        remarks
    }

    /// The command that shows outcomes which came when nobody waited for them any more.
    fn outcomes_since(&self) -> String {
        match (self.group(), self.written_at) {
            (Some(group), _) => format!("`association-archiver outcomes --group {}`", as_one_word(group.as_str())),
            // Some may have been on their way when the file was written.
            (None, Some(at)) => {
                format!(
                    "`association-archiver outcomes --since {:.0}` (a minute before the file was written)",
                    at - 1.minute()
                )
            }
            (None, None) => "`association-archiver outcomes`".to_owned(),
        }
    }

    /// The portals in which something is to be removed, as [`Self::portals`].
    pub fn archived_in(&self) -> impl Iterator<Item = Option<u64>> {
        let archiving = self.lanes.keys().filter(|lane| lane.does == Does::Archive);
        archiving.map(|lane| lane.portal).collect::<BTreeSet<_>>().into_iter()
    }

    /// The group of all jobs that archive, where it is the same one.
    pub fn group(&self) -> Option<&Group> {
        match self.groups.iter().collect::<Vec<_>>()[..] {
            [group] => group.as_ref(),
            _ => None,
        }
    }

    /// The portals that the jobs name; `None` for those that name none.
    pub fn portals(&self) -> impl Iterator<Item = Option<u64>> {
        self.lanes.keys().map(|lane| lane.portal).collect::<BTreeSet<_>>().into_iter()
    }

    /// `56,088 pairs, contacts → companies, portal 4711 (sandbox), about 562 requests, 57s, or longer if
    /// HubSpot allows less`: its limits are known from its answers only.
    pub fn amount(&self, settings: &Settings, introductions: &Introductions) -> String {
        let sum = |of: fn(&Amount) -> u64| self.lanes.values().map(of).sum::<u64>();
        let (pairs, different) = (sum(|amount| amount.pairs), sum(|amount| amount.different_pairs));
        let all_of = sum(|amount| amount.all_of);
        let mut routes: Vec<String> = Vec::new();
        let mut portals: Vec<String> = Vec::new();
        let mut requests = Span::default();
        let mut of_account: BTreeMap<Option<u64>, Span> = BTreeMap::new();
        for (lane, amount) in &self.lanes {
            let route = lane.route();
            let portal = introductions.name(lane.portal, settings);
            if !routes.contains(&route) {
                routes.push(route);
            }
            if !portals.contains(&portal) {
                portals.push(portal);
            }
            let of_lane = Span::of(lane, *amount, settings);
            requests = requests.and(of_lane);
            let account = of_account.entry(lane.portal).or_default();
            *account = account.and(of_lane);
        }
        let longest = |of: fn(&Span) -> Requests| {
            let times = of_account.iter().map(|(portal, span)| time_of(*portal, of(span), settings));
            AsSet(times.max().unwrap_or_default())
        };
        let (least, most) = (longest(|span| span.least), longest(|span| span.most));
        let of_repeated = match pairs - different {
            0 => String::new(),
            repeated => format!(", of them repeated: {}", Grouped(repeated)),
        };
        let of_all = match all_of {
            0 => String::new(),
            1 => " and all associations of 1 record".to_owned(),
            _ => format!(" and all associations of {} records", Grouped(all_of)),
        };
        // How many are found nobody knows.
        requests.is_open |= all_of > 0;
        let time = match requests.is_open || requests.least.sum() == requests.most.sum() {
            true => least.to_string(),
            false => format!("{least} to {most}"),
        };
        let what_for =
            if different < pairs { format!(" for {} different ones", Grouped(different)) } else { String::new() };
        format!(
            "{} {}{of_repeated}{of_all}, {}, {}, {requests}{what_for}, {time}, or longer if HubSpot allows less",
            Grouped(pairs),
            if pairs == 1 { "pair" } else { "pairs" },
            named(&routes),
            named(&portals),
        )
    }
}

impl LaneName {
    /// From where to where, and what becomes of the pairs where that is not their removal as a whole.
    fn route(&self) -> String {
        let Self { does, portal: _, from, to, labels, perhaps_whole } = self;
        let labels = if labels.is_empty() { String::new() } else { labels_in_words(labels) };
        let how = match (does, labels.is_empty()) {
            (Does::Archive, true) => String::new(),
            (Does::Archive, false) if *perhaps_whole => format!(" ({labels}, and with it perhaps everything)"),
            (Does::Archive, false) => format!(" (only {labels})"),
            (Does::Restore, true) => " (restored)".to_owned(),
            (Does::Restore, false) => format!(" (restored: {labels})"),
            (Does::Plan, true) => " (only looked at)".to_owned(),
            (Does::Plan, false) => format!(" (only looked at, and only {labels})"),
        };
        format!("{from} → {to}{how}")
    }
}

/// How many requests are needed, as far as that can be known before: what goes wrong comes on top.
#[derive(Clone, Copy, Default, Debug)]
struct Span {
    least: Requests,
    /// More than the least where pairs may be sent from either side: from which one is found out on the way.
    most: Requests,
    /// It may be more: a record with many associations is shown page by page, what is still shown is read back again, and
    /// looks do not wait until they are full.
    is_open: bool,
}

impl Span {
    fn of(lane: &LaneName, amount: Amount, settings: &Settings) -> Self {
        let most = Requests::of(lane, amount, settings);
        let of_name = |name: &str| ObjectType::parse(name).ok();
        let is_between = |types: &TypePair| {
            of_name(&lane.from).zip(of_name(&lane.to)).is_some_and(|(from, to)| types.is_between(&from, &to))
        };
        let is_folded = settings.batch.fold.iter().any(is_between);
        // A label's type is that of one direction, so labels are removed from their own side.
        let of_labels = lane.does == Does::Archive && !lane.labels.is_empty();
        let least = match is_folded && !of_labels {
            true => Requests::of(lane, Amount { from_records: 1.min(amount.from_records), ..amount }, settings),
            false => most,
        };
        Self { least, most, is_open: most.looks + most.proofs > 0 }
    }

    fn and(self, other: Self) -> Self {
        Self {
            least: self.least.and(other.least),
            most: self.most.and(other.most),
            is_open: self.is_open || other.is_open,
        }
    }
}

/// `about 13 requests`, `at least 16 requests (2 to look before, 1 to read back)`, `2 to 13 requests`.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { least, most, is_open } = *self;
        match least.sum() == most.sum() {
            _ if is_open => write!(f, "at least {least}"),
            true => write!(f, "about {least}"),
            false => write!(f, "{} to {most}", Grouped(least.sum())),
        }
    }
}

/// How many requests are needed if each is as full as it may be.
#[derive(Clone, Copy, Default, Debug)]
struct Requests {
    changes: u64,
    /// Before something is changed, or for a plan.
    looks: u64,
    /// What was removed is read back.
    proofs: u64,
}

impl Requests {
    fn of(lane: &LaneName, amount: Amount, settings: &Settings) -> Self {
        let Amount { pairs: _, different_pairs: pairs, from_records, all_of } = amount;
        let accounts = settings.hubspot.listed();
        let safety = account_of(lane.portal, accounts).map_or(&settings.safety, |account| &account.safety);
        let BatchSettings { max_from, max_pairs, .. } = &settings.batch;
        let of_settings = Caps { from: max_from.get() as usize, pairs: max_pairs.get() as usize };
        let full = |step: Step, records: u64, pairs: u64| {
            let Caps { from, pairs: most } = step.caps(of_settings);
            records.div_ceil(from as u64).max(pairs.div_ceil(most as u64))
        };
        let look_at_all = full(Step::Look(Look::All), all_of, all_of);
        let look = full(Step::Look(Look::Pairs), from_records, pairs);
        let is_whole = lane.labels.is_empty();
        match lane.does {
            Does::Plan => Self { looks: look + look_at_all, ..Self::default() },
            Does::Restore => {
                let step = if is_whole { Step::Associate } else { Step::Create };
                Self { changes: full(step, 0, pairs), looks: look, proofs: 0 }
            }
            Does::Archive => {
                let step = if is_whole { Step::Archive } else { Step::ArchiveLabels };
                // What is found of a record need not be looked at again.
                let looks = look_at_all + if safety.journal.is_on() { look } else { 0 };
                let proofs = if safety.verify { look + look_at_all } else { 0 };
                // How many pairs are found nobody knows.
                Self { changes: full(step, from_records, pairs) + full(step, all_of, all_of), looks, proofs }
            }
        }
    }

    fn and(self, other: Self) -> Self {
        Self {
            changes: self.changes + other.changes,
            looks: self.looks + other.looks,
            proofs: self.proofs + other.proofs,
        }
    }

    fn sum(self) -> u64 {
        self.changes + self.looks + self.proofs
    }
}

/// `13 requests`, `16 requests (2 to look before, 1 to read back)`.
impl fmt::Display for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sum = self.sum();
        write!(f, "{} {}", Grouped(sum), if sum == 1 { "request" } else { "requests" })?;
        let parts = [(self.looks, "to look before"), (self.proofs, "to read back")];
        let parts = parts.into_iter().filter(|(count, _)| *count > 0 && self.changes > 0);
        let parts: Vec<String> = parts.map(|(count, what)| format!("{} {what}", Grouped(count))).collect();
        if parts.is_empty() { Ok(()) } else { write!(f, " ({})", parts.join(", ")) }
    }
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How long these requests take at the account's ceiling, in whole seconds, rounded up; what is read back waits a little
/// before. Where a day's budget does not suffice, in days, each with its budget.
fn time_of(portal: Option<u64>, requests: Requests, settings: &Settings) -> Duration {
    let accounts = settings.hubspot.accounts().unwrap_or_default();
    let account = account_of(portal, accounts).or(accounts.first());
    let RateLimit { requests: ceiling, interval, daily } =
        account.map_or(settings.rate_limit, |account| account.rate_limit);
    let days = daily.map_or(1, |daily| requests.sum().div_ceil(daily.get().into()));
    if days > 1 {
        return DAY.saturating_mul(u32::try_from(days).unwrap_or(u32::MAX));
    }
    let millis = u128::from(requests.sum()) * interval.as_millis() / u128::from(ceiling.get());
    let cooling = if requests.proofs > 0 { WAITS[0] } else { Duration::ZERO };
    Duration::from_secs(u64::try_from(millis.div_ceil(1_000)).unwrap_or(u64::MAX)).saturating_add(cooling)
}

fn labels_in_words(labels: &[(&'static str, u64)]) -> String {
    let words: Vec<String> = labels.iter().map(|(category, id)| format!("{category} {id}")).collect();
    format!("{} {}", if words.len() == 1 { "the label" } else { "the labels" }, named(&words))
}

fn named(names: &[String]) -> String {
    let more = names.len().saturating_sub(MAX_NAMED);
    let mut text = names.iter().take(MAX_NAMED).cloned().collect::<Vec<_>>().join(", ");
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    text
}
