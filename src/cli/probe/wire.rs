//! Requests one after another, slowly, each until it has an answer that can be judged.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::pair::{Between, Direction, Listed};
use super::sightings::Sightings;
use crate::cli::exit::Failure;
use crate::cli::output::remark;
use crate::config::{AccountSettings, Credentials, Settings};
use crate::contract::association::{AssociationType, Extent, Label, LabelCategory, Pair, RecordId};
use crate::contract::ids::{AccountIndex, PortalId};
use crate::contract::refusal::Refusal;
use crate::contract::text::{TEXT_MAX_BYTES, cut};
use crate::engine::command::{IdentityReply, RefreshReply};
use crate::engine::reply::{Answer, Reply};
use crate::engine::verdict::{
    AccountPause, AccountPauseKind, Again, Creation, Judgement, LanePause, LookAsked, PairVerdict, Policy,
    RecordVerdict, RecordView, Throttled, judge, judge_creation, judge_look,
};
use crate::hubspot::bearer::BearerToken;
use crate::hubspot::client::HubspotClient;
use crate::hubspot::credentials::CredentialStore;
use crate::hubspot::identity::identify;
use crate::hubspot::wording::json;

/// Tries of one request that fails for a passing reason, and the first wait between two; it doubles.
const MOST_TRIES: u32 = 6;
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// Answers 429 to one request, and the wait after one that names none: HubSpot's interval.
const MOST_THROTTLES: u32 = 12;
const THROTTLED_WAIT: Duration = Duration::from_secs(10);
/// Longest wait that HubSpot may ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(120);
/// Most pages of one record: with more associations it is no record to probe with.
const MOST_PAGES: usize = 5;

/// The way to HubSpot for one account.
#[derive(Debug)]
pub struct Wire {
    client: HubspotClient,
    store: CredentialStore,
    account: AccountIndex,
    portal_in_settings: Option<PortalId>,
    renewable: bool,
    gap: Duration,
    stop: CancellationToken,
    next: Instant,
    requests: u32,
    changed: Option<Instant>,
    sightings: Sightings,
}

/// Why it goes no further.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Broken {
    /// A signal asked for the end.
    Stopped,
    Failed(String),
}

impl Broken {
    pub fn words(&self) -> &str {
        match self {
            Self::Stopped => "stopped by a signal",
            Self::Failed(why) => why,
        }
    }
}

/// What became of a change that HubSpot answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Took {
    /// With this status, and whether there was a body.
    Done {
        status: u16,
        body: bool,
    },
    Refused(Arc<Refusal>),
}

/// A change to the pair.
#[derive(Clone, Copy, Debug)]
pub enum Change<'a> {
    Remove(&'a Extent),
    /// These types in place of those it has.
    Create(&'a [Label]),
    CreateDefault,
}

/// What to do after a reply.
enum AfterReply<T> {
    Take(T),
    /// Again after this wait.
    Again {
        wait: Duration,
        refusal: Arc<Refusal>,
    },
    Throttled {
        wait: Duration,
        refusal: Arc<Refusal>,
    },
    Renew(Arc<Refusal>),
    GiveUp(Arc<Refusal>),
}

impl Wire {
    /// Only with a token of this portal: to change something in another one is the worst that can happen.
    pub async fn open(settings: &Settings, portal: PortalId, stop: CancellationToken) -> Result<Self, Failure> {
        let accounts = settings.hubspot.accounts()?;
        let (index, account) = chosen(accounts, portal)?;
        let client = HubspotClient::new(&settings.hubspot)?;
        let store = CredentialStore::new(accounts)?;
        let renewable = match &account.credentials {
            Credentials::OAuth(_) => true,
            Credentials::AccessToken(_) => false,
        };
        let gap = account.rate_limit.interval * 2 / account.rate_limit.requests.get();
        let (requests, changed, sightings) = (0, None, Sightings::default());
        let (next, portal_in_settings) = (Instant::now(), account.portal_id);
        let mut wire = Self {
            client,
            store,
            account: index,
            portal_in_settings,
            renewable,
            gap,
            stop,
            next,
            requests,
            changed,
            sightings,
        };
        if renewable {
            wire.renew().await.map_err(Failure::Running)?;
        }
        wire.identify(portal, account).await?;
        Ok(wire)
    }

    /// `None` where the only account is configured without one.
    pub fn portal_in_settings(&self) -> Option<PortalId> {
        self.portal_in_settings
    }

    /// Requests so far, tries that failed included.
    pub fn requests(&self) -> u32 {
        self.requests
    }

    pub fn sightings(&self) -> &Sightings {
        &self.sightings
    }

    /// When the last request left that may have changed something.
    pub fn changed(&self) -> Option<Instant> {
        self.changed
    }

    /// From now on it goes on whatever the signals say: what is begun is put back.
    pub fn go_to_the_end(&mut self) {
        self.stop = CancellationToken::new();
    }

    /// Waits, unless it is to stop.
    pub async fn wait(&self, wait: Duration) -> Result<(), Broken> {
        self.wait_until(Instant::now() + wait).await
    }

    async fn wait_until(&self, when: Instant) -> Result<(), Broken> {
        self.stop.run_until_cancelled(sleep_until(when)).await.ok_or(Broken::Stopped)
    }

    /// All that one of the two records is associated with at the other's type.
    pub async fn read(&mut self, between: &Between, direction: Direction) -> Result<Listed, Broken> {
        let from = between.pair(direction).from;
        let mut listed = Listed::default();
        let mut asked = LookAsked { from, after: None };
        for _ in 0..MOST_PAGES {
            let view = self.page(between, direction, &asked).await?;
            listed.0.extend(view.found.into_iter().map(|found| (found.to, found.types)));
            match view.next {
                None => return Ok(listed),
                after @ Some(_) => asked.after = after,
            }
        }
        let many = listed.0.len();
        Err(Broken::Failed(format!("record {from} has more than {many} associations: choose one with fewer")))
    }

    async fn page(&mut self, between: &Between, direction: Direction, asked: &LookAsked) -> Result<RecordView, Broken> {
        let records: [(RecordId, Option<&str>); 1] = [(asked.from, asked.after.as_deref())];
        let read = async |client: &HubspotClient, token: &BearerToken| {
            client.read(between.lane(direction), &records, token).await
        };
        self.until_judged(read, |reply, sightings| {
            if let Reply::Answer(answer) = reply {
                sightings.note_page(answer);
            }
            seen(judge_look(reply, std::slice::from_ref(asked)))
        })
        .await
    }

    /// Changes the pair, seen from `direction`.
    pub async fn change(
        &mut self,
        between: &Between,
        direction: Direction,
        change: Change<'_>,
    ) -> Result<Took, Broken> {
        let pairs: [Pair; 1] = [between.pair(direction)];
        let [pair] = pairs;
        let lane = between.lane(direction);
        let send = async |client: &HubspotClient, token: &BearerToken| match change {
            Change::Remove(extent) => client.remove(lane, extent, &pairs, token).await,
            Change::Create(labels) => client.create(lane, &[(pair, labels)], token).await,
            Change::CreateDefault => client.create_default(lane, &pairs, token).await,
        };
        self.changed = Some(Instant::now());
        let took = self
            .until_judged(send, |reply, _| {
                taken(
                    reply,
                    match change {
                        Change::Remove(_) => judge(reply, &pairs),
                        Change::Create(_) => judge_creation(reply, &pairs, Creation::Types),
                        Change::CreateDefault => judge_creation(reply, &pairs, Creation::Default),
                    },
                )
            })
            .await;
        self.changed = Some(Instant::now());
        took
    }

    /// The labels of users that there are between the two types; `None` where HubSpot does not say.
    pub async fn labels(&mut self, between: &Between) -> Result<Option<Vec<AssociationType>>, Broken> {
        let ask = async |client: &HubspotClient, token: &BearerToken| {
            client.labels(between.lane(Direction::There), token).await
        };
        let reply = self.ask(&ask).await?;
        Ok(match reply {
            Reply::Answer(answer) if answer.status == 200 => labels(&answer),
            Reply::Answer(_) | Reply::Silence(_) => None,
        })
    }

    async fn until_judged<T>(
        &mut self,
        ask: impl AsyncFn(&HubspotClient, &BearerToken) -> Reply,
        judge: impl Fn(&Reply, &mut Sightings) -> AfterReply<T>,
    ) -> Result<T, Broken> {
        let (mut tries, mut throttles, mut renewed) = (0, 0, false);
        loop {
            let reply = self.ask(&ask).await?;
            let gave_up = |refusal: &Refusal| Broken::Failed(refusal.message.to_string());
            match judge(&reply, &mut self.sightings) {
                AfterReply::Take(taken) => return Ok(taken),
                AfterReply::Again { wait, refusal } => {
                    tries += 1;
                    if tries == MOST_TRIES || wait > LONGEST_WAIT {
                        return Err(gave_up(&refusal));
                    }
                    self.wait(wait.max(FIRST_WAIT * 2_u32.pow(tries - 1))).await?;
                }
                AfterReply::Throttled { wait, refusal } => {
                    throttles += 1;
                    if throttles == MOST_THROTTLES || wait > LONGEST_WAIT {
                        return Err(gave_up(&refusal));
                    }
                    self.wait(wait).await?;
                }
                AfterReply::Renew(_) if self.renewable && !renewed => {
                    renewed = true;
                    self.renew().await.map_err(Broken::Failed)?;
                }
                AfterReply::Renew(refusal) | AfterReply::GiveUp(refusal) => return Err(gave_up(&refusal)),
            }
        }
    }

    /// One request, at its time. Once sent it is waited for: what it did must be known.
    async fn ask(&mut self, ask: &impl AsyncFn(&HubspotClient, &BearerToken) -> Reply) -> Result<Reply, Broken> {
        if self.stop.is_cancelled() {
            return Err(Broken::Stopped);
        }
        self.wait_until(self.next).await?;
        let no_token = || Broken::Failed("the account has no access token: mend its credentials".to_owned());
        let token = self.store.token(self.account).ok_or_else(no_token)?;
        self.requests += 1;
        let reply = ask(&self.client, &token).await;
        self.next = Instant::now() + self.gap;
        if let Reply::Answer(answer) = &reply {
            self.sightings.note(answer);
        }
        Ok(reply)
    }

    async fn renew(&mut self) -> Result<(), String> {
        let refreshed = self.store.refresh(&self.client, self.account).await;
        if let Some(warning) = refreshed.warning {
            remark(&format!("warning: {warning}"));
        }
        match refreshed.reply {
            RefreshReply::Granted { .. } => Ok(()),
            RefreshReply::Refused { detail } | RefreshReply::Failed { detail, .. } => {
                Err(format!("the account has no access token: {detail}"))
            }
        }
    }

    async fn identify(&mut self, portal: PortalId, account: &AccountSettings) -> Result<(), Failure> {
        let Some(token) = self.store.token(self.account) else {
            return Err(Failure::Running("the account has no access token: mend its credentials".to_owned()));
        };
        self.requests += 1;
        match identify(&self.client, &token).await {
            IdentityReply::Told { portal: told, .. } if told == portal.0 => Ok(()),
            IdentityReply::Told { portal: told, .. } => Err(Failure::Running(format!(
                "the token is of portal {told}, not of {portal}: nothing was changed; use a token of portal {portal}"
            ))),
            IdentityReply::WillNotTell { detail } if account.portal_id == Some(portal) => {
                remark(&format!("HubSpot does not tell whose the token is: {detail}"));
                Ok(())
            }
            IdentityReply::WillNotTell { detail } | IdentityReply::Failed { detail, .. } => {
                Err(Failure::Running(format!("it could not be told whose the token is: {detail}; nothing was changed")))
            }
        }
    }
}

fn chosen(accounts: &[AccountSettings], portal: PortalId) -> Result<(AccountIndex, &AccountSettings), Failure> {
    let numbered = || (0..).map(AccountIndex).zip(accounts);
    let named = numbered().find(|(_, account)| account.portal_id == Some(portal));
    let only = numbered().find(|(_, account)| account.portal_id.is_none());
    named.or(only).ok_or_else(|| {
        Failure::Usage(format!("portal {portal} is not in the settings: name one of [[hubspot.accounts]]"))
    })
}

/// The view of the only record that was asked for.
fn seen(judged: Result<Vec<RecordVerdict>, Judgement>) -> AfterReply<RecordView> {
    let verdict = match judged {
        Ok(verdicts) => verdicts.into_iter().next(),
        Err(Judgement::Archived | Judgement::Each(_)) => None,
        Err(Judgement::Suspect(refusal) | Judgement::LaneRefused(refusal)) => return AfterReply::GiveUp(refusal),
        Err(Judgement::Again(again)) => return repeat(&again),
        Err(Judgement::Throttled(throttled)) => return throttle(throttled),
        Err(Judgement::PauseLane(LanePause { kind: _, refusal })) => return AfterReply::GiveUp(refusal),
        Err(Judgement::PauseAccount(pause)) => return paused(pause),
    };
    match verdict {
        Some(RecordVerdict::Seen(view)) => AfterReply::Take(view),
        Some(RecordVerdict::Again(again)) => repeat(&again),
        Some(RecordVerdict::Refused(refusal) | RecordVerdict::Suspect(refusal)) => AfterReply::GiveUp(refusal),
        Some(RecordVerdict::Untouched) | None => AfterReply::GiveUp(unexpected()),
    }
}

/// What became of the only pair that was to be changed.
fn taken(reply: &Reply, judgement: Judgement) -> AfterReply<Took> {
    let done = || match reply {
        Reply::Answer(answer) => Took::Done { status: answer.status, body: json(answer).is_some() },
        Reply::Silence(_) => Took::Refused(unexpected()),
    };
    let verdict = match judgement {
        Judgement::Archived => return AfterReply::Take(done()),
        Judgement::Each(verdicts) => verdicts.into_iter().next(),
        Judgement::Suspect(refusal) | Judgement::LaneRefused(refusal) => {
            return AfterReply::Take(Took::Refused(refusal));
        }
        Judgement::Again(again) => return repeat(&again),
        Judgement::Throttled(throttled) => return throttle(throttled),
        Judgement::PauseLane(LanePause { kind: _, refusal }) => return AfterReply::GiveUp(refusal),
        Judgement::PauseAccount(pause) => return paused(pause),
    };
    match verdict {
        Some(PairVerdict::Archived) => AfterReply::Take(done()),
        Some(PairVerdict::Refused(refusal) | PairVerdict::Suspect(refusal)) => AfterReply::Take(Took::Refused(refusal)),
        Some(PairVerdict::Again(again)) => repeat(&again),
        Some(PairVerdict::Untouched) | None => AfterReply::GiveUp(unexpected()),
    }
}

fn repeat<T>(again: &Again) -> AfterReply<T> {
    AfterReply::Again { wait: again.least_wait(Timestamp::now()), refusal: Arc::clone(&again.refusal) }
}

fn throttle<T>(throttled: Throttled) -> AfterReply<T> {
    let Throttled { policy, retry_after, refusal } = throttled;
    match policy {
        Policy::Daily => AfterReply::GiveUp(refusal),
        Policy::TenSecondly | Policy::Secondly | Policy::Unknown => {
            let wait = retry_after.map_or(THROTTLED_WAIT, |after| after.wait(Timestamp::now()));
            AfterReply::Throttled { wait, refusal }
        }
    }
}

fn paused<T>(AccountPause { kind, refusal }: AccountPause) -> AfterReply<T> {
    match kind {
        AccountPauseKind::TokenExpired | AccountPauseKind::TokenInvalid | AccountPauseKind::TokenRefused => {
            AfterReply::Renew(refusal)
        }
        AccountPauseKind::ProxyRefused | AccountPauseKind::Moving(_) => AfterReply::GiveUp(refusal),
    }
}

/// A judgement that a request for one pair or record never has.
fn unexpected() -> Arc<Refusal> {
    let category = crate::contract::refusal::WorkerCategory::Unattributed;
    Arc::new(Refusal::worker(category, "HubSpot's answer says nothing of the only thing it was asked for"))
}

fn labels(answer: &Answer) -> Option<Vec<AssociationType>> {
    let body = json(answer)?;
    let types = body.get("results")?.as_array()?.iter().filter_map(|value| {
        let name = value.get("label")?.as_str().filter(|name| !name.is_empty())?;
        let is_of_users = value.get("category")?.as_str()? == LabelCategory::UserDefined.as_str();
        let type_id = value.get("typeId")?.as_u64()?.try_into().ok()?;
        let label = Label { category: LabelCategory::UserDefined, type_id };
        is_of_users.then(|| AssociationType { label, name: Some(cut(name, TEXT_MAX_BYTES).into()) })
    });
    Some(types.collect())
}
