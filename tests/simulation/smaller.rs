//! Makes a failing scenario smaller: fewer jobs, upheavals and faults, as long as it still fails.

use crate::promises::Broken;
use crate::scenario::Scenario;
use crate::seeds::attempt;

/// Which jobs, upheavals and rules of a scenario remain, by their indices.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Parts {
    jobs: Vec<usize>,
    upheavals: Vec<usize>,
    rules: Vec<usize>,
}

impl Parts {
    fn all(scenario: &Scenario) -> Self {
        Self {
            jobs: (0..scenario.jobs.len()).collect(),
            upheavals: (0..scenario.upheavals.len()).collect(),
            rules: (0..scenario.rules.len()).collect(),
        }
    }

    /// What `JOBS`, `UPHEAVALS` and `RULES` (indices with commas between) leave of a scenario.
    pub fn of_environment(scenario: &Scenario) -> Self {
        let all = Self::all(scenario);
        let listed = |name, all: &[usize]| {
            let text = std::env::var(name).ok()?;
            let indices = text.split(',').filter_map(|index| index.trim().parse().ok());
            Some(indices.filter(|index| all.contains(index)).collect())
        };
        Self {
            jobs: listed("JOBS", &all.jobs).unwrap_or(all.jobs),
            upheavals: listed("UPHEAVALS", &all.upheavals).unwrap_or(all.upheavals),
            rules: listed("RULES", &all.rules).unwrap_or(all.rules),
        }
    }

    pub fn cut(&self, scenario: &Scenario) -> Scenario {
        let mut cut = scenario.clone();
        cut.jobs = self.jobs.iter().map(|&index| scenario.jobs[index].clone()).collect();
        cut.upheavals = self.upheavals.iter().map(|&index| scenario.upheavals[index]).collect();
        cut.rules = self.rules.iter().map(|&index| scenario.rules[index].clone()).collect();
        cut
    }
}

/// Runs after which a scenario is small enough.
const MOST_TRIES: usize = 200;

/// The command that replays the smallest part of a seed that still fails, and what it breaks.
pub fn smallest(seed: u64) -> String {
    let scenario = Scenario::of(seed);
    let mut parts = Parts::all(&scenario);
    let Err(mut what) = attempt(&scenario) else { return format!("seed {seed} does not fail again") };
    let mut tries = 0;
    let lists: [fn(&mut Parts) -> &mut Vec<usize>; 3] =
        [|parts| &mut parts.rules, |parts| &mut parts.upheavals, |parts| &mut parts.jobs];
    for list in lists {
        let mut chunk = list(&mut parts).len().div_ceil(2);
        while chunk > 0 {
            let mut start = 0;
            while start < list(&mut parts).len() && tries < MOST_TRIES {
                let mut fewer = parts.clone();
                let list_of_fewer = list(&mut fewer);
                let end = (start + chunk).min(list_of_fewer.len());
                list_of_fewer.drain(start..end);
                tries += 1;
                match attempt(&fewer.cut(&scenario)) {
                    Err(still) if !fewer.jobs.is_empty() && kind(&still) == kind(&what) => {
                        (parts, what) = (fewer, still)
                    }
                    Ok(_) | Err(_) => start += chunk,
                }
            }
            chunk = if chunk == 1 { 0 } else { chunk.div_ceil(2) };
        }
    }
    replay_command(seed, &parts, &what)
}

/// What is broken, without its numbers. Another promise may be broken by the cutting itself, as where an operator
/// pauses and the part in which he resumes is gone.
fn kind(Broken(what): &Broken) -> String {
    what.chars().filter(|letter| !letter.is_ascii_digit()).collect()
}

fn replay_command(seed: u64, parts: &Parts, Broken(what): &Broken) -> String {
    let list = |indices: &[usize]| indices.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
    let (jobs, upheavals, rules) = (list(&parts.jobs), list(&parts.upheavals), list(&parts.rules));
    format!(
        "SEED={seed} JOBS={jobs} UPHEAVALS={upheavals} RULES={rules} cargo test --test simulation every_promise -- \
         --nocapture\n  {what}"
    )
}
