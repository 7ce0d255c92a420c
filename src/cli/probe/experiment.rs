//! What is done to the pair, step by step, and what is seen of it.
//!
//! Nothing here puts back what it changed: that is done after it, however it ends.

use std::time::Duration;

use tokio::time::Instant;

use super::facts::{Evidence, Fact, Facts};
use super::pair::{Between, Direction, Seen, is_primary, list, with};
use super::wire::{Broken, Change, Took, Wire};
use crate::contract::association::{AssociationType, Extent, Label};

/// The longest lag that others have seen, and what a request takes.
const KNOWN_LAG: Duration = Duration::from_millis(3_500);
/// Long enough to see what a change that ought to change nothing has done.
const QUIET: Duration = Duration::from_secs(2);

pub struct Experiment<'a> {
    pub wire: &'a mut Wire,
    pub between: &'a Between,
    pub before: &'a Seen,
    pub facts: &'a mut Facts,
    /// Longest wait until a read shows a change.
    pub wait: Duration,
}

/// When a change was first shown in each direction, counted from HubSpot's answer to it.
struct Shown {
    there: Option<Duration>,
    back: Option<Duration>,
    /// By what the pair is associated now, in its own direction.
    types: Option<Vec<AssociationType>>,
}

impl Experiment<'_> {
    pub async fn run(mut self) -> Result<(), Broken> {
        let types = self.associated().await?;
        let base: Vec<Label> = types.iter().map(|one| one.label).collect();
        self.labels(&base).await?;
        self.remove(&types).await?;
        self.remove_again().await?;
        self.create(&base, &types).await
    }

    /// The types by which the pair is associated. A pair that is not associated yet is associated first.
    async fn associated(&mut self) -> Result<Vec<AssociationType>, Broken> {
        for direction in Direction::BOTH {
            if let Some(labels) = self.before.labels(self.between, direction) {
                self.rehearse(direction, &labels).await?;
            }
        }
        let types = match self.before.types(self.between, Direction::There) {
            Some(types) => {
                let seen = "the pair was associated already";
                self.facts.note(Fact::DefaultIsTwoWay, Evidence::NotSeen, seen);
                types.to_vec()
            }
            None => self.make().await?,
        };
        let plain = types.iter().any(|one| one.name.is_none());
        self.facts.check(Fact::PlainIsListed, plain, list(&types));
        Ok(types)
    }

    /// Creates the types that the pair has already. If HubSpot refuses them now, it would refuse them after the
    /// removal, too, and they could not be put back.
    async fn rehearse(&mut self, direction: Direction, labels: &[Label]) -> Result<(), Broken> {
        if let Took::Refused(refusal) = self.wire.change(self.between, direction, Change::Create(labels)).await? {
            return Err(Broken::Failed(format!(
                "HubSpot does not take the types that are there, so that they could not be put back: {}; nothing was \
                 removed",
                refusal.message
            )));
        }
        let now = self.wire.read(self.between, direction).await?;
        if now.with(self.between.pair(direction)) == self.before.of(direction).with(self.between.pair(direction)) {
            return Ok(());
        }
        Err(Broken::Failed("the association changed when it was created as it is; nothing was removed".to_owned()))
    }

    async fn make(&mut self) -> Result<Vec<AssociationType>, Broken> {
        self.must(Change::CreateDefault, "HubSpot refuses to associate the two records").await?;
        let shown = self.watch(|types| types.is_some()).await?;
        self.facts.check(Fact::DefaultIsTwoWay, shown.back.is_some(), both(&shown, self.wait));
        let not_shown = || Broken::Failed(format!("the association that was made is not shown after {:?}", self.wait));
        let types = shown.types.ok_or_else(not_shown)?;
        if types.is_empty() {
            return Err(Broken::Failed("the association that was made is shown without a type".to_owned()));
        }
        Ok(types)
    }

    async fn labels(&mut self, base: &[Label]) -> Result<(), Broken> {
        let known = self.wire.labels(self.between).await?;
        let absent = known.into_iter().flatten().find(|one| !base.contains(&one.label));
        let Some(absent) = absent else {
            for fact in [Fact::AbsentLabel, Fact::CreateReplaces] {
                let seen = "HubSpot names no user-defined label that the pair does not have: make one to see this";
                self.facts.note(fact, Evidence::NotSeen, seen);
            }
            return Ok(());
        };
        let name = absent.name.as_deref().unwrap_or_default().to_owned();
        self.absent_label(&absent, base).await?;
        self.replaced_label(absent.label, &name, base).await
    }

    async fn absent_label(&mut self, absent: &AssociationType, base: &[Label]) -> Result<(), Broken> {
        let extent = Extent::Labels([absent.label].into());
        let took = self.wire.change(self.between, Direction::There, Change::Remove(&extent)).await?;
        self.wire.wait(QUIET.min(self.wait)).await?;
        let now = self.wire.read(self.between, Direction::There).await?;
        let types = now.with(self.between.pair(Direction::There)).and_then(|types| types.as_deref());
        let kept = types.is_some_and(|types| types.iter().map(|one| one.label).eq(base.iter().copied()));
        let harm = if kept { "the types stayed".to_owned() } else { format!("now {}", types.map_or_else(none, list)) };
        let (answered, succeeded) = words(&took);
        self.facts.check(Fact::AbsentLabel, succeeded && kept, format!("{answered}; {harm}"));
        Ok(())
    }

    async fn replaced_label(&mut self, label: Label, name: &str, base: &[Label]) -> Result<(), Broken> {
        let added = with(base, label);
        if let Took::Refused(refusal) = self.wire.change(self.between, Direction::There, Change::Create(&added)).await?
        {
            let seen = format!("HubSpot refuses the label {name}: {}", refusal.message);
            self.facts.note(Fact::CreateReplaces, Evidence::NotSeen, seen);
            return Ok(());
        }
        let has = |types: Option<&[AssociationType]>| types.into_iter().flatten().any(|one| one.label == label);
        let shown = self.watch_there(has).await?;
        if shown.there.is_none() {
            let seen = format!("HubSpot accepted the label {name}, but does not show it after {:?}", self.wait);
            self.facts.note(Fact::CreateReplaces, Evidence::NotSeen, seen);
            return Ok(());
        }
        self.must(Change::Create(base), "HubSpot refuses the types that the pair had").await?;
        let gone = self.watch_there(|types| !has(types)).await?;
        let seen = match gone.there {
            Some(after) => format!("the label {name} is gone after {}", seconds(after)),
            None => format!("the label {name} is still there after {:?}", self.wait),
        };
        self.facts.check(Fact::CreateReplaces, gone.there.is_some(), seen);
        Ok(())
    }

    async fn remove(&mut self, types: &[AssociationType]) -> Result<(), Broken> {
        let took = self.must(Change::Remove(&Extent::Whole), "HubSpot refuses to archive the association").await?;
        let (answered, _) = words(&took);
        let as_documented = matches!(took, Took::Done { status: 204, body: false } | Took::Done { status: 200, .. });
        self.facts.check(Fact::RemovalAnswers, as_documented, answered);
        let shown = self.watch(|types| types.is_none()).await?;
        let seen = match shown.there {
            Some(after) => format!("after {}", seconds(after)),
            None => format!("not within {:?}", self.wait),
        };
        self.facts.check(Fact::RemovalShows, shown.there.is_some_and(|after| after <= KNOWN_LAG), seen);
        self.facts.check(Fact::RemovalIsTwoWay, shown.back.is_some(), both(&shown, self.wait));
        self.primary(types).await
    }

    /// Which other record is the main one now.
    async fn primary(&mut self, types: &[AssociationType]) -> Result<(), Broken> {
        if !types.iter().any(is_primary) {
            self.facts.note(Fact::Primary, Evidence::NotSeen, "the pair was not Primary");
            return Ok(());
        }
        let now = self.wire.read(self.between, Direction::There).await?;
        let holder = |types: &[AssociationType]| types.iter().any(is_primary);
        let mut others = now.0.iter().filter(|(_, types)| types.as_deref().is_some_and(holder)).map(|(to, _)| *to);
        let seen = match (others.next(), now.0.is_empty()) {
            (Some(other), _) => format!("record {other} became Primary"),
            (None, false) => "no other record became Primary".to_owned(),
            (None, true) => "it went, and there was no other record to become Primary".to_owned(),
        };
        self.facts.note(Fact::Primary, Evidence::Measured, seen);
        Ok(())
    }

    async fn remove_again(&mut self) -> Result<(), Broken> {
        let took = self.wire.change(self.between, Direction::There, Change::Remove(&Extent::Whole)).await?;
        let (answered, succeeded) = words(&took);
        self.facts.check(Fact::RepeatedRemoval, succeeded, answered);
        Ok(())
    }

    async fn create(&mut self, base: &[Label], types: &[AssociationType]) -> Result<(), Broken> {
        self.must(Change::Create(base), "HubSpot refuses the types that the pair had").await?;
        let shown = self.watch(|types| types.is_some()).await?;
        self.facts.check(Fact::CreateIsTwoWay, shown.there.is_some() && shown.back.is_some(), both(&shown, self.wait));
        self.directional(types).await
    }

    async fn directional(&mut self, types: &[AssociationType]) -> Result<(), Broken> {
        let back = self.wire.read(self.between, Direction::Back).await?;
        let back = back.with(self.between.pair(Direction::Back)).and_then(|types| types.as_deref());
        let Some(back) = back else {
            self.facts.note(Fact::IdsAreDirectional, Evidence::NotSeen, "nothing is shown from the other end");
            return Ok(());
        };
        let seen = format!("{} and {}", list(types), list(back));
        if self.between.is_within_one_type() {
            self.facts.note(Fact::IdsAreDirectional, Evidence::NotSeen, format!("two records of one type: {seen}"));
        } else {
            let differ = types.iter().all(|one| back.iter().all(|other| other.label != one.label));
            self.facts.check(Fact::IdsAreDirectional, differ, seen);
        }
        Ok(())
    }

    /// A change without which the rest makes no sense.
    async fn must(&mut self, change: Change<'_>, otherwise: &str) -> Result<Took, Broken> {
        match self.wire.change(self.between, Direction::There, change).await? {
            done @ Took::Done { .. } => Ok(done),
            Took::Refused(refusal) => Err(Broken::Failed(format!("{otherwise}: {}", refusal.message))),
        }
    }

    /// Reads in both directions until both are as wanted, or the wait is over.
    async fn watch(&mut self, wanted: impl Fn(Option<&[AssociationType]>) -> bool) -> Result<Shown, Broken> {
        self.watch_in(&Direction::BOTH, wanted).await
    }

    async fn watch_there(&mut self, wanted: impl Fn(Option<&[AssociationType]>) -> bool) -> Result<Shown, Broken> {
        self.watch_in(&[Direction::There], wanted).await
    }

    async fn watch_in(
        &mut self,
        directions: &[Direction],
        wanted: impl Fn(Option<&[AssociationType]>) -> bool,
    ) -> Result<Shown, Broken> {
        let began = self.wire.changed().unwrap_or_else(Instant::now);
        let mut shown = Shown { there: None, back: None, types: None };
        loop {
            for &direction in directions {
                let known = match direction {
                    Direction::There => &mut shown.there,
                    Direction::Back => &mut shown.back,
                };
                if known.is_some() {
                    continue;
                }
                let now = self.wire.read(self.between, direction).await?;
                let types = now.with(self.between.pair(direction)).map(|types| types.as_deref().unwrap_or_default());
                *known = wanted(types).then(|| began.elapsed());
                if direction == Direction::There {
                    shown.types = types.map(<[_]>::to_vec);
                }
            }
            let missing = directions.iter().any(|direction| match direction {
                Direction::There => shown.there.is_none(),
                Direction::Back => shown.back.is_none(),
            });
            if !missing || began.elapsed() >= self.wait {
                return Ok(shown);
            }
        }
    }
}

fn both(shown: &Shown, wait: Duration) -> String {
    match (shown.there, shown.back) {
        (Some(there), Some(back)) => format!("in both, after {} and {}", seconds(there), seconds(back)),
        (Some(there), None) => {
            format!("in its own direction after {}, in the other not within {wait:?}", seconds(there))
        }
        (None, Some(back)) => format!("in its own direction not within {wait:?}, in the other after {}", seconds(back)),
        (None, None) => format!("in neither direction after {wait:?}"),
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

fn none() -> String {
    "not associated".to_owned()
}

/// The answer in words, and whether it is a success.
fn words(took: &Took) -> (String, bool) {
    match took {
        Took::Done { status, body: true } => (format!("{status} with a body"), true),
        Took::Done { status, body: false } => (format!("{status} without a body"), true),
        Took::Refused(refusal) => (format!("refused: {}", refusal.message), false),
    }
}
