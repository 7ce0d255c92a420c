//! How far the jobs of the background are, and how long the rest takes if all goes on as it did lately.

use serde::Serialize;

use super::snapshot::{BrokerState, Snapshot, UNCOUNTED};

/// What is known of the jobs of the background.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BackgroundProgress {
    /// Waiting in the background queue; `None` where nobody can say.
    pub ready: Option<u64>,
    /// In its delay queues, when last looked.
    pub parked: Option<u64>,
    pub held: usize,
    /// Those with an outcome, since this process began.
    pub answered: u64,
    /// Of the last ten minutes, as long as there was always something to do; `None` where that is too short.
    pub jobs_per_second: Option<f64>,
    pub drain_seconds: Option<f64>,
    /// Why nobody can tell.
    pub drain_unknown: Option<String>,
}

impl Snapshot {
    /// `None` where no job of the background is there, nor was.
    pub fn background(&self) -> Option<BackgroundProgress> {
        let BrokerState { background_ready: ready, background_parked: parked, .. } = self.broker;
        let (held, answered) = (self.status.held.background_jobs, self.jobs.of_background);
        let waiting = [ready, parked].into_iter().flatten().sum::<u64>() + held as u64;
        if waiting == 0 && answered == 0 {
            return None;
        }
        let jobs_per_second = self.throughput.background_rate();
        let drains = self.background_drain_seconds(jobs_per_second);
        Some(BackgroundProgress {
            ready,
            parked,
            held,
            answered,
            jobs_per_second,
            drain_seconds: drains.as_ref().ok().copied(),
            drain_unknown: drains.err(),
        })
    }

    fn background_drain_seconds(&self, jobs_per_second: Option<f64>) -> Result<f64, String> {
        self.works()?;
        let (Some(ready), Some(parked)) = (self.broker.background_ready, self.broker.background_parked) else {
            return Err(UNCOUNTED.to_owned());
        };
        let waiting = ready + parked + self.status.held.background_jobs as u64;
        if waiting == 0 {
            return Ok(0.0);
        }
        let mut windows = self.status.accounts.iter().map(|account| account.background_window);
        if windows.len() > 0 && windows.all(|window| window.is_some_and(|window| !window.open)) {
            return Err("background.window is closed".to_owned());
        }
        // Where some go on, what is done of the background already tells that the others do not.
        let mut own = self.status.accounts.iter().filter(|account| !account.stands_by).peekable();
        if own.peek().is_some() && own.all(|account| account.own_pause().is_some()) {
            return Err("every account stands still".to_owned());
        }
        match jobs_per_second {
            Some(rate) if rate > 0.0 => Ok(waiting as f64 / rate),
            Some(_) => Err("none of them was answered in the last minutes".to_owned()),
            None => Err("its jobs have been worked on for too short a time".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::engine::pause::PauseKind;
    use crate::engine::status::{AccountStatus, PauseScope, PauseStatus, WindowStatus};
    use crate::telemetry::snapshot::tests::account;
    use crate::telemetry::throughput::ThroughputSeries;

    /// A minute in which two jobs a second were answered.
    fn busy() -> Snapshot {
        let mut snapshot = Snapshot::default();
        snapshot.broker.background_ready = Some(3_000);
        snapshot.broker.background_parked = Some(100);
        snapshot.status.held.background_jobs = 500;
        snapshot.jobs.of_background = 120;
        let (background_jobs, jobs_background) = (vec![10; 13], vec![3_600; 13]);
        snapshot.throughput =
            ThroughputSeries { interval_seconds: 5.0, background_jobs, jobs_background, ..ThroughputSeries::default() };
        snapshot
    }

    fn unknown(snapshot: &Snapshot) -> String {
        snapshot.background().and_then(|background| background.drain_unknown).unwrap_or_default()
    }

    #[test]
    fn what_is_known_is_told_and_the_rest_takes_as_long_as_the_last_minutes_say() {
        let background = busy().background();
        let known = background.as_ref().map(|of| (of.answered, of.jobs_per_second, of.drain_seconds));
        assert_eq!(known, Some((120, Some(2.0), Some(1_800.0))));
        assert_eq!(Snapshot::default().background(), None, "there is no background");
        let mut done = busy();
        (done.broker.background_ready, done.broker.background_parked) = (Some(0), Some(0));
        done.status.held.background_jobs = 0;
        assert_eq!(done.background().and_then(|background| background.drain_seconds), Some(0.0));
    }

    #[test]
    fn what_nobody_can_tell_has_a_reason() {
        let mut young = busy();
        young.throughput.background_jobs.truncate(5);
        assert_eq!(unknown(&young), "its jobs have been worked on for too short a time");
        let mut starved = busy();
        starved.throughput.background_jobs.fill(0);
        assert_eq!(unknown(&starved), "none of them was answered in the last minutes");
        let mut away = busy();
        away.broker.background_parked = None;
        assert_eq!(unknown(&away), UNCOUNTED);
        let mut stopped = busy();
        let pause = PauseStatus {
            scope: PauseScope::Account,
            kind: PauseKind::Journal,
            detail: String::new(),
            since: Timestamp::UNIX_EPOCH,
            resume_at: None,
            probe_at: None,
        };
        stopped.status.accounts = vec![AccountStatus { pause: Some(pause), ..account(0, Some(4711)) }];
        assert_eq!(unknown(&stopped), "every account stands still");
        stopped.status.accounts.push(account(1, Some(815)));
        assert_eq!(unknown(&stopped), "", "one of them goes on");
        let mut standby = busy();
        standby.status.accounts = vec![AccountStatus { stands_by: true, ..account(0, None) }];
        assert_eq!(unknown(&standby), "this worker does not work now");
        let mut closed = busy();
        let window = |open| Some(WindowStatus { open, changes_at: None });
        closed.status.accounts =
            [false, true].map(|open| AccountStatus { background_window: window(open), ..account(0, None) }).to_vec();
        assert_eq!(unknown(&closed), "", "one of them is at it");
        closed.status.accounts.pop();
        assert_eq!(unknown(&closed), "background.window is closed");
    }
}
