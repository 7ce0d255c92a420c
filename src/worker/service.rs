//! The service: everything started in order, one loop in the middle, everything stopped in order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::accounts::Portals;
use super::calls::{self, Calls};
use super::delivery::{self, Delivery, Received};
use super::policy_loop::{Ends, PolicyLoop};
use super::recent::Recent;
use super::seams::{Arrival, Clock};
use super::wall_clock::WallClock;
use super::watching::ServiceWatcher;
use super::{departures, policy};
use crate::admin::command::AdminCommand;
use crate::admin::{self, AdminState};
use crate::amqp::consumer::{Intake, IntakeEvent};
use crate::amqp::edges::{Edges, StartFault};
use crate::amqp::message::{Answer, Delivered};
use crate::amqp::publisher::Publisher;
use crate::config::{ApiVersion, JobsSettings, Settings, SettingsError};
use crate::contract::job::JobLimits;
use crate::engine::Engine;
use crate::engine::command::NewJob;
use crate::hubspot::client::HubspotClient;
use crate::hubspot::credentials::CredentialStore;
use crate::hubspot::watch;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::reporter::Reporter;
use crate::telemetry::traces::Traces;
use crate::telemetry::traces::exporter::ExporterFault;

/// How the service ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// Everything in flight was finished and answered.
    Drained,
    /// `shutdown.grace` was over first: what was not answered will be delivered again.
    GraceExpired,
    /// The loop ended without being told to, which is a fault of the program.
    LoopFailed,
}

/// Why it did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error(transparent)]
    Broker(#[from] StartFault),
    #[error(transparent)]
    Traces(#[from] ExporterFault),
    #[error("admin.listen: {address} cannot be listened on: {cause}; name another address, or end what listens there")]
    Listen { address: SocketAddr, cause: std::io::Error },
}

/// Bundles of answers that the intake gives itself (to messages that are no jobs) and that wait to be published.
const MAX_READY_BUNDLES: usize = 16;

/// Bundles of jobs on their way to the loop, each of at most 256.
const MAX_ARRIVALS: usize = 16;

/// At least so long is left for publishing the last answers, however long the requests took.
const LEAST_TIME_TO_PUBLISH: Duration = Duration::from_secs(5);

/// How long the last traces are waited for, from the end of the loop.
const LAST_EXPORT: Duration = Duration::from_secs(3);

/// How long a token refresh that is on the wire is waited for at the end.
pub const LAST_REFRESH: Duration = Duration::from_secs(10);

/// Runs until `stop` and everything in flight is finished, or the grace is over.
pub async fn run(settings: &Settings, stop: CancellationToken) -> Result<Ended, StartError> {
    warn_of_version(settings.hubspot.api_version);
    let accounts = settings.hubspot.accounts()?;
    let client = HubspotClient::new(&settings.hubspot)?;
    let credentials = CredentialStore::new(accounts)?;
    let portals = Portals::new(accounts.iter().map(|account| account.portal_id).collect());
    let policies = accounts.iter().map(|account| policy::of_account(account, settings.hubspot.max_in_flight));
    let clock = WallClock::new();
    let of_engine = policy::of_engine(settings, policy::in_broker(settings));
    let engine = Engine::new(of_engine, policies.collect(), fastrand::u64(..), clock.now());

    let metrics = Arc::new(Metrics::new(Timestamp::now()));
    let reporter = Reporter::new(Arc::clone(&metrics));
    let (traces, exporter) = Traces::open(settings, &metrics)?.unzip();
    let (orders_in, orders) = admin::command::channel();
    let endpoints = Endpoints::open(settings, &reporter, &metrics, orders_in).await?;

    let starting = Box::pin(alive_while(&reporter, Edges::start(&settings.amqp)));
    // Nothing is in hand yet: whoever stops the worker now need not wait for the broker.
    let Some(edges) = stop.run_until_cancelled(starting).await else {
        endpoints.close().await;
        return Ok(Ended::Drained);
    };
    let edges = edges?;
    let Edges { intake, publisher, settler, held: _, health, topology: _, closer } = edges;
    let publisher = Arc::new(publisher);
    let recent = Arc::new(Recent::new(settings.amqp.prefetch.get().into()));

    let (arrivals_in, arrivals) = mpsc::channel(MAX_ARRIVALS);
    let (ready_in, ready) = mpsc::channel(MAX_READY_BUNDLES);
    let (departures_in, departures) = mpsc::unbounded_channel();
    let (errands_in, errands) = mpsc::unbounded_channel();
    let (returns_in, returns) = mpsc::unbounded_channel();
    let (news_in, news) = mpsc::channel(MAX_ARRIVALS);

    let reader = Reader {
        portals: portals.clone(),
        metrics: Arc::clone(&metrics),
        limits: limits(&settings.jobs),
        recent: Arc::clone(&recent),
        keep_bytes: usize::try_from(settings.amqp.max_held_bytes / 2).unwrap_or(usize::MAX),
    };
    let taking_in = tokio::spawn(reader.take_in(intake, arrivals_in, ready_in, stop.clone()));
    let departing = tokio::spawn(departures::run(departures, ready, Arc::clone(&publisher), settler));
    let remembering = tokio::spawn(departures::remember(Arc::clone(&publisher), recent, Arc::clone(&metrics)));
    let refreshing = TaskTracker::new();
    let calling = tokio::spawn(
        Calls { client, credentials: credentials.clone(), refreshing: refreshing.clone() }
            .run(errands, returns_in.clone()),
    );
    let watching = tokio::spawn(watch::watch(credentials, news_in));
    let passing_on = tokio::spawn(calls::watch(news, returns_in));

    let exporting = exporter.map(|exporter| tokio::spawn(exporter.run()));
    let ends = Ends { arrivals, departures: departures_in, errands: errands_in, returns, orders };
    let watcher = ServiceWatcher::new(portals.clone(), Arc::clone(&metrics), reporter, health, traces);
    let mut running = tokio::spawn(PolicyLoop::new(engine, clock, clock.epoch, watcher, ends).run(stop.clone()));

    tokio::select! {
        () = stop.cancelled() => {}
        // The loop ends by itself only when told to; were it to panic, the process must not go on without it.
        _ = &mut running => {}
    }
    let told = stop.is_cancelled();
    stop.cancel();
    let deadline = Instant::now() + settings.shutdown.grace;
    let finished = running.is_finished() || timeout(settings.shutdown.grace, &mut running).await.is_ok();
    running.abort();
    let last_export = Instant::now() + LAST_EXPORT;
    taking_in.abort();
    let patience = deadline.saturating_duration_since(Instant::now()).max(LEAST_TIME_TO_PUBLISH);
    let answered = finish(departing, remembering, publisher, patience).await;
    for task in [calling, watching, passing_on] {
        task.abort();
    }
    closer.close().await;
    refreshing.close();
    if timeout(LAST_REFRESH, refreshing.wait()).await.is_err() {
        tracing::warn!("a token refresh is still without an answer; if HubSpot changed the refresh token, it is lost");
    }
    // It ends with the loop, whose spans it sends meanwhile.
    if let Some(exporting) = exporting
        && timeout_at(last_export, exporting).await.is_err()
    {
        tracing::warn!("the last traces have not reached telemetry.otlp_endpoint in time");
    }
    endpoints.close().await;
    Ok(match (told, finished && answered) {
        (false, _) => Ended::LoopFailed,
        (true, true) => Ended::Drained,
        (true, false) => Ended::GraceExpired,
    })
}

/// HubSpot's own calendar: v4 of the associations API is supported until then.
pub const V4_ENDS: &str = "30 March 2027";

fn warn_of_version(version: ApiVersion) {
    match version {
        ApiVersion::V4 => tracing::warn!(
            "HubSpot ends support of hubspot.api_version \"v4\" on {V4_ENDS}; \"2026-03\" and \"2026-09\" take the same jobs"
        ),
        ApiVersion::March2026 | ApiVersion::September2026 => {}
    }
}

/// The endpoints, served from before the broker is reached until everything else has ended.
struct Endpoints {
    serving: JoinHandle<()>,
    stop: CancellationToken,
}

impl Endpoints {
    async fn open(
        settings: &Settings,
        reporter: &Reporter,
        metrics: &Arc<Metrics>,
        commands: mpsc::Sender<AdminCommand>,
    ) -> Result<Self, StartError> {
        let address = settings.admin.listen;
        let listener = TcpListener::bind(address).await.map_err(|cause| StartError::Listen { address, cause })?;
        let state = AdminState {
            snapshots: reporter.snapshots(),
            metrics: Arc::clone(metrics),
            heartbeat: reporter.heartbeat(),
            commands,
            token: settings.admin.token()?,
        };
        let stop = CancellationToken::new();
        Ok(Self { serving: tokio::spawn(admin::serve(listener, state, stop.clone())), stop })
    }

    async fn close(self) {
        self.stop.cancel();
        let _ = self.serving.await;
    }
}

/// Waits for the broker, which may take minutes, with the sign of life that the loop gives later.
async fn alive_while<T>(reporter: &Reporter, waiting: impl Future<Output = T>) -> T {
    let mut beats = tokio::time::interval(Reporter::PERIOD);
    let mut waiting = std::pin::pin!(waiting);
    loop {
        tokio::select! {
            done = &mut waiting => return done,
            _ = beats.tick() => reporter.beat(),
        }
    }
}

/// Publishes what is left. `false`: not all of it in time.
async fn finish(
    mut departing: JoinHandle<()>,
    remembering: JoinHandle<()>,
    publisher: Arc<Publisher>,
    patience: Duration,
) -> bool {
    let handed_over = timeout(patience, &mut departing).await.is_ok();
    // Both have ended, or end at their next step: then the publisher is ours alone.
    if !handed_over {
        departing.abort();
        let _ = departing.await;
    }
    remembering.abort();
    let _ = remembering.await;
    let Some(publisher) = Arc::into_inner(publisher) else { return false };
    let waiting = publisher.waiting();
    let report = publisher.close(patience).await;
    handed_over && (waiting == 0 || report.published.len() + report.stale.len() >= waiting)
}

/// What a job may have.
pub fn limits(settings: &JobsSettings) -> JobLimits {
    JobLimits {
        max_bytes: usize::try_from(settings.max_bytes).unwrap_or(usize::MAX),
        max_pairs: usize::try_from(settings.max_pairs.get()).unwrap_or(usize::MAX),
    }
}

/// Reads deliveries off the loop.
struct Reader {
    portals: Portals,
    metrics: Arc<Metrics>,
    limits: JobLimits,
    recent: Arc<Recent>,
    /// What may stay in hand when too much is held.
    keep_bytes: usize,
}

impl Reader {
    async fn take_in(
        self,
        mut intake: Intake,
        arrivals: mpsc::Sender<Arrival<Box<Delivery>>>,
        ready: mpsc::Sender<Vec<Answer>>,
        stop: CancellationToken,
    ) {
        let mut generation = 0;
        let mut draining = false;
        loop {
            let event = tokio::select! {
                () = stop.cancelled(), if !draining => {
                    draining = true;
                    intake.drain();
                    continue;
                }
                event = intake.next() => event,
            };
            let Some(event) = event else { return };
            let arrival = match event {
                IntakeEvent::Began(began) => {
                    generation = began.0;
                    continue;
                }
                IntakeEvent::Jobs(delivered) => {
                    let (jobs, answered) = self.read(delivered);
                    // The far ends outlive this task; were they gone, the deliveries would come again.
                    if !answered.is_empty() && ready.send(answered).await.is_err() {
                        return;
                    }
                    Arrival::Jobs { generation, jobs }
                }
                IntakeEvent::Lost(lost) => Arrival::Lost { generation: lost.0 },
                IntakeEvent::Overfull => Arrival::Overfull { keep_bytes: self.keep_bytes },
            };
            if arrivals.send(arrival).await.is_err() {
                return;
            }
        }
    }

    fn read(&self, delivered: Vec<Delivered>) -> (Vec<(NewJob, Box<Delivery>)>, Vec<Answer>) {
        let now = Timestamp::now();
        self.metrics.jobs_received.add(delivered.len() as u64);
        self.metrics.jobs_redelivered.add(delivered.iter().filter(|one| one.redelivered).count() as u64);
        let (mut jobs, mut answered) = (Vec::with_capacity(delivered.len()), Vec::new());
        for one in delivered {
            match delivery::receive(one, &self.portals, &self.limits, &self.recent, now) {
                Received::Job(job, delivery) => jobs.push((job, delivery)),
                Received::Refused(answer) => answered.push(answer),
                Received::Repeated(answer) => {
                    self.metrics.duplicates_answered.increment();
                    answered.push(answer);
                }
            }
        }
        (jobs, answered)
    }
}
