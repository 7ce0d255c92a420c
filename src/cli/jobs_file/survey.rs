//! A first reading of all rows: whether they are right, and what they ask for.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use hashbrown::HashSet;
use indicatif::HumanCount;

use super::columns::in_columns;
use super::rows::{LeftOut, RowFault, RowJob};
use super::source::Source;
use crate::cli::exit::Failure;
use crate::cli::introductions::Introductions;
use crate::config::{AccountSettings, RateLimit, Settings};
use crate::contract::action::Action;
use crate::contract::association::Extent;
use crate::contract::ids::Group;
use crate::contract::job::{Ask, Job};
use crate::contract::refusal::Refusal;
use crate::worker::accounts::Portals;

/// Lines of each kind that are listed; the others are counted.
const MAX_LISTED: usize = 20;
/// Rows, and records, that are remembered to find equal ones: some 100 MB. What comes after them counts as new.
const MAX_REMEMBERED: usize = 4_000_000;
/// Lanes told apart; all others count as one.
const MAX_LANES: usize = 1_000;
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
    /// Rows that ask for the same as one before them.
    pub repeated: u64,
    /// Rows that the configured accounts must reject; they do not count in what is asked for.
    pub rejected: Faults,
    pub left_out: LeftOut,
    pub last_line: u64,
    lanes: BTreeMap<LaneName, Amount>,
    /// Of the jobs that archive. Two are enough to know that it is not one.
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
    pairs: u64,
    /// Records of the pairs.
    from_records: u64,
    /// Records of which every association is asked for.
    all_of: u64,
}

/// Tells equal rows from new ones.
#[derive(Debug, Default)]
pub struct Repeats {
    hasher: RandomState,
    seen: HashSet<u64>,
}

impl Repeats {
    /// Whether a job asks for the same as one before it, under whatever id.
    pub fn is_repeated(&mut self, job: &Job) -> bool {
        let asks: Vec<_> = job
            .asks
            .iter()
            .map(|Ask { extent, pairs, all_of }| (extent, pairs.as_slice(), all_of.as_slice()))
            .collect();
        self.is_seen(&(job.portal, &job.from_type, &job.to_type, job.action, job.dry_run, asks, job.not_after))
    }

    fn is_seen(&mut self, what: &impl std::hash::Hash) -> bool {
        let hash = self.hasher.hash_one(what);
        if self.seen.len() < MAX_REMEMBERED { !self.seen.insert(hash) } else { self.seen.contains(&hash) }
    }
}

/// The accounts of the settings; `None` where they have none, as on a machine that only sends jobs.
pub fn portals(settings: &Settings) -> Option<Portals> {
    let accounts = &settings.hubspot.accounts().ok()?;
    Some(Portals::new(accounts.iter().map(|account| account.portal_id).collect()))
}

impl Survey {
    /// Reads the rows from `from_line` on whose jobs are wanted.
    pub async fn of(
        source: &mut Source,
        from_line: u64,
        portals: Option<&Portals>,
        wanted: impl Fn(&Job) -> bool,
    ) -> Result<Self, Failure> {
        let mut survey = Self::default();
        let (mut repeats, mut records) = (Repeats::default(), Repeats::default());
        let name = source.name.clone();
        let unusable = |fault: &dyn std::fmt::Display| Failure::Usage(format!("{name} {fault}"));
        let mut rows = source.rows()?;
        while let Some(row) = rows.next().await.map_err(|fault| unusable(&fault))? {
            if row.line < from_line {
                continue;
            }
            match row.job {
                Ok(RowJob { job, .. }) if !wanted(&job) => survey.unwanted += 1,
                Ok(RowJob { job, .. }) => {
                    survey.rows += 1;
                    survey.repeated += u64::from(repeats.is_repeated(&job));
                    match portals.map(|portals| portals.resolve(job.portal)) {
                        Some(Err(Refusal { message, .. })) => {
                            let message = if rows.is_csv() { in_columns(&message) } else { message.into() };
                            let mend = if job.portal.is_none() { "; or give --portal" } else { "" };
                            survey.rejected.note(row.line, format!("{message}{mend}"));
                        }
                        Some(Ok(_)) | None => survey.count(&job, &mut records),
                    }
                }
                Err(RowFault::Encoding(fault)) => {
                    return Err(unusable(&format!("cannot be read: line {} {fault}", row.line)));
                }
                Err(RowFault::Job(malformed)) => survey.bad.note(row.line, malformed.message),
            }
        }
        survey.left_out = rows.left_out();
        survey.last_line = rows.last_line();
        Ok(survey)
    }

    fn count(&mut self, job: &Job, records: &mut Repeats) {
        if Does::of(job) == Does::Archive && self.groups.len() < 2 && !self.groups.contains(&job.group) {
            self.groups.insert(job.group.clone());
        }
        for Ask { extent, pairs, all_of } in &job.asks {
            let labels = match extent {
                Extent::Whole => Vec::new(),
                Extent::Labels(labels) => {
                    labels.iter().map(|label| (label.category.as_str(), label.type_id.get())).collect()
                }
            };
            let (from, to) = (job.from_type.path_segment().to_owned(), job.to_type.path_segment().to_owned());
            let does = Does::of(job);
            let mut lane = LaneName { does, portal: job.portal.map(|portal| portal.0.get()), from, to, labels };
            if self.lanes.len() >= MAX_LANES && !self.lanes.contains_key(&lane) {
                let other = || "other".to_owned();
                lane = LaneName { does, portal: None, from: other(), to: other(), labels: Vec::new() };
            }
            let new_records = pairs.iter().map(|pair| pair.from).collect::<BTreeSet<_>>();
            let new_records = new_records.into_iter().filter(|from| !records.is_seen(&(&lane, from))).count() as u64;
            let amount = self.lanes.entry(lane).or_default();
            amount.pairs += pairs.len() as u64;
            amount.from_records += new_records;
            amount.all_of += all_of.len() as u64;
        }
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

    /// Says what is worth knowing beside the number of jobs, one line each.
    pub fn remarks(&self) -> Vec<String> {
        let Self { repeated, left_out: LeftOut { not_associated, done_before }, .. } = self;
        let mut remarks = Vec::new();
        let mut say = |count: &u64, what: &str| {
            if *count > 0 {
                remarks.push(format!("{what}: {}", HumanCount(*count)));
            }
        };
        say(repeated, "rows that repeat one before them (archiving a pair again does no harm)");
        say(not_associated, "rows left out because no record is associated");
        say(done_before, "rows left out because their status is ARCHIVED or RESTORED");
        remarks
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

    /// `56,088 pairs, contacts → companies, portal 4711 (sandbox), about 562 requests, 57 s`.
    pub fn amount(&self, settings: &Settings, introductions: &Introductions) -> String {
        let pairs: u64 = self.lanes.values().map(|amount| amount.pairs).sum();
        let all_of: u64 = self.lanes.values().map(|amount| amount.all_of).sum();
        let mut routes: Vec<String> = Vec::new();
        let mut portals: Vec<String> = Vec::new();
        let (mut requests, mut longest) = (0, Duration::ZERO);
        let mut of_account: BTreeMap<Option<u64>, u64> = BTreeMap::new();
        for (lane, amount) in &self.lanes {
            let how = match (lane.does, lane.labels.is_empty()) {
                (Does::Archive, true) => String::new(),
                (Does::Archive, false) => format!(" (only {})", labels_in_words(&lane.labels)),
                (Does::Restore, _) => " (restored)".to_owned(),
                (Does::Plan, _) => " (only looked at)".to_owned(),
            };
            let route = format!("{} → {}{how}", lane.from, lane.to);
            let portal = introductions.name(lane.portal, settings);
            if !routes.contains(&route) {
                routes.push(route);
            }
            if !portals.contains(&portal) {
                portals.push(portal);
            }
            let of_lane = requests_of(lane, *amount, settings);
            requests += of_lane;
            *of_account.entry(lane.portal).or_default() += of_lane;
        }
        for (portal, requests) in of_account {
            longest = longest.max(time_of(portal, requests, settings));
        }
        let of_all = match all_of {
            0 => String::new(),
            1 => " and all associations of 1 record".to_owned(),
            _ => format!(" and all associations of {} records", HumanCount(all_of)),
        };
        let about = if all_of > 0 { "at least" } else { "about" };
        format!(
            "{} {}{of_all}, {}, {}, {about} {} {}, {}",
            HumanCount(pairs),
            if pairs == 1 { "pair" } else { "pairs" },
            named(&routes),
            named(&portals),
            HumanCount(requests),
            if requests == 1 { "request" } else { "requests" },
            humantime::format_duration(longest),
        )
    }
}

/// Records that one request can look at, and pairs with labels that one can create: HubSpot's limits.
const RECORDS_OF_A_LOOK: u64 = 1_000;
const PAIRS_OF_A_CREATE: u64 = 2_000;

fn requests_of(lane: &LaneName, amount: Amount, settings: &Settings) -> u64 {
    let (max_from, max_pairs) = (u64::from(settings.batch.max_from.get()), u64::from(settings.batch.max_pairs.get()));
    let looks = (amount.from_records + amount.all_of).div_ceil(RECORDS_OF_A_LOOK);
    match lane.does {
        Does::Plan => looks.max(1),
        Does::Restore if lane.labels.is_empty() => looks + amount.pairs.div_ceil(max_from).max(1),
        Does::Restore => looks + amount.pairs.div_ceil(PAIRS_OF_A_CREATE).max(1),
        Does::Archive => {
            // A removal of labels has an input for each pair.
            let inputs = if lane.labels.is_empty() { amount.from_records } else { amount.pairs };
            let of_pairs = inputs.div_ceil(max_from).max(amount.pairs.div_ceil(max_pairs));
            (of_pairs + amount.all_of.div_ceil(RECORDS_OF_A_LOOK) + amount.all_of.div_ceil(max_from)).max(1)
        }
    }
}

/// How long this many requests take at the account's ceiling, in whole seconds, rounded up.
fn time_of(portal: Option<u64>, requests: u64, settings: &Settings) -> Duration {
    let accounts = settings.hubspot.accounts().unwrap_or_default();
    let is_meant = |account: &&AccountSettings| account.portal_id.map(|portal| portal.0.get()) == portal;
    let account = accounts.iter().find(is_meant).or(accounts.first());
    let RateLimit { requests: ceiling, interval, .. } =
        account.map_or(settings.rate_limit, |account| account.rate_limit);
    let millis = u128::from(requests) * interval.as_millis() / u128::from(ceiling.get());
    Duration::from_secs(u64::try_from(millis.div_ceil(1_000)).unwrap_or(u64::MAX))
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
