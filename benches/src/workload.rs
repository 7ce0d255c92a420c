//! The jobs of a case: pure arithmetic on their number, so every run sends the same.

use harness::Message;
use serde::Serialize;
use serde_json::json;

/// The first portal's id; the simulator's own default account.
pub const FIRST_PORTAL: u64 = 4711;
/// HubSpot's caps for a request.
pub const MOST_FROM: u64 = 100;
const MOST_PAIRS: u64 = 1_000;

const STANDARD_LANES: [(&str, &str); 4] =
    [("contacts", "companies"), ("contacts", "deals"), ("companies", "deals"), ("tickets", "contacts")];
const FIRST_CUSTOM_TYPE: u64 = 1_000_000;
const FIRST_FROM: u64 = 100_000;
const FIRST_TO: u64 = 5_000_000;

/// What the jobs look like. One factor at a time is changed from the base case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Workload {
    pub jobs: u64,
    pub pairs_per_job: u64,
    /// Pairs of object types.
    pub lanes: u64,
    pub portals: u64,
    /// Consecutive jobs with the same `from` record.
    pub jobs_per_from: u64,
    /// How many consecutive jobs ask for the same pairs; 1: no duplicates.
    pub copies: u64,
}

impl Workload {
    /// One pair a job, four lanes, eight jobs in a row for each `from` record, no duplicates.
    pub fn base(jobs: u64) -> Self {
        Self { jobs, pairs_per_job: 1, lanes: 4, portals: 1, jobs_per_from: 8, copies: 1 }
    }

    /// All jobs, persistent, each with its id as `message_id`.
    pub fn messages(&self) -> impl Iterator<Item = anyhow::Result<Message>> {
        (0..self.jobs).map(|index| {
            let id = format!("job-{index:07}");
            let mut message = Message::new(self.body(&id, index)).id(&id)?;
            message.properties = message.properties.with_content_type("application/json".into());
            Ok(message)
        })
    }

    /// The associations that the jobs ask to remove, as the simulator makes them: one portal's.
    pub fn associations(&self) -> serde_json::Value {
        let distinct = self.jobs.div_ceil(self.copies);
        let of_record = |record: u64| {
            let (from, to) = lane_types(record % self.lanes);
            let jobs = record * self.jobs_per_from..distinct.min((record + 1) * self.jobs_per_from);
            let to_ids = FIRST_TO + jobs.start * self.pairs_per_job..=FIRST_TO + jobs.end * self.pairs_per_job - 1;
            json!({
                "from": from, "to": to,
                "fromIds": FIRST_FROM + record,
                "toIds": format!("{}-{}", to_ids.start(), to_ids.end()),
            })
        };
        (0..distinct.div_ceil(self.jobs_per_from)).map(of_record).collect()
    }

    /// Distinct pairs that are asked for.
    pub fn pairs(&self) -> u64 {
        self.jobs.div_ceil(self.copies) * self.pairs_per_job
    }

    /// Fewest requests in which all pairs could go, were all jobs known at once: by records or by pairs, in each lane of
    /// each portal.
    pub fn fewest_requests(&self) -> u64 {
        let distinct = self.jobs.div_ceil(self.copies);
        let records = distinct.div_ceil(self.jobs_per_from);
        let groups = self.lanes * self.portals;
        let of_group = |group: u64| {
            // Records are dealt out in turn.
            let own = records / groups + u64::from(group < records % groups);
            let pairs = (own * self.jobs_per_from * self.pairs_per_job).min(self.pairs());
            own.div_ceil(MOST_FROM).max(pairs.div_ceil(MOST_PAIRS))
        };
        (0..groups).map(of_group).sum()
    }

    fn body(&self, id: &str, index: u64) -> String {
        let distinct = index / self.copies;
        let record = distinct / self.jobs_per_from;
        let lane = record % self.lanes;
        let portal = FIRST_PORTAL + record / self.lanes % self.portals;
        let (from_type, to_type) = lane_types(lane);
        let from = FIRST_FROM + record;
        let first_to = FIRST_TO + distinct * self.pairs_per_job;
        let to: Vec<String> =
            (first_to..first_to + self.pairs_per_job).map(|to| format!(r#"{{"id":"{to}"}}"#)).collect();
        format!(
            r#"{{"jobId":"{id}","portalId":{portal},"fromObjectType":"{from_type}","toObjectType":"{to_type}","inputs":[{{"from":{{"id":"{from}"}},"to":[{}]}}]}}"#,
            to.join(",")
        )
    }
}

fn lane_types(lane: u64) -> (String, String) {
    let standard = usize::try_from(lane).ok().and_then(|lane| STANDARD_LANES.get(lane));
    standard.map_or_else(
        || ("contacts".to_owned(), format!("2-{}", FIRST_CUSTOM_TYPE + lane)),
        |(from, to)| ((*from).to_owned(), (*to).to_owned()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fewest_requests_are_counted_by_the_scarcer_cap() {
        assert_eq!(Workload::base(20_000).fewest_requests(), 28);
        assert_eq!(Workload { jobs_per_from: 1, lanes: 1, ..Workload::base(60_000) }.fewest_requests(), 600);
        assert_eq!(Workload { pairs_per_job: 1_000, jobs_per_from: 1, ..Workload::base(100) }.fewest_requests(), 100);
        assert_eq!(Workload { copies: 2, ..Workload::base(40_000) }.fewest_requests(), 28);
    }

    #[test]
    fn the_associations_are_those_that_the_jobs_remove() {
        let of = |workload: Workload| workload.associations().to_string();
        let one = of(Workload { jobs_per_from: 2, lanes: 1, ..Workload::base(3) });
        assert_eq!(
            one,
            r#"[{"from":"contacts","fromIds":100000,"to":"companies","toIds":"5000000-5000001"},{"from":"contacts","fromIds":100001,"to":"companies","toIds":"5000002-5000002"}]"#
        );
    }

    #[test]
    fn neighbours_share_a_record_and_copies_share_a_pair() {
        let bodies = |workload: Workload| (0..3).map(|index| workload.body("x", index)).collect::<Vec<_>>();
        let [one, two, three] =
            bodies(Workload { jobs_per_from: 2, ..Workload::base(3) }).try_into().unwrap_or_default();
        assert!(one.contains(r#""from":{"id":"100000"},"to":[{"id":"5000000"}]"#), "{one}");
        assert!(two.contains(r#""from":{"id":"100000"},"to":[{"id":"5000001"}]"#), "{two}");
        assert!(three.contains(r#""deals","inputs":[{"from":{"id":"100001"}"#), "{three}");
        let [one, two, three] = bodies(Workload { copies: 2, ..Workload::base(3) }).try_into().unwrap_or_default();
        assert_eq!(one, two);
        assert_ne!(two, three);
    }
}
