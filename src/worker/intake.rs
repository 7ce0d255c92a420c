//! From the broker to the loop: deliveries are read and checked here, off the loop. What belongs into another queue is
//! moved there.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::accounts::Portals;
use super::answer;
use super::delivery;
use super::delivery::Delivery;
use super::receive::{self, Received};
use super::seams::Arrival;
use crate::amqp::consumer::{Intake, IntakeEvent};
use crate::amqp::message::{Delivered, Deposit};
use crate::amqp::route::Route;
use crate::contract::job::JobLimits;
use crate::engine::command::NewJob;
use crate::shards::placement::Placement;
use crate::shards::{Generation, Layout, QueueIndex};
use crate::telemetry::metrics::Metrics;

/// What a delivery is read with.
#[derive(Debug)]
pub struct Reader {
    pub portals: Portals,
    pub layout: Layout,
    pub metrics: Arc<Metrics>,
    pub limits: JobLimits,
    /// How many bytes of jobs may stay in hand when too much is held.
    pub keep_bytes: usize,
}

impl Reader {
    /// Takes deliveries in until `stop`, then those that are on their way already. Jobs go to the loop; what is no job
    /// is answered without it.
    pub async fn take_in(
        self: Arc<Self>,
        mut intake: Intake,
        arrivals: mpsc::Sender<Arrival<Box<Delivery>>>,
        ready: mpsc::Sender<Vec<Deposit>>,
        stop: CancellationToken,
    ) {
        let mut generation = Generation { queue: intake.queue(), number: 0 };
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
                    generation = began;
                    continue;
                }
                IntakeEvent::Jobs(delivered) => {
                    let (jobs, answered) = self.read(delivered, generation.queue);
                    // The far ends outlive this task; were they gone, the deliveries would come again.
                    if !answered.is_empty() && ready.send(answered).await.is_err() {
                        return;
                    }
                    Arrival::Jobs { generation, jobs }
                }
                IntakeEvent::Lost(generation) => Arrival::Lost { generation },
                IntakeEvent::Overfull => Arrival::Overfull { keep_bytes: self.keep_bytes },
            };
            if arrivals.send(arrival).await.is_err() {
                return;
            }
        }
    }

    fn read(&self, delivered: Vec<Delivered>, queue: QueueIndex) -> (Vec<(NewJob, Box<Delivery>)>, Vec<Deposit>) {
        let now = Timestamp::now();
        let (mut jobs, mut answered, mut passed_on, mut redelivered) =
            (Vec::with_capacity(delivered.len()), Vec::new(), 0, 0);
        let received = delivered.len() as u64;
        for one in delivered {
            let again = one.redelivered;
            match receive::receive(one, &self.portals, &self.limits, now) {
                Received::Job(job, delivery) => {
                    let moves = delivery::moves(&delivery.properties);
                    match Placement::of(queue, self.layout.queue_of(job.account), moves) {
                        Placement::Here => jobs.push((job, delivery)),
                        Placement::Move(shard) => {
                            passed_on += 1;
                            answered.push(answer::moved(*delivery, Route::Shard(shard), moves.saturating_add(1)));
                            continue;
                        }
                        Placement::Wait(tier) => {
                            passed_on += 1;
                            answered.push(answer::misplaced(*delivery, tier, now));
                            continue;
                        }
                    }
                }
                Received::Refused(answer) => answered.push(answer),
            }
            redelivered += u64::from(again);
        }
        // Jobs that are only moved to another queue are counted by the worker that works on them.
        self.metrics.jobs_received.add(received - passed_on);
        self.metrics.jobs_redelivered.add(redelivered);
        (jobs, answered)
    }
}
