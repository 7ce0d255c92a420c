//! The service: everything started in order, one loop in the middle, everything stopped in order.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::assembly::{Assembly, Outside};
use super::departures;
use super::intake::Reader;
use super::policy;
use super::recent::Recent;
use super::watching::ServiceWatcher;
use crate::admin::{self, AdminState, Endpoints, ListenFault};
use crate::amqp::edges::{Edges, StartFault};
use crate::amqp::publisher::Publisher;
use crate::config::{ApiVersion, JobsSettings, Settings, SettingsError};
use crate::contract::job::JobLimits;
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
    #[error(transparent)]
    Listen(#[from] ListenFault),
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
    let assembly = Assembly::new(settings, policy::in_broker(settings))?;
    let metrics = Arc::new(Metrics::new(Timestamp::now()));
    let reporter = Reporter::new(Arc::clone(&metrics));
    let (traces, exporter) = Traces::open(settings, &metrics)?.unzip();
    let (orders_in, orders) = admin::command::channel();
    let state = AdminState {
        snapshots: reporter.snapshots(),
        metrics: Arc::clone(&metrics),
        heartbeat: reporter.heartbeat(),
        commands: orders_in,
        token: settings.admin.token()?,
    };
    let endpoints = Endpoints::open(settings.admin.listen, state).await?;

    let starting = Box::pin(alive_while(&reporter, Edges::start(&settings.amqp)));
    // Nothing is in hand yet: whoever stops the worker now need not wait for the broker.
    let Some(edges) = stop.run_until_cancelled(starting).await else {
        endpoints.close().await;
        return Ok(Ended::Drained);
    };
    let Edges { intake, publisher, settler, held: _, health, topology: _, closer } = edges?;
    let publisher = Arc::new(publisher);
    let recent = Arc::new(Recent::new(settings.amqp.prefetch.get().into()));

    let (arrivals_in, arrivals) = mpsc::channel(MAX_ARRIVALS);
    let (ready_in, ready) = mpsc::channel(MAX_READY_BUNDLES);
    let (departures_in, departures) = mpsc::unbounded_channel();
    let reader = Reader {
        portals: assembly.portals.clone(),
        metrics: Arc::clone(&metrics),
        limits: limits(&settings.jobs),
        recent: Arc::clone(&recent),
        keep_bytes: usize::try_from(settings.amqp.max_held_bytes / 2).unwrap_or(usize::MAX),
    };
    let taking_in = tokio::spawn(reader.take_in(intake, arrivals_in, ready_in, stop.clone()));
    let departing = tokio::spawn(departures::run(departures, ready, Arc::clone(&publisher), settler));
    let remembering = tokio::spawn(departures::remember(Arc::clone(&publisher), recent, Arc::clone(&metrics)));
    let exporting = exporter.map(|exporter| tokio::spawn(exporter.run()));
    let watcher = ServiceWatcher::new(assembly.portals.clone(), metrics, reporter, health, traces);
    let outside = Outside { arrivals, departures: departures_in, orders };
    let mut running = assembly.start(outside, watcher, stop.clone());

    tokio::select! {
        () = stop.cancelled() => {}
        // The loop ends by itself only when told to; were it to panic, the process must not go on without it.
        _ = &mut running.looping => {}
    }
    let told = stop.is_cancelled();
    stop.cancel();
    let deadline = Instant::now() + settings.shutdown.grace;
    let finished = running.looping.is_finished() || timeout_at(deadline, &mut running.looping).await.is_ok();
    running.looping.abort();
    let last_export = Instant::now() + LAST_EXPORT;
    taking_in.abort();
    let patience = deadline.saturating_duration_since(Instant::now()).max(LEAST_TIME_TO_PUBLISH);
    let answered = finish(departing, remembering, publisher, patience).await;
    closer.close().await;
    if !running.finish(LAST_REFRESH).await {
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
