//! Traces: a span for each batch, linked to the jobs in it, and below it the request that the batch was sent in.
//!
//! A batch has many jobs, each with a trace of its own, and so it adopts none of them as its parent.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hashbrown::HashMap;
use tokio::sync::{Semaphore, mpsc};

use self::exporter::{Bundle, Exporter, ExporterFault, MOST_WEIGHT_WAITING};
use self::span::{Departed, Returned, Surroundings};
use super::label::SpanFate;
use super::metrics::Metrics;
use crate::config::{ApiVersion, Settings};
use crate::engine::command::{BatchCall, CallKey, CallResult};
use crate::engine::reply::Reply;
use crate::hubspot::request::{Endpoint, path};

pub mod context;
pub mod exporter;
mod span;

pub use self::span::TracedJob;

/// Makes spans of what happens to batches. Never waits: where the collector does not keep up, spans are lost and
/// counted.
#[derive(Debug)]
pub struct Traces {
    surroundings: Surroundings,
    /// Batches on the wire.
    departed: HashMap<CallKey, Departed>,
    bundles: mpsc::UnboundedSender<Bundle>,
    /// For the weight of what waits to be exported, which bounds the channel.
    room: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

impl Traces {
    /// `None` where `telemetry.otlp_endpoint` is not set. The exporter runs until the traces are dropped and it has
    /// sent what was left.
    pub fn open(settings: &Settings, metrics: &Arc<Metrics>) -> Result<Option<(Self, Exporter)>, ExporterFault> {
        let Some(endpoint) = &settings.telemetry.otlp_endpoint else { return Ok(None) };
        let (bundles, waiting) = mpsc::unbounded_channel();
        let exporter = Exporter::new(endpoint, waiting, Arc::clone(metrics))?;
        let traces = Self {
            surroundings: Surroundings::new(settings),
            departed: HashMap::new(),
            bundles,
            room: Arc::new(Semaphore::new(MOST_WEIGHT_WAITING)),
            metrics: Arc::clone(metrics),
        };
        Ok(Some((traces, exporter)))
    }

    /// A batch leaves with pairs of these jobs.
    pub fn departs<'a>(&mut self, call: &BatchCall, jobs: impl Iterator<Item = TracedJob<'a>>) {
        self.departed.insert(call.call, Departed::new(SystemTime::now(), jobs));
    }

    /// A batch has come back.
    pub fn returned(
        &mut self,
        call: &BatchCall,
        (portal_id, lane): (Option<u64>, String),
        (reply, result): (&Reply, CallResult),
        took: Duration,
    ) {
        let Some(departed) = self.departed.remove(&call.call) else { return };
        let returned = Returned { call, portal_id, lane, reply, result, took, at: SystemTime::now() };
        let spans = self.surroundings.spans(departed, &returned);
        let weight = spans.iter().map(|span| 1 + span.links.len()).sum::<usize>();
        let room = u32::try_from(weight).map(|weight| Arc::clone(&self.room).try_acquire_many_owned(weight));
        let sent = room.is_ok_and(|room| {
            room.is_ok_and(|room| self.bundles.send(Bundle { spans: spans.into(), weight, _room: room }).is_ok())
        });
        if !sent {
            self.metrics.spans.of(SpanFate::Lost).add(SPANS_OF_A_BATCH);
        }
    }
}

const SPANS_OF_A_BATCH: u64 = 2;

/// The path of a batch request as a URL template, and as it is.
fn paths(version: ApiVersion, call: &BatchCall) -> (String, String) {
    let template = Endpoint::of(call).path(version, "{fromObjectType}", "{toObjectType}");
    (template, path(version, call))
}
