//! From the broker to the loop: deliveries are read and checked here, off the loop.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::accounts::Portals;
use super::delivery::Delivery;
use super::receive::{self, Received};
use super::seams::Arrival;
use crate::amqp::consumer::{Intake, IntakeEvent};
use crate::amqp::message::{Answer, Delivered};
use crate::contract::job::JobLimits;
use crate::engine::command::NewJob;
use crate::telemetry::metrics::Metrics;

/// What a delivery is read with.
#[derive(Debug)]
pub struct Reader {
    pub portals: Portals,
    pub metrics: Arc<Metrics>,
    pub limits: JobLimits,
    /// What may stay in hand when too much is held.
    pub keep_bytes: usize,
}

impl Reader {
    /// Takes deliveries in until `stop`, then those that are on their way already. Jobs go to the loop; what is no job is
    /// answered without it.
    pub async fn take_in(
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
            match receive::receive(one, &self.portals, &self.limits, now) {
                Received::Job(job, delivery) => jobs.push((job, delivery)),
                Received::Refused(answer) => answered.push(answer),
            }
        }
        (jobs, answered)
    }
}
