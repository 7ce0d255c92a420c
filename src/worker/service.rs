//! The service: everything started in order, one loop in the middle, everything stopped in order.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::assembly::{Assembly, Outside};
use super::delivery::{self, Delivery};
use super::departures;
use super::intake::Reader;
use super::policy;
use super::seams::{self, Arrival};
use super::stopping::{Parts, Unfinished};
use super::watching::{ServiceWatcher, broker_state};
use crate::admin::{AdminState, Endpoints, ListenFault};
use crate::amqp::connection::virtual_host;
use crate::amqp::consumer::Intake;
use crate::amqp::edges::{self, Edges, StartFault};
use crate::amqp::health::Health;
use crate::amqp::message::Deposit;
use crate::config::{ApiVersion, JobsSettings, Settings, SettingsError};
use crate::contract::job::JobLimits;
use crate::telemetry::mend::Mends;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::parked::{BackBy, ByTier};
use crate::telemetry::reporter::Reporter;
use crate::telemetry::traces::Traces;
use crate::telemetry::traces::exporter::ExporterFault;

/// How the service ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// Everything in flight was finished and answered.
    Drained,
    /// `shutdown.grace` was over first.
    GraceExpired(Unfinished),
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
    #[error(transparent)]
    Listen(#[from] ListenFault),
}

/// Bundles of answers that the intake gives without the loop (to messages that are no jobs, and to jobs that belong in
/// another queue) and that wait to be published.
const MAX_READY_BUNDLES: usize = 16;

/// Bundles of jobs on their way to the loop, each of at most 256.
const MAX_ARRIVALS: usize = 16;

/// Runs until `stop` and everything in flight is finished, or the grace is over. `announce` is called once the start can
/// fail by the broker alone: whoever reads why it failed should find nothing else.
pub async fn run(settings: &Settings, stop: CancellationToken, announce: impl FnOnce()) -> Result<Ended, StartError> {
    let assembly = Assembly::new(settings, policy::in_broker(settings))?;
    let mends = Mends::new(settings.hubspot.accounts()?).with_virtual_host(virtual_host(&settings.amqp));
    let metrics = Arc::new(Metrics::new(Timestamp::now()));
    let mut reporter = Reporter::new(Arc::clone(&metrics)).with_grace(settings.shutdown.grace);
    let (traces, exporter) = Traces::open(settings, &metrics)?.unzip();
    let (orders_in, orders) = seams::orders();
    let snapshots = reporter.snapshots();
    let health = edges::health(&settings.amqp);
    tell_start(&mut reporter, &assembly, &health);
    let state = AdminState {
        snapshots: snapshots.clone(),
        metrics: Arc::clone(&metrics),
        heartbeat: reporter.heartbeat(),
        mends: mends.clone(),
        orders: orders_in,
        token: settings.admin.token()?,
    };
    let endpoints = Endpoints::open(settings.admin.listen, state).await?;
    announce();

    let tell = || tell_start(&mut reporter, &assembly, &health);
    let starting = Box::pin(meanwhile(tell, Edges::start_seen(&settings.amqp, Arc::clone(&health))));
    // Nothing is in hand yet: whoever stops the worker now need not wait for the broker.
    let Some(edges) = stop.run_until_cancelled(starting).await else {
        endpoints.close().await;
        return Ok(Ended::Drained);
    };
    let edges = edges?;
    warn_of_version(settings.hubspot.api_version);
    let Edges { intakes, publisher, settler, held: _, health, lease, background, topology: _, closer } = edges;
    let publisher = Arc::new(publisher);
    let of_broker = Arc::clone(&health);

    let reader = reader(settings, &assembly, &metrics);
    let Incoming { taking_in, arrivals, ready } = take_in(intakes, reader, &stop);
    let (departures_in, departures) = mpsc::unbounded_channel();
    let departing = tokio::spawn(departures::run(departures, ready, Arc::clone(&publisher), settler));
    let counting = tokio::spawn(departures::count_published(Arc::clone(&publisher), Arc::clone(&metrics)));
    let exporting = exporter.map(|exporter| tokio::spawn(exporter.run()));
    let watcher = ServiceWatcher::new(assembly.portals.clone(), mends, metrics, reporter, health, traces);
    let outside = Outside { arrivals, departures: departures_in, orders, lease, background, name: delivery::job_name };
    let running = assembly.start(outside, watcher, stop.clone());
    let mut parts = Parts { running, taking_in, departing, counting, publisher, closer, exporting, snapshots };

    let _ = stop.run_until_cancelled(parts.loop_failed()).await;
    let told = stop.is_cancelled();
    stop.cancel();
    let handed_back_before = of_broker.handed_back.get();
    let unfinished = parts.end(settings.shutdown.grace).await;
    endpoints.close().await;
    Ok(ended(told, unfinished, of_broker.handed_back.get() - handed_back_before))
}

/// `told`: the loop ended because it was told to.
fn ended(told: bool, unfinished: Unfinished, handed_back: u64) -> Ended {
    match (told, unfinished.is_nothing()) {
        (false, _) => Ended::LoopFailed,
        (true, false) => Ended::GraceExpired(unfinished),
        (true, true) => {
            tracing::info!(
                deliveries_handed_back = handed_back,
                "stopped in good order: every request is answered and every outcome is published; a job that was \
                 delivered again meanwhile was handed back, and is counted, each time"
            );
            Ended::Drained
        }
    }
}

/// When the jobs in hand take too much memory, they are handed back until this share (a half) of the most is held.
const KEPT_DIVISOR: u64 = 2;

/// What deliveries are read with.
fn reader(settings: &Settings, assembly: &Assembly, metrics: &Arc<Metrics>) -> Reader {
    Reader {
        portals: assembly.portals.clone(),
        layout: settings.amqp.shards.clone(),
        metrics: Arc::clone(metrics),
        limits: limits(&settings.jobs),
        keep_bytes: usize::try_from(settings.amqp.max_held_bytes / KEPT_DIVISOR).unwrap_or(usize::MAX),
    }
}

/// What comes in from the broker.
struct Incoming {
    /// Whoever aborts this task aborts all tasks that read deliveries.
    taking_in: JoinHandle<()>,
    /// To the loop.
    arrivals: mpsc::Receiver<Arrival<Box<Delivery>>>,
    /// Answers that need no loop.
    ready: mpsc::Receiver<Vec<Deposit>>,
}

/// Starts a task for each intake.
fn take_in(intakes: Vec<Intake>, reader: Reader, stop: &CancellationToken) -> Incoming {
    let (arrivals_in, arrivals) = mpsc::channel(MAX_ARRIVALS);
    let (ready_in, ready) = mpsc::channel(MAX_READY_BUNDLES);
    let reader = Arc::new(reader);
    let mut readers = JoinSet::new();
    for intake in intakes {
        readers.spawn(Arc::clone(&reader).take_in(intake, arrivals_in.clone(), ready_in.clone(), stop.clone()));
    }
    let taking_in = tokio::spawn(async move { while readers.join_next().await.is_some() {} });
    Incoming { taking_in, arrivals, ready }
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

/// The sign of life that the loop gives later, and what is known before it runs: above all why the broker is not reached.
fn tell_start(reporter: &mut Reporter, assembly: &Assembly, health: &Health) {
    reporter.beat();
    let (status, now) = assembly.status();
    reporter.publish_start(status, broker_state(health, ByTier::default(), BackBy::default()), now);
}

/// Waits for the broker, which may take minutes, and says so again and again.
async fn meanwhile<T>(mut tell: impl FnMut(), waiting: impl Future<Output = T>) -> T {
    let mut beats = tokio::time::interval(Reporter::PERIOD);
    let mut waiting = std::pin::pin!(waiting);
    loop {
        tokio::select! {
            done = &mut waiting => return done,
            _ = beats.tick() => tell(),
        }
    }
}

/// What a job may have.
pub fn limits(settings: &JobsSettings) -> JobLimits {
    JobLimits {
        max_bytes: usize::try_from(settings.max_bytes).unwrap_or(usize::MAX),
        max_pairs: usize::try_from(settings.max_pairs.get()).unwrap_or(usize::MAX),
    }
}
