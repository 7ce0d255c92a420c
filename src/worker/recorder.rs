//! How the loop works with the journal: it adds the jobs' names to what the engine wants recorded, passes that to the
//! journal's task, and hears whether it is recorded.

use std::fmt;

use hashbrown::HashMap;
use jiff::Timestamp;
use tokio::sync::mpsc;

use crate::contract::ids::AccountIndex;
use crate::contract::journal::{Completion, Entry, EntryPair, JobName};
use crate::engine::backlog::JobKey;
use crate::engine::command::{RecordCall, Recordable};
use crate::journal::task::{Recorded, Recording, Writing};

/// The loop's ends of the channels to the journal. `D` is a delivery.
pub struct JournalEnds<D> {
    /// Unbounded in type. It never holds more than the batches that are being recorded, each of which counts as a
    /// request in flight, and what became of the pairs of requests that were answered.
    pub orders: mpsc::UnboundedSender<Writing>,
    /// What the journal answers to these orders.
    pub recorded: mpsc::UnboundedReceiver<Recorded>,
    /// What people call the job of a delivery.
    pub name: fn(&D) -> JobName,
}

impl<D> fmt::Debug for JournalEnds<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JournalEnds").finish_non_exhaustive()
    }
}

impl<D> JournalEnds<D> {
    /// Sends a batch to be recorded. `delivery` is that of a job in hand.
    pub fn record<'a>(&self, call: RecordCall, at: Timestamp, delivery: impl Fn(JobKey) -> Option<&'a D>)
    where
        D: 'a,
    {
        let RecordCall { call, lane, kind, portal, entries } = call;
        let entries = entries.into_iter().map(|Recordable { entry, read, pairs }| {
            let (mut jobs, mut indices) = (Vec::new(), HashMap::<JobKey, u32>::new());
            let mut index_of = |key: JobKey| {
                if let Some(index) = indices.get(&key) {
                    return Some(*index);
                }
                let index = u32::try_from(jobs.len()).ok()?;
                jobs.push((self.name)(delivery(key)?));
                indices.insert(key, index);
                Some(index)
            };
            let pairs = pairs.into_iter().map(|of| EntryPair {
                pair: of.pair,
                types: of.types,
                creates: of.creates,
                jobs: of.jobs.into_iter().filter_map(&mut index_of).collect(),
            });
            let pairs = pairs.collect();
            Entry {
                id: entry,
                kind,
                at,
                portal,
                from_type: lane.from_type.clone(),
                to_type: lane.to_type.clone(),
                read,
                extent: lane.extent.clone(),
                jobs,
                first: 0,
                pairs,
            }
        });
        let recording = Recording { call, account: lane.account, entries: entries.collect() };
        // The far end outlives the loop, unless both are about to be dropped.
        let _ = self.orders.send(Writing::Record(Box::new(recording)));
    }

    pub fn complete(&self, account: AccountIndex, completion: Completion) {
        let _ = self.orders.send(Writing::Complete { account, completion });
    }
}

/// What the journal says next, if there is one. Cancel-safe.
pub async fn recorded<D>(ends: &mut Option<JournalEnds<D>>) -> Recorded {
    let Some(ends) = ends else { return std::future::pending().await };
    match ends.recorded.recv().await {
        Some(recorded) => recorded,
        // The journal's task has failed. What it was given stays unanswered, and so nothing is archived.
        None => std::future::pending().await,
    }
}
