//! From publishing a job to its outcome: one publisher and one consumer of the results, and the time between them.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::StreamExt;
use harness::Message;
use harness::lapin::options::{BasicConsumeOptions, BasicPublishOptions};
use harness::lapin::types::FieldTable;
use harness::lapin::{Channel, Consumer};
use serde::Serialize;
use tokio::time::{sleep_until, timeout};

use crate::arena::{Arena, EXCHANGE, RESULTS};
use crate::workload::Workload;

const JOBS_KEY: &str = "jobs";
/// An outcome that takes longer is lost.
const LONGEST: Duration = Duration::from_secs(30);
/// Under load jobs are published so often.
const TICK: Duration = Duration::from_millis(2);

/// Milliseconds from publish to outcome.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Latency {
    pub jobs: usize,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub most_ms: f64,
}

impl Latency {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let at = |percent: usize| {
            let rank = (times.len() * percent).div_ceil(100);
            times.get(rank.saturating_sub(1)).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
        };
        Self { jobs: times.len(), p50_ms: at(50), p99_ms: at(99), most_ms: at(100) }
    }
}

#[derive(Debug)]
pub struct Echo {
    channel: Channel,
    outcomes: Consumer,
}

impl Echo {
    pub async fn open(arena: &Arena) -> Result<Self> {
        let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
        let listening = arena.channel().await?;
        let outcomes = listening.basic_consume(RESULTS.into(), "echo".into(), options, FieldTable::default()).await?;
        Ok(Self { channel: arena.channel().await?, outcomes })
    }

    /// One job at a time, the next when the last one's outcome is there; the first few only warm the connections.
    pub async fn lone_jobs(&mut self, jobs: u64) -> Result<Latency> {
        const WARMING: usize = 5;
        let workload = Workload::base(jobs + WARMING as u64);
        let mut times = Vec::new();
        for message in workload.messages() {
            let began = Instant::now();
            publish(&self.channel, message?).await?;
            self.next_outcome().await?;
            times.push(began.elapsed());
        }
        Ok(Latency::of(times.split_off(WARMING)))
    }

    /// `rate` jobs a second for `span`, of which the first second does not count.
    pub async fn steady_load(mut self, rate: f64, span: Duration) -> Result<Latency> {
        let jobs = whole(rate * span.as_secs_f64());
        let channel = self.channel.clone();
        let publishing = tokio::spawn(async move { publish_evenly(&channel, jobs, rate).await });
        let mut arrived = vec![None; jobs];
        for _ in 0..jobs {
            let index = self.next_outcome().await?;
            *arrived.get_mut(index).context("an outcome of no job of ours")? = Some(Instant::now());
        }
        let sent = publishing.await??;
        let counted = sent.iter().zip(arrived).skip(whole(rate));
        let times = counted.map(|(sent, arrived)| Some(arrived?.saturating_duration_since(*sent)));
        Ok(Latency::of(times.collect::<Option<Vec<_>>>().context("one job has two outcomes, another none")?))
    }

    /// The number of the job whose outcome is next.
    async fn next_outcome(&mut self) -> Result<usize> {
        let next =
            timeout(LONGEST, self.outcomes.next()).await.with_context(|| format!("no outcome in {LONGEST:?}"))?;
        let delivery = next.context("the results queue is gone")??;
        let id = delivery.properties.correlation_id().as_ref().context("an outcome without correlation_id")?;
        let number = id.as_str().strip_prefix("job-").context("an outcome of no job of ours")?;
        Ok(number.parse()?)
    }
}

async fn publish_evenly(channel: &Channel, jobs: usize, rate: f64) -> Result<Vec<Instant>> {
    let workload = Workload::base(jobs as u64);
    let (mut messages, mut sent) = (workload.messages(), Vec::with_capacity(jobs));
    let began = Instant::now();
    while sent.len() < jobs {
        let due = whole(began.elapsed().as_secs_f64() * rate).min(jobs);
        while sent.len() < due {
            let message = messages.next().context("too few jobs")??;
            sent.push(Instant::now());
            publish(channel, message).await?;
        }
        sleep_until((Instant::now() + TICK).into()).await;
    }
    ensure!(sent.len() == jobs);
    Ok(sent)
}

#[expect(clippy::cast_possible_truncation, reason = "the part behind the point is what falls off")]
fn whole(jobs: f64) -> usize {
    jobs as usize
}

async fn publish(channel: &Channel, message: Message) -> Result<()> {
    let Message { body, properties, .. } = message;
    let options = BasicPublishOptions::default();
    channel.basic_publish(EXCHANGE.into(), JOBS_KEY.into(), options, &body, properties).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_time_that_was_measured() {
        let latency = Latency::of((1..=100).rev().map(Duration::from_millis).collect());
        assert_eq!((latency.jobs, latency.p50_ms, latency.p99_ms, latency.most_ms), (100, 50.0, 99.0, 100.0));
        assert!(Latency::of(Vec::new()).p99_ms.is_nan(), "no time is not a good one");
    }
}
