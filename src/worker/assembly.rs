//! What the service and the `archive` command have in common: the engine in its loop, and the tasks that run its
//! errands to HubSpot. They differ in what is at the other ends of the loop's channels.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::sync::watch::Sender;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::accounts::Portals;
use super::calls::{self, Calls};
use super::policy;
use super::policy_loop::{Ends, PolicyLoop};
use super::recorder::JournalEnds;
use super::seams::{Arrival, Clock, Departure, Order, Watcher};
use super::wall_clock::WallClock;
use crate::amqp::lease::LeaseEnds;
use crate::amqp::lease::fence::Fences;
use crate::config::{Settings, SettingsError};
use crate::contract::ids::AccountIndex;
use crate::contract::journal::JobName;
use crate::engine::clock::Now;
use crate::engine::pace::Recent;
use crate::engine::status::Status;
use crate::engine::{Engine, Waiting};
use crate::hubspot::client::HubspotClient;
use crate::hubspot::credentials::CredentialStore;
use crate::hubspot::watch;
use crate::journal::task::Journals;

/// How long the journal's last notes are waited for, after the loop has ended.
const LAST_NOTES: Duration = Duration::from_secs(5);

/// Most news of changed credentials that wait for the loop.
const MAX_NEWS: usize = 16;

/// All that is made of the settings before anything runs, so that a wrong setting stops the start.
#[derive(Debug)]
pub struct Assembly {
    pub portals: Portals,
    engine: Engine,
    clock: WallClock,
    client: HubspotClient,
    credentials: CredentialStore,
    journals: Option<Journals>,
}

/// A request to HubSpot that left before the loop was started.
#[derive(Clone, Copy, Debug)]
pub struct SentBefore {
    pub account: AccountIndex,
    /// The latest time at which HubSpot can have counted it: that of its answer.
    pub at: Instant,
}

/// The outer ends of the loop's channels.
#[derive(Debug)]
pub struct Outside<D> {
    pub arrivals: mpsc::Receiver<Arrival<D>>,
    pub departures: mpsc::UnboundedSender<Vec<Departure<D>>>,
    pub orders: mpsc::Receiver<Order>,
    /// The leases, where several workers share the quota.
    pub lease: Option<LeaseEnds>,
    /// Where there is a background queue: whether its jobs are taken in.
    pub background: Option<Sender<bool>>,
    /// What people call the job of a delivery.
    pub name: fn(&D) -> JobName,
}

impl Assembly {
    /// `waiting` says where jobs wait that cannot be sent for long.
    pub fn new(settings: &Settings, waiting: Waiting) -> Result<Self, SettingsError> {
        let accounts = settings.hubspot.accounts()?;
        let policies = accounts.iter().map(|account| policy::of_account(account, settings.hubspot.max_in_flight));
        let clock = WallClock::new();
        let of_engine = policy::of_engine(settings, waiting);
        Ok(Self {
            portals: Portals::of(accounts),
            engine: Engine::with_background(
                of_engine,
                settings.background.policy,
                policies.collect(),
                fastrand::u64(..),
                clock.now(),
            ),
            clock,
            client: HubspotClient::new(&settings.hubspot)?,
            credentials: CredentialStore::new(accounts)?,
            journals: Journals::new(accounts, &settings.amqp),
        })
    }

    /// What was sent for the accounts without the engine counts as what it sends itself: no interval holds more than the
    /// ceiling. Whoever sends something before the start tells it here.
    pub fn count(&mut self, sent: &[SentBefore]) {
        let now = self.clock.now();
        for SentBefore { account, at } in sent {
            self.engine.sent_before(*account, &[Recent { age: at.elapsed(), count: 1 }], now);
        }
    }

    /// What there is to tell before anything runs.
    pub fn status(&self) -> (Status, Now) {
        let now = self.clock.now();
        (self.engine.status(now), now)
    }

    /// Starts the loop, which runs until the arrivals have ended and every job has departed, and the tasks around it.
    pub fn start<D, W>(self, outside: Outside<D>, watcher: W, stop: CancellationToken) -> Running
    where
        D: Send + 'static,
        W: Watcher<D> + 'static,
    {
        let Self { portals, engine, clock, client, credentials, journals } = self;
        let Outside { arrivals, departures, orders, lease, background, name } = outside;
        let (errands_in, errands) = mpsc::unbounded_channel();
        let (returns_in, returns) = mpsc::unbounded_channel();
        let (news_in, news) = mpsc::channel(MAX_NEWS);
        let refreshing = TaskTracker::new();
        let fences = lease.as_ref().map_or_else(Fences::default, |lease| Fences::of(&lease.leases));
        let calls = Calls {
            client,
            credentials: credentials.clone(),
            refreshing: refreshing.clone(),
            fences,
            portals: portals.clone(),
        };
        let ends = Ends { arrivals, departures, errands: errands_in, returns, orders };
        let policy_loop = PolicyLoop::new(engine, clock, clock.epoch, watcher, ends);
        let (journal, recording) = journals.map(|journals| start_journal(journals, name)).unzip();
        let policy_loop = policy_loop.recording(journal).minding(background);
        let policy_loop = match lease {
            Some(lease) => policy_loop.sharing(lease),
            None => policy_loop,
        };
        Running {
            around: [
                tokio::spawn(calls.run(errands, returns_in.clone())),
                tokio::spawn(watch::watch(credentials, news_in)),
                tokio::spawn(calls::watch(news, returns_in, portals)),
            ],
            looping: tokio::spawn(policy_loop.run(stop)),
            refreshing,
            recording,
        }
    }
}

fn start_journal<D>(journals: Journals, name: fn(&D) -> JobName) -> (JournalEnds<D>, JoinHandle<()>) {
    let (orders, orders_out) = mpsc::unbounded_channel();
    let (recorded_in, recorded) = mpsc::unbounded_channel();
    (JournalEnds { orders, recorded, name }, tokio::spawn(journals.run(orders_out, recorded_in)))
}

/// The loop, and what runs around it.
#[derive(Debug)]
pub struct Running {
    /// Ends by itself only when the arrivals have ended and every job has departed, also after a stop.
    pub looping: JoinHandle<()>,
    around: [JoinHandle<()>; 3],
    refreshing: TaskTracker,
    /// Ends when the loop has ended and all that it gave out is written, or could not be.
    recording: Option<JoinHandle<()>>,
}

impl Running {
    /// Ends everything. A token refresh on the wire is waited for, since HubSpot may have changed the refresh token,
    /// and so are the journal's last notes. False where a refresh did not come back in time.
    pub async fn finish(self, patience: Duration) -> bool {
        let Self { looping, around, refreshing, recording } = self;
        looping.abort();
        for task in around {
            task.abort();
        }
        refreshing.close();
        let last_notes = async {
            if let Some(recording) = recording
                && timeout(patience.min(LAST_NOTES), recording).await.is_err()
            {
                tracing::warn!(
                    "journal: what became of the last pairs could not be noted, so that an undo takes them for archived"
                );
            }
        };
        let (refreshed, ()) = tokio::join!(timeout(patience, refreshing.wait()), last_notes);
        refreshed.is_ok()
    }
}
