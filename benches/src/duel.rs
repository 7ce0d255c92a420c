//! Contestants in turns, several rounds, so that what else the machine does falls on all of them alike.

use anyhow::{Context, Result, ensure};
use harness::SimulatorProcess;
use hubspot_simulator::State;
use serde::Serialize;

use crate::arena::{Arena, QueueKind};
use crate::contestant::Contestant;
use crate::measure::{Sample, measure};
use crate::spread::Spread;
use crate::workload::{FIRST_PORTAL, Workload};

/// A workload and the surroundings it is run in.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Case {
    pub name: String,
    pub workload: Workload,
    pub queues: QueueKind,
    /// The simulator's, as its flag has it.
    pub latency: &'static str,
    /// In the simulator there is what the jobs ask to remove. Without it a removal is a success as well, but a look
    /// shows nothing.
    pub associated: bool,
}

impl Case {
    /// Quorum queues, a simulator that answers at once.
    pub fn base(jobs: u64) -> Self {
        let workload = Workload::base(jobs);
        Self { name: "base".into(), workload, queues: QueueKind::Quorum, latency: "0ms", associated: false }
    }
}

/// All runs of one contestant in one case.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Standing {
    pub contestant: String,
    pub jobs_per_second: Spread,
    pub cpu_micros_per_job: Spread,
    pub broker_cpu_micros_per_job: Spread,
    pub switches_per_job: Spread,
    pub peak_rss_mb: Spread,
    /// Requests to the simulator; 0 for the pass-through.
    pub requests: Spread,
    pub samples: Vec<Sample>,
}

impl Standing {
    /// This contestant's figure over another's, round by round: what disturbs the machine for a while disturbs both.
    pub fn ratio_to(&self, other: &Self, figure: impl Fn(&Sample) -> f64) -> Spread {
        Spread::of(self.samples.iter().zip(&other.samples).map(|(own, its)| figure(own) / figure(its)))
    }
}

/// Runs every contestant once a round and tells `heard` of each run. Every other round goes the other way round, so that
/// nobody always comes after the same one: what a run leaves behind (a warm broker, a full log) may cost the next one.
pub async fn duel(
    arena: &Arena,
    case: &Case,
    contestants: &[Contestant],
    rounds: usize,
    mut heard: impl FnMut(&str, &Sample),
) -> Result<Vec<Standing>> {
    let mut runs: Vec<Vec<(Sample, u64)>> = vec![Vec::new(); contestants.len()];
    for round in 0..rounds {
        let mut turns: Vec<_> = contestants.iter().zip(&mut runs).collect();
        if round % 2 == 1 {
            turns.reverse();
        }
        for (contestant, runs) in turns {
            let run = one(arena, case, contestant).await.with_context(|| contestant.name().to_owned())?;
            heard(contestant.name(), &run.0);
            runs.push(run);
        }
    }
    Ok(contestants.iter().zip(runs).map(|(contestant, runs)| standing(contestant, &runs)).collect())
}

async fn one(arena: &Arena, case: &Case, contestant: &Contestant) -> Result<(Sample, u64)> {
    let workload = &case.workload;
    arena.renew(case.queues).await?;
    arena.fill(workload).await?;
    arena.roll_over().await?;
    let simulator = simulator(workload, case.latency).await?;
    if case.associated {
        simulator.associate(&workload.associations()).await?;
    }
    let gauge = arena.gauge().await?;
    let running = contestant.start(arena, &simulator, workload.portals, &[])?;
    let sample = measure(arena, workload, &gauge, &running).await?;
    arena.emptied(workload.jobs).await?;
    let state: State = serde_json::from_value(simulator.state().await?)?;
    let requests = state.pairs_per_request.requests;
    if contestant.archives() {
        let (archived, asked) = (state.pairs_archived_total, workload.pairs());
        // Copies that fall into different requests are archived again, which is right.
        ensure!(archived >= asked, "{archived} pairs are archived of {asked}");
        ensure!(state.violations.is_empty(), "HubSpot would object: {:?}", state.violations);
    }
    Ok((sample, requests))
}

async fn simulator(workload: &Workload, latency: &str) -> Result<SimulatorProcess> {
    let tokens: Vec<String> =
        (0..workload.portals).map(|index| format!("{}=pat-{index}", FIRST_PORTAL + index)).collect();
    let mut flags = vec!["--limit", "off", "--record", "off", "--latency", latency];
    if workload.portals > 1 {
        flags.extend(tokens.iter().flat_map(|token| ["--token", token.as_str()]));
    }
    SimulatorProcess::start(&flags).await
}

fn standing(contestant: &Contestant, runs: &[(Sample, u64)]) -> Standing {
    let samples: Vec<Sample> = runs.iter().map(|(sample, _)| *sample).collect();
    let spread = |figure: fn(&Sample) -> f64| Spread::of(samples.iter().map(figure));
    Standing {
        contestant: contestant.name().to_owned(),
        jobs_per_second: spread(|sample| sample.jobs_per_second),
        cpu_micros_per_job: spread(|sample| sample.cpu_micros_per_job),
        broker_cpu_micros_per_job: spread(|sample| sample.broker_cpu_micros_per_job),
        switches_per_job: spread(|sample| sample.switches_per_job),
        peak_rss_mb: spread(|sample| sample.peak_rss_mb),
        requests: Spread::of(runs.iter().map(|(_, requests)| *requests as f64)),
        samples,
    }
}
