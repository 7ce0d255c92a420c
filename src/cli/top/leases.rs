//! Which jobs queues this worker works on, and who works on the others.

use super::figures::count;
use super::status::{Lease, Status};

/// Names of jobs queues in the head; a list of all has rows of its own.
const MOST_NAMED: usize = 6;

/// In the order in which they matter to whoever looks.
const STANDINGS: [&str; 6] = ["notRenewed", "away", "waiting", "held", "left", "standingBy"];

pub fn standing_words(standing: &str) -> &str {
    match standing {
        "held" => "holds the lease",
        "standingBy" => "stands by: another worker holds the lease",
        "waiting" => "about to hold the lease",
        "notRenewed" => "could not renew the lease",
        "away" => "cannot reach the lease",
        "left" => "leaves the lease to another worker",
        // Of another version.
        other => other,
    }
}

pub fn rank(lease: &Lease) -> usize {
    STANDINGS.iter().position(|standing| *standing == lease.standing).unwrap_or(STANDINGS.len())
}

/// Whether another worker does the work, all of it.
pub fn stands_by(status: &Status) -> bool {
    let is = |standing: &str| status.leases.iter().any(|lease| lease.standing == standing);
    is("standingBy") && !is("held") && !is("waiting")
}

/// Who works on an account on which this worker does not.
pub fn worked_on_by(status: &Status) -> &'static str {
    let is = |standing: &str| status.leases.iter().any(|lease| lease.standing == standing);
    if status.draining {
        "left to another worker: this one stops"
    } else if is("notRenewed") {
        "nobody works on it: the lease could not be renewed"
    } else if status.leases.is_empty() || is("standingBy") {
        "another worker works on it"
    } else if is("waiting") {
        "this worker is about to work on it"
    } else {
        "this worker cannot work on it now"
    }
}

/// Whose jobs the estimate is about: several workers may share the jobs queues, and one without a lease knows of no other.
pub fn whose_work(leases: &[Lease]) -> String {
    let held = leases.iter().filter(|lease| lease.standing == "held").count();
    match leases {
        [] => "if no other worker helps, all jobs".to_owned(),
        [_, _, ..] if held < leases.len() => {
            format!("the jobs in this worker's queues ({} of {})", count(held as u64), count(leases.len() as u64))
        }
        [_, ..] => "all jobs".to_owned(),
    }
}

/// One line; nothing while `amqp.lease` is off.
pub fn summary(leases: &[Lease]) -> Option<String> {
    let only = match leases {
        [] => return None,
        [only] => only,
        [..] => return Some(summary_of_many(leases)),
    };
    let words = standing_words(&only.standing);
    Some(match (&only.holder, only.standing.as_str()) {
        (Some(holder), "held") => format!("{words} as {holder}"),
        (Some(holder), _) => format!("{words}, after {holder}"),
        (None, _) => words.to_owned(),
    })
}

fn summary_of_many(leases: &[Lease]) -> String {
    let of = |standing: &'static str| leases.iter().filter(move |lease| lease.standing == standing);
    let held: Vec<&str> = of("held").map(|lease| short_name(lease, leases)).collect();
    let more = held.len().saturating_sub(MOST_NAMED);
    let mut named = held.iter().take(MOST_NAMED).copied().collect::<Vec<_>>().join(", ");
    if more > 0 {
        named.push_str(&format!(" and {} more", count(more as u64)));
    }
    let mut parts = vec![format!("holds {} of {} jobs queues", count(held.len() as u64), count(leases.len() as u64))];
    if !named.is_empty() {
        parts[0].push_str(&format!(": {named}"));
    }
    for (standing, words) in [("waiting", "about to hold"), ("notRenewed", "could not renew"), ("away", "cannot reach")]
    {
        let number = of(standing).count();
        if number > 0 {
            parts.push(format!("{words} {}", count(number as u64)));
        }
    }
    parts.join("; ")
}

/// `4711` for `association-archiver.jobs.4711`, beside the shared jobs queue `association-archiver.jobs`.
pub fn short_name<'a>(lease: &'a Lease, leases: &[Lease]) -> &'a str {
    let shared = leases.iter().map(|lease| lease.jobs_queue.as_str()).min_by_key(|name| name.len()).unwrap_or_default();
    match lease.jobs_queue.strip_prefix(shared) {
        Some("") => "shared",
        Some(shard) => shard.trim_start_matches('.'),
        None => &lease.jobs_queue,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(shard: &str, standing: &str) -> Lease {
        let jobs_queue = format!("archiver.jobs{shard}");
        Lease { jobs_queue, standing: standing.to_owned(), ..Lease::default() }
    }

    #[test]
    fn one_lease_is_told_with_its_holder_and_many_as_numbers() {
        assert_eq!(summary(&[]), None);
        let held = Lease { holder: Some("host/7".to_owned()), ..lease("", "held") };
        assert_eq!(summary(&[held]).as_deref(), Some("holds the lease as host/7"));
        let standby = summary(&[lease("", "standingBy")]);
        assert_eq!(standby.as_deref(), Some("stands by: another worker holds the lease"));
        // Nobody else is known to hold it.
        let alone = Status { leases: vec![lease("", "notRenewed")], ..Status::default() };
        assert_eq!(summary(&alone.leases).as_deref(), Some("could not renew the lease"));
        assert_eq!(worked_on_by(&alone), "nobody works on it: the lease could not be renewed");
        let many = [lease("", "standingBy"), lease(".4711", "held"), lease(".815", "held"), lease(".9", "away")];
        assert_eq!(summary(&many).as_deref(), Some("holds 2 of 4 jobs queues: 4711, 815; cannot reach 1"));
        let numbered: Vec<Lease> = (0..12).map(|shard| lease(&format!(".{shard}"), "held")).collect();
        let all = [vec![lease("", "held")], numbered].concat();
        let expected = "holds 13 of 13 jobs queues: shared, 0, 1, 2, 3, 4 and 7 more";
        assert_eq!(summary(&all).as_deref(), Some(expected));
    }

    #[test]
    fn a_worker_that_holds_a_shard_does_not_stand_by() {
        let with = |leases: Vec<Lease>| stands_by(&Status { leases, ..Status::default() });
        assert!(with(vec![lease("", "standingBy"), lease(".1", "standingBy")]));
        assert!(!with(vec![lease("", "standingBy"), lease(".1", "held")]));
        assert!(!with(vec![lease("", "waiting"), lease(".1", "standingBy")]));
        assert!(!with(Vec::new()));
    }
}
