//! Which associations exist in an account, with their types in either direction, and what was archived.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use hashbrown::{HashMap, HashSet};

use crate::definition::{Creation, Definition, Definitions, End, Role};
use crate::echo::Echoes;
pub use crate::label::{Label, LabelCategory};
use crate::label_set::LabelSetId;
use crate::links::Links;
use crate::object_type::Lane;
use crate::other_app::{Link, OtherApp, Returning};

/// The associations of one account.
#[derive(Debug)]
pub struct Associations {
    pub existing: Existing,
    /// Keeps a count for each archived pair. Where it is off, an account in which everything exists takes no memory for
    /// its pairs.
    pub recording: bool,
    /// Whatever is done from A to B is done from B to A as well. HubSpot says so; one portal was seen where it is not.
    pub mirrored: bool,
    pub definitions: Definitions,
    /// For how long reads still show what was removed.
    pub read_lag: Duration,
    pub other_app: Option<OtherApp>,
    echoes: Echoes,
    returning: Returning,
    now: Duration,
    archived: Records,
    removed_labels: BTreeMap<(Lane, u64, u64, Label), u64>,
    totals: Totals,
}

/// What is there to be archived.
#[derive(Debug)]
pub enum Existing {
    /// Whatever is asked for, until it was archived (which is remembered only while recording). It cannot be listed.
    Everything,
    /// These and no others.
    Only(Links),
}

/// What became of one pair of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Removed {
    Archived,
    /// There was nothing between the two records.
    WasNotThere,
}

/// Sums over all lanes; `distinct` and `repeated` count pairs and stay 0 while recording is off.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Totals {
    pub archived: u64,
    pub distinct: u64,
    /// Pairs archived more than once.
    pub repeated: u64,
    pub labels_removed: u64,
    /// Pairs that `batch/create` and `batch/associate/default` made or changed.
    pub created: u64,
    /// Pairs that another app made again.
    pub returned: u64,
}

#[derive(Clone, Copy, Default, Debug)]
struct Archived {
    times: u32,
    /// False again once the pair was created anew.
    gone: bool,
}

impl Default for Associations {
    /// Everything exists, and what is archived is recorded.
    fn default() -> Self {
        Self {
            existing: Existing::Everything,
            recording: true,
            mirrored: true,
            definitions: Definitions::default(),
            read_lag: Duration::ZERO,
            other_app: None,
            echoes: Echoes::default(),
            returning: Returning::default(),
            now: Duration::ZERO,
            archived: HashMap::new(),
            removed_labels: BTreeMap::new(),
            totals: Totals::default(),
        }
    }
}

/// What labels do to those that a pair has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Given {
    Beside,
    /// In their place, as those of `batch/create`.
    Instead,
}

/// Labels to be given to pairs of a lane.
struct Gift {
    lane: Lane,
    reversed: Lane,
    there: Vec<Label>,
    back: Vec<Label>,
    primary: Vec<Definition>,
}

impl Associations {
    /// Nothing exists until it is [created](Self::create).
    pub fn none() -> Self {
        Self { existing: Existing::Only(Links::default()), ..Self::default() }
    }

    /// It is now this time: what another app is to make again by now, it makes.
    pub fn advance(&mut self, now: Duration) {
        self.now = now;
        self.echoes.expire(now);
        while let Some(Link { lane, from, to, labels }) = self.returning.next_due(now) {
            self.create(&lane, from, to, &labels);
            self.totals.returned += 1;
        }
    }

    /// Makes the association exist, with these labels added (none: the plain association). A label without a
    /// definition gets one, in which it has the same number at both ends.
    pub fn create(&mut self, lane: &Lane, from: u64, to: u64, labels: &[Label]) {
        self.create_all(lane, labels, [(from, to)].into_iter());
    }

    /// As [`Self::create`], for many pairs.
    pub fn create_all(&mut self, lane: &Lane, labels: &[Label], pairs: impl Iterator<Item = (u64, u64)>) {
        let gift = self.gift(lane, labels);
        pairs.for_each(|(from, to)| self.give(&gift, from, to, Given::Beside));
    }

    /// As `batch/create` and `batch/associate/default` do.
    pub(crate) fn create_counted(&mut self, lane: &Lane, from: u64, to: u64, labels: &[Label], given: Given) {
        self.totals.created += 1;
        let gift = self.gift(lane, labels);
        self.give(&gift, from, to, given);
    }

    fn gift(&mut self, lane: &Lane, labels: &[Label]) -> Gift {
        let mut definitions: Vec<Definition> = labels.iter().map(|&label| self.defined(lane, label)).collect();
        definitions.push(self.definitions.plain(lane));
        let there = definitions.iter().map(|definition| definition.label).collect();
        let back = definitions.iter().map(|definition| definition.inverse).collect();
        definitions.retain(|definition| matches!(definition.role, Role::Primary(_)));
        Gift { lane: lane.clone(), reversed: lane.reversed(), there, back, primary: definitions }
    }

    fn give(&mut self, gift: &Gift, from: u64, to: u64, given: Given) {
        let Gift { lane, reversed, there, back, primary } = gift;
        for definition in primary {
            self.take_primary_elsewhere(lane, from, to, definition);
        }
        let mirrored = self.mirrored;
        match &mut self.existing {
            Existing::Everything => {
                let archived = self.archived.get_mut(lane).and_then(|pairs| pairs.get_mut(&(from, to)));
                if let Some(archived) = archived {
                    archived.gone = false;
                }
            }
            Existing::Only(links) => {
                put(links, &mut self.echoes, lane, (from, to), there, given);
                if mirrored {
                    put(links, &mut self.echoes, reversed, (to, from), back, given);
                }
            }
        }
    }

    fn defined(&mut self, lane: &Lane, label: Label) -> Definition {
        if let Some(definition) = self.definitions.find(lane, label) {
            return definition;
        }
        let name = format!("Label {}", label.type_id);
        self.definitions.define(lane, label, &name, (label, &name), Creation::Open);
        let role = Role::Named;
        Definition { label, name: Some(name.into()), inverse: label, role, creation: Creation::Open }
    }

    /// The record at the other end that has this one's Primary label now, if it is not the one of this pair.
    pub(crate) fn primary_elsewhere(&self, lane: &Lane, from: u64, to: u64, label: Label) -> Option<u64> {
        let definition = self.definitions.find(lane, label)?;
        let Role::Primary(end) = definition.role else { return None };
        let (lane, from, to, label) = match end {
            End::From => (lane.clone(), from, to, label),
            End::To => (lane.reversed(), to, from, definition.inverse),
        };
        let Existing::Only(links) = &self.existing else { return None };
        let mut holders = links.of(&lane, from, None).filter(|&(_, labels)| links.labels_of(labels).contains(&label));
        holders.find(|&(holder, _)| holder != to).map(|(holder, _)| holder)
    }

    fn take_primary_elsewhere(&mut self, lane: &Lane, from: u64, to: u64, definition: &Definition) {
        let Some(holder) = self.primary_elsewhere(lane, from, to, definition.label) else { return };
        let (from, to) = match definition.role {
            Role::Primary(End::From) => (from, holder),
            Role::Primary(End::To) => (holder, to),
            Role::Plain | Role::Named => return,
        };
        self.take_labels(lane, from, to, std::slice::from_ref(definition));
    }

    pub fn exists(&self, lane: &Lane, from: u64, to: u64) -> bool {
        match &self.existing {
            Existing::Everything => !self.record(lane, from, to).gone,
            Existing::Only(links) => links.get(lane, from, to).is_some(),
        }
    }

    /// The `to` records of `from` with their labels, as they are and not as reads show them. Where everything exists
    /// nothing can be listed: empty.
    pub fn of(&self, lane: &Lane, from: u64) -> BTreeMap<u64, BTreeSet<Label>> {
        let Existing::Only(links) = &self.existing else { return BTreeMap::new() };
        links.of(lane, from, None).map(|(to, labels)| (to, links.labels_of(labels).iter().copied().collect())).collect()
    }

    /// The `to` records of `from` with their labels as a read shows them, in order, from behind `after` on.
    pub fn shown(&self, lane: &Lane, from: u64, after: Option<u64>) -> impl Iterator<Item = (u64, &[Label])> {
        let links = match &self.existing {
            Existing::Everything => None,
            Existing::Only(links) => Some(links),
        };
        let mut there = links.map(|links| links.of(lane, from, after)).into_iter().flatten().peekable();
        let mut gone = self.echoes.of(lane, from, after, self.now).peekable();
        std::iter::from_fn(move || {
            let (to, labels) = match (there.peek(), gone.peek()) {
                (Some((is, _)), Some((was, _))) if was <= is => {
                    there.next_if(|(is, _)| is == was);
                    gone.next()?
                }
                (None, Some(_)) => gone.next()?,
                (Some(_), Some(_) | None) | (None, None) => there.next()?,
            };
            Some((to, links?.labels_of(labels)))
        })
    }

    /// Removes every association type between each pair; `seen` is told what became of each `to`, in order.
    pub fn archive(&mut self, lane: &Lane, from: u64, tos: &[u64], mut seen: impl FnMut(u64, Removed)) {
        if self.recording && !self.archived.contains_key(lane) {
            self.archived.insert(lane.clone(), HashMap::new());
        }
        let (existing, mut aftermath, archived, totals) = self.split();
        let mut records = archived.and_then(|archived| archived.get_mut(lane));
        let reversed = lane.reversed();
        for &to in tos {
            let record = records.as_mut().map(|pairs| pairs.entry((from, to)).or_default());
            let was_there = match existing {
                Existing::Everything => {
                    let was_there = record.as_ref().is_none_or(|record| !record.gone);
                    if was_there {
                        aftermath.noted(lane, from, to, Vec::new);
                    }
                    was_there
                }
                Existing::Only(links) => aftermath.drop_link(links, lane, &reversed, from, to),
            };
            totals.archived += 1;
            if let Some(record) = record {
                totals.distinct += u64::from(record.times == 0);
                totals.repeated += u64::from(record.times == 1);
                record.times = record.times.saturating_add(1);
                record.gone = true;
            }
            seen(to, if was_there { Removed::Archived } else { Removed::WasNotThere });
        }
    }

    /// Removes labels of one pair; the pair stays associated unless the plain type is among them.
    pub fn remove_labels(&mut self, lane: &Lane, from: u64, to: u64, labels: &[Label]) -> Removed {
        self.totals.labels_removed += labels.len() as u64;
        if self.recording {
            for &label in labels {
                *self.removed_labels.entry((lane.clone(), from, to, label)).or_default() += 1;
            }
        }
        let definitions: Vec<_> = labels.iter().filter_map(|&label| self.definitions.find(lane, label)).collect();
        let whole = definitions.iter().any(|definition| definition.role == Role::Plain);
        let was_there = if whole {
            let (existing, mut aftermath, ..) = self.split();
            match existing {
                Existing::Everything => true,
                Existing::Only(links) => aftermath.drop_link(links, lane, &lane.reversed(), from, to),
            }
        } else {
            self.take_labels(lane, from, to, &definitions)
        };
        if was_there { Removed::Archived } else { Removed::WasNotThere }
    }

    /// True if the pair had one of them.
    fn take_labels(&mut self, lane: &Lane, from: u64, to: u64, definitions: &[Definition]) -> bool {
        let (existing, mut aftermath, ..) = self.split();
        let Existing::Only(links) = existing else { return true };
        let labels: Vec<Label> = definitions.iter().map(|definition| definition.label).collect();
        let had_one = aftermath.drop_labels(links, lane, from, to, &labels);
        if aftermath.mirrored {
            let inverse: Vec<Label> = definitions.iter().map(|definition| definition.inverse).collect();
            aftermath.drop_labels(links, &lane.reversed(), to, from, &inverse);
        }
        had_one
    }

    /// Takes away every label with a name that users made but for these, and takes it from every pair.
    pub fn keep_labels(&mut self, kept: &HashSet<(Lane, Label)>) {
        for (lane, label) in self.definitions.keep_labels(kept) {
            if let Existing::Only(links) = &mut self.existing {
                links.strip(&lane, label);
            }
        }
    }

    /// Pairs, each counted in both of its directions; `None` where everything exists.
    pub fn count(&self) -> Option<u64> {
        match &self.existing {
            Existing::Everything => None,
            Existing::Only(links) => Some(links.len() as u64),
        }
    }

    /// How often the pair was archived while recording was on.
    pub fn times_archived(&self, lane: &Lane, from: u64, to: u64) -> u32 {
        self.record(lane, from, to).times
    }

    /// How often the label was removed from the pair while recording was on.
    pub fn times_label_removed(&self, lane: &Lane, from: u64, to: u64, label: Label) -> u64 {
        self.removed_labels.get(&(lane.clone(), from, to, label)).copied().unwrap_or(0)
    }

    /// Archived pairs of a lane with their counts, sorted by `from`, then `to`.
    pub fn archived(&self, lane: &Lane) -> Vec<(u64, u64, u32)> {
        let pairs = self.archived.get(lane).into_iter().flatten();
        let mut sorted: Vec<_> = pairs.map(|(&(from, to), record)| (from, to, record.times)).collect();
        sorted.sort_unstable();
        sorted
    }

    /// The first `most` pairs that were archived more than once, with their counts, sorted.
    pub fn repeated(&self, most: usize) -> Vec<(&Lane, u64, u64, u32)> {
        let all = self.archived.iter().flat_map(|(lane, pairs)| pairs.iter().map(move |pair| (lane, pair)));
        let more_than_once = all.filter(|(_, (_, record))| record.times > 1);
        let mut sorted: Vec<_> =
            more_than_once.map(|(lane, (&(from, to), record))| (lane, from, to, record.times)).collect();
        sorted.sort_unstable();
        sorted.truncate(most);
        sorted
    }

    pub fn totals(&self) -> Totals {
        self.totals
    }

    fn record(&self, lane: &Lane, from: u64, to: u64) -> Archived {
        self.archived.get(lane).and_then(|pairs| pairs.get(&(from, to))).copied().unwrap_or_default()
    }

    fn split(&mut self) -> (&mut Existing, Aftermath<'_>, Option<&mut Records>, &mut Totals) {
        let aftermath = Aftermath {
            mirrored: self.mirrored,
            lag: self.read_lag,
            now: self.now,
            other_app: self.other_app.as_ref(),
            echoes: &mut self.echoes,
            returning: &mut self.returning,
        };
        let archived = self.recording.then_some(&mut self.archived);
        (&mut self.existing, aftermath, archived, &mut self.totals)
    }
}

fn put(links: &mut Links, echoes: &mut Echoes, lane: &Lane, (from, to): (u64, u64), labels: &[Label], given: Given) {
    let mut labels = labels.to_vec();
    match given {
        Given::Beside => labels.extend(links.labels(lane, from, to)),
        Given::Instead => {}
    }
    let labels = links.set_id(labels);
    links.put(lane, from, to, labels);
    echoes.drop_pair(lane, from, to);
}

type Records = HashMap<Lane, HashMap<(u64, u64), Archived>>;

/// What a removal brings with it.
struct Aftermath<'a> {
    mirrored: bool,
    lag: Duration,
    now: Duration,
    other_app: Option<&'a OtherApp>,
    echoes: &'a mut Echoes,
    returning: &'a mut Returning,
}

impl Aftermath<'_> {
    /// Removes the pair; true if it was there.
    fn drop_link(&mut self, links: &mut Links, lane: &Lane, reversed: &Lane, from: u64, to: u64) -> bool {
        if self.mirrored
            && let Some(labels) = links.remove(reversed, to, from)
        {
            self.echo(reversed, to, from, labels);
        }
        let Some(labels) = links.remove(lane, from, to) else { return false };
        self.echo(lane, from, to, labels);
        self.noted(lane, from, to, || links.labels_of(labels).to_vec());
        true
    }

    /// Removes labels in this direction alone; true if the pair had one of them.
    fn drop_labels(&mut self, links: &mut Links, lane: &Lane, from: u64, to: u64, labels: &[Label]) -> bool {
        let Some(before) = links.get(lane, from, to) else { return false };
        let (gone, rest): (Vec<Label>, Vec<Label>) =
            links.labels_of(before).iter().partition(|label| labels.contains(label));
        if gone.is_empty() {
            return false;
        }
        let rest = links.set_id(rest);
        links.put(lane, from, to, rest);
        self.echo(lane, from, to, before);
        true
    }

    fn echo(&mut self, lane: &Lane, from: u64, to: u64, labels: LabelSetId) {
        if !self.lag.is_zero() {
            self.echoes.keep(lane, from, to, labels, self.now + self.lag);
        }
    }

    fn noted(&mut self, lane: &Lane, from: u64, to: u64, labels: impl FnOnce() -> Vec<Label>) {
        if let Some(app) = self.other_app {
            let link = Link { lane: lane.clone(), from, to, labels: labels() };
            self.returning.note(app, link, self.now);
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used)]
    use super::*;

    const MANAGER: Label = Label { category: LabelCategory::UserDefined, type_id: 37 };
    const MANAGED: Label = Label { category: LabelCategory::UserDefined, type_id: 38 };
    const PLAIN: Label = Label { category: LabelCategory::HubspotDefined, type_id: 279 };
    const PLAIN_BACK: Label = Label { category: LabelCategory::HubspotDefined, type_id: 280 };
    const PRIMARY: Label = Label { category: LabelCategory::HubspotDefined, type_id: 1 };
    const PRIMARY_BACK: Label = Label { category: LabelCategory::HubspotDefined, type_id: 2 };

    fn lane() -> Lane {
        Lane::parse("contacts", "companies").unwrap()
    }

    /// Nothing exists; [`MANAGER`] and [`MANAGED`] are two ends of one label.
    fn empty() -> Associations {
        let mut world = Associations::none();
        world.definitions.define(&lane(), MANAGER, "Manager", (MANAGED, "Managed by"), Creation::Open);
        world
    }

    fn archive(associations: &mut Associations, from: u64, tos: &[u64]) -> Vec<Removed> {
        let mut seen = Vec::new();
        associations.archive(&lane(), from, tos, |_, removed| seen.push(removed));
        seen
    }

    /// Labels at either end.
    fn labels(world: &Associations, from: u64, to: u64) -> (Vec<Label>, Vec<Label>) {
        let end =
            |lane: &Lane, from, to: u64| world.of(lane, from).remove(&to).unwrap_or_default().into_iter().collect();
        (end(&lane(), from, to), end(&lane().reversed(), to, from))
    }

    fn shown(world: &Associations, from: u64) -> Vec<(u64, usize)> {
        world.shown(&lane(), from, None).map(|(to, labels)| (to, labels.len())).collect()
    }

    #[test]
    fn where_everything_exists_a_pair_is_gone_once_archived() {
        let mut world = Associations::default();
        assert!(world.exists(&lane(), 1, 2));
        assert_eq!(archive(&mut world, 1, &[2, 3]), [Removed::Archived; 2]);
        assert_eq!(archive(&mut world, 1, &[2]), [Removed::WasNotThere]);
        assert!(!world.exists(&lane(), 1, 2) && world.exists(&lane(), 1, 4));
        assert_eq!(world.archived(&lane()), [(1, 2, 2), (1, 3, 1)]);
        assert_eq!(world.totals(), Totals { archived: 3, distinct: 2, repeated: 1, ..Totals::default() });
        assert_eq!(world.repeated(5), [(&lane(), 1, 2, 2)]);
        world.create(&lane(), 1, 2, &[]);
        assert!(world.exists(&lane(), 1, 2));
    }

    #[test]
    fn a_pair_has_its_labels_at_both_ends_and_is_removed_from_both() {
        let mut world = empty();
        world.create(&lane(), 1, 2, &[MANAGER]);
        assert_eq!(labels(&world, 1, 2), (vec![PLAIN, MANAGER], vec![PLAIN_BACK, MANAGED]));
        assert_eq!(archive(&mut world, 1, &[2, 3]), [Removed::Archived, Removed::WasNotThere]);
        assert_eq!((labels(&world, 1, 2), world.count()), ((vec![], vec![]), Some(0)));
    }

    #[test]
    fn what_is_created_from_the_other_end_is_the_same() {
        let mut world = empty();
        world.create(&lane().reversed(), 2, 1, &[MANAGED, PRIMARY_BACK]);
        assert_eq!(labels(&world, 1, 2), (vec![PRIMARY, PLAIN, MANAGER], vec![PRIMARY_BACK, PLAIN_BACK, MANAGED]));
    }

    #[test]
    fn a_one_way_portal_changes_the_end_that_is_named() {
        let mut world = empty();
        world.create(&lane(), 1, 2, &[MANAGER]);
        world.mirrored = false;
        assert_eq!(world.remove_labels(&lane(), 1, 2, &[MANAGER]), Removed::Archived);
        assert_eq!(labels(&world, 1, 2), (vec![PLAIN], vec![PLAIN_BACK, MANAGED]));
        archive(&mut world, 1, &[2]);
        assert_eq!(labels(&world, 1, 2), (vec![], vec![PLAIN_BACK, MANAGED]));
    }

    #[test]
    fn a_label_leaves_the_association_and_the_plain_type_takes_it_away() {
        let mut world = empty();
        world.create(&lane(), 1, 2, &[MANAGER]);
        assert_eq!(world.remove_labels(&lane(), 1, 2, &[MANAGER]), Removed::Archived);
        assert_eq!(world.remove_labels(&lane(), 1, 2, &[MANAGER]), Removed::WasNotThere);
        assert_eq!(labels(&world, 1, 2), (vec![PLAIN], vec![PLAIN_BACK]));
        world.create(&lane(), 1, 2, &[MANAGER]);
        assert_eq!(world.remove_labels(&lane(), 1, 2, &[PLAIN]), Removed::Archived);
        assert_eq!(labels(&world, 1, 2), (vec![], vec![]));
        assert_eq!(world.times_label_removed(&lane(), 1, 2, MANAGER), 2);
    }

    #[test]
    fn labels_are_added_or_take_the_place_of_others() {
        let mut world = empty();
        world.create(&lane(), 1, 2, &[MANAGER]);
        world.create(&lane(), 1, 2, &[PRIMARY]);
        assert_eq!(labels(&world, 1, 2).0, [PRIMARY, PLAIN, MANAGER]);
        world.create_counted(&lane(), 1, 2, &[MANAGER], Given::Instead);
        assert_eq!(labels(&world, 1, 2), (vec![PLAIN, MANAGER], vec![PLAIN_BACK, MANAGED]));
        assert_eq!(world.totals().created, 1);
    }

    #[test]
    fn a_contact_has_one_primary_company_and_a_company_many_contacts() {
        let mut world = empty();
        world.create(&lane(), 1, 2, &[PRIMARY]);
        world.create(&lane(), 5, 2, &[PRIMARY]);
        assert_eq!(world.primary_elsewhere(&lane(), 1, 3, PRIMARY), Some(2));
        assert_eq!(world.primary_elsewhere(&lane(), 1, 2, PRIMARY), None);
        assert_eq!(world.primary_elsewhere(&lane().reversed(), 3, 1, PRIMARY_BACK), Some(2));
        world.create(&lane().reversed(), 3, 1, &[PRIMARY_BACK]);
        assert_eq!(labels(&world, 1, 2), (vec![PLAIN], vec![PLAIN_BACK]));
        assert_eq!(labels(&world, 1, 3).0, [PRIMARY, PLAIN]);
        assert_eq!(labels(&world, 5, 2).0, [PRIMARY, PLAIN]);
    }

    #[test]
    fn reads_show_a_removal_after_the_lag_and_a_creation_at_once() {
        let second = Duration::from_secs(1);
        let mut world = Associations { read_lag: 3 * second, ..empty() };
        world.create(&lane(), 1, 2, &[]);
        world.create(&lane(), 1, 3, &[MANAGER]);
        world.create(&lane(), 1, 4, &[]);
        archive(&mut world, 1, &[2]);
        world.remove_labels(&lane(), 1, 3, &[MANAGER]);
        world.advance(2 * second);
        assert!(!world.exists(&lane(), 1, 2));
        assert_eq!(shown(&world, 1), [(2, 1), (3, 2), (4, 1)]);
        assert_eq!(world.shown(&lane(), 1, Some(2)).count(), 2);
        assert_eq!(world.shown(&lane().reversed(), 2, None).count(), 1);
        world.advance(3 * second);
        assert_eq!(shown(&world, 1), [(3, 1), (4, 1)]);
        archive(&mut world, 1, &[4]);
        world.create(&lane(), 1, 4, &[MANAGER]);
        assert_eq!(shown(&world, 1), [(3, 1), (4, 2)]);
    }

    #[test]
    fn another_app_makes_pairs_again_as_they_were() {
        let second = Duration::from_secs(1);
        let mut world = empty();
        world.other_app = Some(OtherApp { after: second, times: Some(1), records: Some([2].into()) });
        world.create(&lane(), 1, 2, &[MANAGER]);
        world.create(&lane(), 1, 3, &[]);
        archive(&mut world, 1, &[2, 3]);
        world.advance(second / 2);
        assert_eq!(world.count(), Some(0));
        world.advance(second);
        assert_eq!(labels(&world, 1, 2), (vec![PLAIN, MANAGER], vec![PLAIN_BACK, MANAGED]));
        assert_eq!((world.count(), world.totals().returned), (Some(2), 1));
        archive(&mut world, 1, &[2]);
        world.advance(9 * second);
        assert_eq!(world.count(), Some(0), "once is enough");
    }

    #[test]
    fn a_label_that_is_no_longer_defined_leaves_every_pair() {
        let mut world = empty();
        world.create(&lane(), 1, 2, &[MANAGER]);
        world.keep_labels(&HashSet::new());
        assert_eq!(labels(&world, 1, 2), (vec![PLAIN], vec![PLAIN_BACK]));
    }

    #[test]
    fn without_recording_only_the_sum_is_kept() {
        let mut world = Associations { recording: false, ..Associations::default() };
        archive(&mut world, 1, &[2, 2]);
        assert_eq!(world.totals(), Totals { archived: 2, ..Totals::default() });
        assert!(world.archived(&lane()).is_empty());
    }
}
