//! Takes what is to be recorded and says of each whether it is durable.
//!
//! Whatever waits is written together. A write that fails is reported at once, with its reason: when to try again is
//! for the engine to say, whose account pauses meanwhile.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::store::Store;
use crate::config::{AccountSettings, AmqpSettings, JournalStore};
use crate::contract::ids::AccountIndex;
use crate::contract::journal::{Completion, Entry};
use crate::engine::command::CallKey;

/// Orders written together at most. A request has 1,000 pairs as a rule, some 60 kB.
const MAX_TOGETHER: usize = 256;
/// Completions that could not be written, and are written with the next records. Those beyond are lost: their pairs
/// count as archived, and to restore what is there changes nothing.
const MAX_LATE_COMPLETIONS: usize = 10_000;

/// What is to be written.
#[derive(Debug)]
pub enum Writing {
    /// Answered with [`Recorded`].
    Record(Box<Recording>),
    /// There is no answer to it.
    Complete { account: AccountIndex, completion: Completion },
}

/// What a request is about to change.
#[derive(Debug)]
pub struct Recording {
    pub call: CallKey,
    pub account: AccountIndex,
    /// For each side that the batch's pairs were read from.
    pub entries: Vec<Entry>,
}

/// Whether it is durable.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recorded {
    pub call: CallKey,
    pub account: AccountIndex,
    /// The error is a sentence for the operator.
    pub result: Result<(), String>,
    pub took: Duration,
}

/// The journals of all accounts. Accounts with the same one share it.
#[derive(Debug)]
pub struct Journals {
    stores: Vec<Store>,
    /// Where the records of each account go.
    of_accounts: Vec<Option<usize>>,
}

impl Journals {
    /// `None` where no account has one.
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

    /// Ends when no more orders can come and all of them are written or have failed. What waits in the channels is
    /// bounded by the requests in flight: each has one entry and its completions.
    pub async fn run(self, mut orders: mpsc::UnboundedReceiver<Writing>, recorded: mpsc::UnboundedSender<Recorded>) {
        let Self { stores, of_accounts } = self;
        let mut tasks = JoinSet::new();
        let mut inboxes = Vec::with_capacity(stores.len());
        for store in stores {
            let (inbox_in, inbox) = mpsc::unbounded_channel();
            tasks.spawn(Keeper { store, recorded: recorded.clone(), late: Vec::new(), lost: 0 }.run(inbox));
            inboxes.push(inbox_in);
        }
        while let Some(order) = orders.recv().await {
            let account = match &order {
                Writing::Record(recording) => recording.account,
                Writing::Complete { account, .. } => *account,
            };
            let store = of_accounts.get(account.0 as usize).copied().flatten();
            match (store.and_then(|store| inboxes.get(store)), order) {
                // It ends after its inbox, or with a panic, after which the channel is closed.
                (Some(inbox), order) => drop(inbox.send(order)),
                (None, Writing::Record(recording)) => {
                    let Recording { call, account, .. } = *recording;
                    let result = Err("the account has no journal, which is a fault of this program".to_owned());
                    let _ = recorded.send(Recorded { call, account, result, took: Duration::ZERO });
                }
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
    late: Vec<Vec<u8>>,
    lost: u64,
}

impl Keeper {
    async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Writing>) {
        let mut orders = Vec::with_capacity(MAX_TOGETHER);
        while inbox.recv_many(&mut orders, MAX_TOGETHER).await > 0 {
            self.write(orders.drain(..)).await;
        }
        self.store.close().await;
    }

    async fn write(&mut self, orders: impl Iterator<Item = Writing>) {
        let begun = Instant::now();
        let (mut records, mut calls, mut completions) = (Vec::new(), Vec::new(), std::mem::take(&mut self.late));
        for order in orders {
            match order {
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
            // The loop outlives its calls, unless both are about to be dropped.
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
