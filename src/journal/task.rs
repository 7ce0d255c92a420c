//! Takes records that are to be written, and says of each recording whether it is durable.
//!
//! Whatever waits is written together. A write that fails is reported at once, with its reason. The engine decides when
//! to try again, and pauses the account until then.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::store::Store;
use crate::config::{AccountSettings, AmqpSettings, JournalStore};
use crate::contract::ids::AccountIndex;
use crate::contract::journal::{Completion, Entry};
use crate::engine::command::CallKey;

/// At most this many writings are written together. One of 1,000 pairs, as many as a request has as a rule, takes some
/// 60 kB.
const MAX_TOGETHER: usize = 256;
/// At most this many completions are kept that could not be written, to be written with the next records. Further ones
/// are lost. Then an undo takes their pairs for archived, which does no harm: to restore a pair that is there changes
/// nothing.
const MAX_LATE_COMPLETIONS: usize = 10_000;

/// What is to be written.
#[derive(Debug)]
pub enum Writing {
    /// What a request is about to change. It is answered with [`Recorded`].
    Record(Box<Recording>),
    /// What became of recorded pairs. It is not answered.
    Complete { account: AccountIndex, completion: Completion },
}

/// What a request is about to change.
#[derive(Debug)]
pub struct Recording {
    pub call: CallKey,
    pub account: AccountIndex,
    /// One entry for each side from which the batch's pairs were read.
    pub entries: Vec<Entry>,
}

/// Whether a recording is durable.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recorded {
    pub call: CallKey,
    pub account: AccountIndex,
    /// The error is a sentence for the operator.
    pub result: Result<(), String>,
    pub took: Duration,
}

/// The journals of all accounts. Accounts whose settings name the same journal share it.
#[derive(Debug)]
pub struct Journals {
    stores: Vec<Store>,
    /// Where the records of each account go.
    of_accounts: Vec<Option<usize>>,
}

impl Journals {
    /// `None` where no account has a journal.
    pub fn new(accounts: &[AccountSettings], amqp: &AmqpSettings) -> Option<Self> {
        let (mut stores, mut known) = (Vec::new(), HashMap::<&JournalStore, usize>::new());
        let mut of_accounts = Vec::with_capacity(accounts.len());
        for account in accounts {
            let place = &account.safety.journal;
            let index = known.get(place).copied().or_else(|| {
                stores.push(Store::of(place, amqp)?);
                known.insert(place, stores.len() - 1);
                Some(stores.len() - 1)
            });
            of_accounts.push(index);
        }
        (!stores.is_empty()).then_some(Self { stores, of_accounts })
    }

    /// Ends when no more writings can come and all of them are written or have failed. What waits in the channels is
    /// bounded by the requests in flight: each has one recording and its completions.
    pub async fn run(self, mut writings: mpsc::UnboundedReceiver<Writing>, recorded: mpsc::UnboundedSender<Recorded>) {
        let Self { stores, of_accounts } = self;
        let mut tasks = JoinSet::new();
        let mut inboxes = Vec::with_capacity(stores.len());
        for store in stores {
            let (inbox_in, inbox) = mpsc::unbounded_channel();
            tasks.spawn(Keeper { store, recorded: recorded.clone(), late: Vec::new(), lost: 0 }.run(inbox));
            inboxes.push(inbox_in);
        }
        while let Some(writing) = writings.recv().await {
            let account = match &writing {
                Writing::Record(recording) => recording.account,
                Writing::Complete { account, .. } => *account,
            };
            let store = of_accounts.get(account.0 as usize).copied().flatten();
            match (store.and_then(|store| inboxes.get(store)), writing) {
                // The keeper takes writings until its inbox is closed, which happens below. It ends sooner only with a
                // panic; then nobody can take this one.
                (Some(inbox), writing) => drop(inbox.send(writing)),
                (None, Writing::Record(recording)) => {
                    let Recording { call, account, .. } = *recording;
                    let result = Err("the account has no journal, which is a fault of this program".to_owned());
                    let _ = recorded.send(Recorded { call, account, result, took: Duration::ZERO });
                }
                // Nothing of the account was recorded, so there is nothing to complete.
                (None, Writing::Complete { .. }) => {}
            }
        }
        drop(inboxes);
        while tasks.join_next().await.is_some() {}
    }
}

/// Writes to one store.
struct Keeper {
    store: Store,
    recorded: mpsc::UnboundedSender<Recorded>,
    /// Completions that could not be written, and wait for the next records.
    late: Vec<Vec<u8>>,
    /// Completions that were given up, since too many had to wait.
    lost: u64,
}

impl Keeper {
    async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Writing>) {
        let mut writings = Vec::with_capacity(MAX_TOGETHER);
        while inbox.recv_many(&mut writings, MAX_TOGETHER).await > 0 {
            self.write(writings.drain(..)).await;
        }
        self.store.close().await;
    }

    async fn write(&mut self, writings: impl Iterator<Item = Writing>) {
        let begun = Instant::now();
        let (mut records, mut calls, mut completions) = (Vec::new(), Vec::new(), std::mem::take(&mut self.late));
        for writing in writings {
            match writing {
                Writing::Record(recording) => {
                    records.extend(recording.entries.iter().flat_map(Entry::encode));
                    calls.push((recording.call, recording.account));
                }
                Writing::Complete { account: _, completion } => completions.push(completion.encode()),
            }
        }
        records.extend(completions.iter().cloned());
        let result = self.store.append(records).await.map_err(|fault| fault.to_string());
        if let Err(fault) = &result {
            self.keep_for_later(completions, fault);
        }
        let took = begun.elapsed();
        for (call, account) in calls {
            // The loop outlives its recordings, unless both are about to be dropped.
            let _ = self.recorded.send(Recorded { call, account, result: result.clone(), took });
        }
    }

    fn keep_for_later(&mut self, mut completions: Vec<Vec<u8>>, fault: &str) {
        let before = self.lost;
        self.lost += completions.len().saturating_sub(MAX_LATE_COMPLETIONS) as u64;
        completions.truncate(MAX_LATE_COMPLETIONS);
        self.late = completions;
        if self.lost > before {
            tracing::warn!(
                lost = self.lost,
                "journal: what became of some recorded pairs could not be noted, so that an undo takes them for archived: {fault}"
            );
        }
    }
}
