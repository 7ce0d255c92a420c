//! A connection that is made again whenever it is needed and gone.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use jiff::Timestamp;
use lapin::options::QueueDeclareOptions;
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, ChannelStatus, Connection, ConnectionStatus};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use super::connection::{CALL_TIMEOUT, CLOSE_TIMEOUT, ConnectFault, Dial, REPLY_SUCCESS};
use super::health::{Health, Trouble};
use super::lost_queues::loss;
use super::request::{Channels, ask, is_out_of_numbers, open_channel};
use super::topology::{Found, Kind, Topology, TopologyFault, TopologyItem, TopologyReport};
use super::valve::Valve;
use crate::shards::QueueIndex;

/// What a link is for; consuming and publishing have a connection each, because a resource alarm of the broker stops
/// everything that is written on a connection that publishes, acknowledgements included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    Consume,
    Publish,
}

/// How often it is seen whether a resource alarm of the broker began or ended.
const ALARM_CHECK: Duration = Duration::from_millis(500);

/// Tells a connection from those before and after it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Epoch(u64);

/// What a look at a queue shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Depth {
    /// Messages that no consumer holds.
    pub ready: u64,
    pub consumers: u64,
}

/// What has to be declared while the worker runs, which began at `begun`, was deleted by somebody.
fn tell_what_was_gone(health: &Health, begun: Instant, report: &TopologyReport) {
    for TopologyItem { kind, name, found } in &report.items {
        match (found, kind) {
            (Found::Existing { .. }, _) => {}
            (Found::Declared, Kind::Queue) => {
                let messages = health.lost_queues.declared_again(name, begun.into_std(), Timestamp::now());
                tracing::warn!(name, messages, "the queue was gone and is declared again; {}", loss(messages));
            }
            (Found::Declared, Kind::Exchange) => tracing::warn!(name, "the exchange was gone and is declared again"),
        }
    }
}

/// One connection at a time, shared by the channels on it.
#[derive(Debug)]
pub struct Link {
    dial: Dial,
    purpose: Purpose,
    connection: tokio::sync::Mutex<Current>,
    /// What the connections say of themselves, to be read while another task is busy connecting.
    statuses: Mutex<Statuses>,
    health: Arc<Health>,
    /// Ends all waiting for the broker.
    closing: CancellationToken,
}

#[derive(Debug, Default)]
struct Current {
    connection: Option<Connection>,
    /// The channels that were opened on it, and may be in use.
    channels: Vec<ChannelStatus>,
    /// Earlier connections that are out of channel numbers, as long as one of their channels is in use.
    used_up: Vec<UsedUp>,
    epoch: u64,
    /// The epoch in which the topology was last found whole.
    ensured: Option<u64>,
    /// The trouble that health shows is this link's, and not of those who work on it.
    complained: bool,
}

#[derive(Debug, Default)]
struct Statuses {
    newest: Option<ConnectionStatus>,
    /// Of the connections that are out of channel numbers. Channels on them go on working.
    used_up: Vec<ConnectionStatus>,
}

#[derive(Debug)]
struct UsedUp {
    connection: Connection,
    channels: Vec<ChannelStatus>,
}

impl Current {
    fn opened(&mut self, channel: &Channel) {
        self.channels.retain(ChannelStatus::connected);
        self.channels.push(channel.status().clone());
    }

    /// [`Self::leave_used_up`], where a request may have failed for that reason.
    async fn leave_where_used_up(&mut self) {
        let Some(connection) = self.connection.as_ref() else { return };
        if let Ok(Err(error)) = timeout(CLOSE_TIMEOUT, open_channel(connection)).await
            && is_out_of_numbers(&error)
        {
            self.leave_used_up();
        }
    }

    /// The connection has no number for another channel. What works on it goes on; others get a new one.
    fn leave_used_up(&mut self) {
        let channels = std::mem::take(&mut self.channels);
        if let Some(connection) = self.connection.take() {
            tracing::info!(
                channels = channels.len(),
                "all channel numbers of a connection to the broker are used up; another connection is made"
            );
            self.used_up.push(UsedUp { connection, channels });
        }
    }
}

/// Said with each trouble of a connection, so that nobody waits for longer than that to see whether it is over.
fn tried_again() -> String {
    format!("tried again every {} s or sooner", Backoff::LONGEST_WAIT.as_secs())
}

impl Link {
    pub fn new(dial: Dial, purpose: Purpose, health: &Arc<Health>, closing: CancellationToken) -> Self {
        let (connection, statuses) = (tokio::sync::Mutex::default(), Mutex::default());
        Self { dial, purpose, connection, statuses, health: Arc::clone(health), closing }
    }

    /// The first connection: tried until `patience` is over. What only a person can mend ends it at once.
    pub async fn connect_first(&self, patience: Duration) -> Result<(), ConnectFault> {
        let deadline = Instant::now() + patience;
        let mut backoff = Backoff::default();
        let mut earlier = None;
        loop {
            let fault = match self.dial.connect(deadline.saturating_duration_since(Instant::now())).await {
                Ok(connection) => {
                    self.connection.lock().await.connection = Some(self.adopt(connection));
                    self.trouble().clear();
                    return Ok(());
                }
                Err(fault) => fault,
            };
            self.trouble().set(format!("{fault}; {}, until amqp.connect_timeout is over", tried_again()));
            let wait = backoff.next_wait();
            if Instant::now() >= deadline {
                // An attempt that was cut short says less than a whole one before it.
                return Err(earlier.unwrap_or(fault));
            }
            if fault.is_refusal() || Instant::now() + wait >= deadline {
                return Err(fault);
            }
            if backoff.is_told() {
                tracing::warn!(purpose = ?self.purpose, tries = backoff.tries(), "trying again: {fault}");
            }
            earlier = Some(fault);
            sleep(wait).await;
        }
    }

    /// A new channel, on a new connection where necessary, for which it waits without end. `None`: the link is closed.
    pub async fn channel(&self) -> Option<(Channel, Epoch)> {
        let work = async {
            let mut current = self.connection.lock().await;
            let mut backoff = Backoff::default();
            let mut is_new = false;
            loop {
                if let Some(open) = &current.connection
                    && open.status().connected()
                {
                    let trouble = match timeout(CALL_TIMEOUT, open_channel(open)).await {
                        Ok(Ok(channel)) => {
                            self.calm_down(&mut current);
                            if is_new {
                                self.health.broker_is_back.notify_waiters();
                            }
                            current.opened(&channel);
                            Self::close_unused(&mut current);
                            return (channel, Epoch(current.epoch));
                        }
                        Ok(Err(error)) if is_out_of_numbers(&error) => {
                            current.leave_used_up();
                            None
                        }
                        Ok(Err(error)) => Some(format!("the broker opens no channel: {error}")),
                        Err(_elapsed) => Some("the broker does not answer".to_owned()),
                    };
                    if let Some(trouble) = trouble {
                        self.complain(&mut current, trouble);
                        self.wait(backoff.next_wait()).await;
                    }
                }
                if let Some(lost) = current.connection.take() {
                    self.forget(lost);
                }
                match self.reconnect(&mut backoff).await {
                    Ok(connection) => {
                        current.connection = Some(connection);
                        is_new = true;
                    }
                    Err((fault, wait)) => {
                        self.complain(&mut current, fault.to_string());
                        self.wait(wait).await;
                    }
                }
                current.epoch += 1;
            }
        };
        self.closing.run_until_cancelled(work).await
    }

    /// Waits before the next try, but no longer than until the worker's other connection is back. That one ends a wait
    /// once for each time that it is made anew.
    async fn wait(&self, longest: Duration) {
        // An error means that the time is over.
        let _ = timeout(longest, self.health.broker_is_back.notified()).await;
    }

    pub(super) fn valve(&self) -> &Arc<Valve> {
        self.dial.valve()
    }

    /// True while a resource alarm of the broker stops this connection. A broker says so only to a connection that
    /// publishes, so one that is used up counts as well: the channel that publishes may be on it.
    pub fn blocked(&self) -> bool {
        let statuses = self.statuses();
        statuses.newest.iter().chain(&statuses.used_up).any(|status| status.connected() && status.blocked())
    }

    fn statuses(&self) -> MutexGuard<'_, Statuses> {
        self.statuses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows whether a resource alarm of the broker stops what is published on this connection, whoever publishes: answers,
    /// the lease, orders. Never ends.
    pub(super) async fn watch_for_alarms(self: Arc<Self>) {
        loop {
            let blocked = self.blocked();
            match (self.health.blocked.set(blocked), blocked) {
                (true, true) => tracing::warn!(
                    "a resource alarm of the broker (memory or disk) stops publishing: outcomes, and the renewal of the \
                     lease, wait until it ends; `rabbitmq-diagnostics alarms` names it"
                ),
                (true, false) => tracing::warn!("the resource alarm of the broker has ended: publishing goes on"),
                (false, _) => {}
            }
            sleep(ALARM_CHECK).await;
        }
    }

    /// Checks the topology, and declares what is missing of it; `None` while there is no connection.
    pub async fn ensure(&self, topology: &Topology) -> Option<Result<TopologyReport, TopologyFault>> {
        let ensured = self.ensure_once(topology).await;
        match ensured {
            None | Some(Err(TopologyFault::Lost(_))) if self.replaces_used_up().await => {
                self.ensure_once(topology).await
            }
            ensured => ensured,
        }
    }

    /// Makes another connection where the last one had to be left, because it was out of channel numbers; false where
    /// that is not so, or where the broker is away.
    async fn replaces_used_up(&self) -> bool {
        let is_left = {
            let current = self.connection.lock().await;
            current.connection.is_none() && !current.used_up.is_empty()
        };
        // Nothing is asked on the channel, so it may be dropped.
        is_left && matches!(timeout(CALL_TIMEOUT, self.channel()).await, Ok(Some(_)))
    }

    async fn ensure_once(&self, topology: &Topology) -> Option<Result<TopologyReport, TopologyFault>> {
        let mut current = self.connection.lock().await;
        let connection = current.connection.as_ref().filter(|connection| connection.status().connected())?;
        let ensured = topology.ensure(connection).await;
        current.ensured = ensured.is_ok().then_some(current.epoch);
        if let Err(TopologyFault::Lost(_)) = &ensured {
            current.leave_where_used_up().await;
        }
        Some(ensured)
    }

    /// The same while the worker runs: what is missing now was there before, and the log says that it is gone.
    pub async fn mend(&self, topology: &Topology) -> Option<Result<(), TopologyFault>> {
        let begun = Instant::now();
        Some(self.ensure(topology).await?.map(|report| tell_what_was_gone(&self.health, begun, &report)))
    }

    /// Checks all that is needed to take jobs from this queue, the other shards apart, and declares what is missing.
    /// What all queues have in common is left out where it was found whole on the connection of this `epoch`. `None`
    /// while there is no connection.
    pub(super) async fn ensure_for(
        &self,
        topology: &Topology,
        queue: QueueIndex,
        epoch: Option<Epoch>,
    ) -> Option<Result<(), TopologyFault>> {
        let begun = Instant::now();
        self.replaces_used_up().await;
        {
            let mut current = self.connection.lock().await;
            if epoch.is_none_or(|epoch| current.ensured != Some(epoch.0)) {
                let connection = current.connection.as_ref().filter(|connection| connection.status().connected())?;
                let ensured = topology.ensure_all_but_shards(connection).await;
                current.ensured = ensured.is_ok().then_some(current.epoch);
                match ensured {
                    Ok(report) => {
                        report.warnings.iter().for_each(|warning| tracing::debug!("{warning}"));
                        tell_what_was_gone(&self.health, begun, &report);
                    }
                    Err(fault) => {
                        if let TopologyFault::Lost(_) = &fault {
                            current.leave_where_used_up().await;
                        }
                        return Some(Err(fault));
                    }
                }
            }
        }
        Some(topology.ensure_shard(self, queue).await?.map(|report| tell_what_was_gone(&self.health, begun, &report)))
    }

    /// What is worth a warning about a jobs queue that was there before.
    pub async fn compare_jobs_queue(&self, topology: &Topology) -> Option<String> {
        let current = self.connection.lock().await;
        topology.compare_jobs_queue(current.connection.as_ref()?).await
    }

    /// What lies in each of these queues, in their order; `None` where nobody can say.
    pub async fn depths(&self, queues: &[ShortString]) -> Vec<Option<Depth>> {
        let mut found = Vec::with_capacity(queues.len());
        let looks = async {
            let mut channel = None;
            for queue in queues {
                let depth = self.depth(&mut channel, queue).await;
                if depth.is_none() {
                    // The broker answers a look at a queue that is missing, or not ours to see, by closing the channel.
                    channel = None;
                }
                found.push(depth);
            }
            if let Some(channel) = channel {
                // An error means that it was lost already.
                let _ = channel.close(REPLY_SUCCESS, "OK".into()).await;
            }
        };
        let _ = timeout(CALL_TIMEOUT, looks).await;
        found.resize(queues.len(), None);
        found
    }

    async fn depth(&self, channel: &mut Option<Channel>, queue: &ShortString) -> Option<Depth> {
        let open = match channel.take() {
            Some(open) => open,
            None => self.channel_at_once().await?,
        };
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let (looking, queue) = (open.clone(), queue.clone());
        let look = async move { looking.queue_declare(queue, passive, FieldTable::default()).await };
        let found = ask(look, Instant::now() + CALL_TIMEOUT).await.ok()?;
        *channel = Some(open);
        Some(Depth { ready: found.message_count().into(), consumers: found.consumer_count().into() })
    }

    /// A new channel, if there is a connection.
    async fn channel_at_once(&self) -> Option<Channel> {
        let is_connected = |connection: &Connection| connection.status().connected();
        if !self.connection.lock().await.connection.as_ref().is_some_and(is_connected) {
            return None;
        }
        Some(self.channel().await?.0)
    }

    /// Drops a connection that no longer answers, so that the next channel gets a new one; nothing if that happened
    /// already.
    pub async fn break_off(&self, silent: Epoch) {
        let mut current = self.connection.lock().await;
        if Epoch(current.epoch) == silent
            && let Some(lost) = current.connection.take()
        {
            self.forget(lost);
        }
    }

    /// Says goodbye to the broker; ends within 3 s whatever the broker does.
    pub async fn close(&self) {
        let goodbye = async {
            let mut current = self.connection.lock().await;
            let used_up = std::mem::take(&mut current.used_up).into_iter().map(|earlier| earlier.connection);
            let all: Vec<Connection> = used_up.chain(current.connection.take()).collect();
            // An error means that the connection was lost already.
            join_all(all.iter().map(|connection| connection.close(REPLY_SUCCESS, "OK".into()))).await;
        };
        let _ = timeout(CLOSE_TIMEOUT, goodbye).await;
    }

    /// The error comes with the time to wait before the next try.
    async fn reconnect(&self, backoff: &mut Backoff) -> Result<Connection, (ConnectFault, Duration)> {
        match self.dial.connect(Duration::MAX).await {
            Ok(connection) => {
                self.health.reconnects.add(1);
                tracing::info!(purpose = ?self.purpose, "connected to the broker");
                Ok(self.adopt(connection))
            }
            Err(fault) => {
                let wait = backoff.next_wait();
                if backoff.is_told() {
                    tracing::warn!(purpose = ?self.purpose, tries = backoff.tries(), "{fault}");
                }
                Err((fault, wait))
            }
        }
    }

    fn complain(&self, current: &mut Current, sentence: String) {
        current.complained = true;
        self.trouble().set(format!("{sentence}; {}", tried_again()));
    }

    fn calm_down(&self, current: &mut Current) {
        if std::mem::take(&mut current.complained) {
            self.trouble().clear();
        }
    }

    fn adopt(&self, connection: Connection) -> Connection {
        {
            let mut statuses = self.statuses();
            let before = statuses.newest.replace(connection.status().clone());
            statuses.used_up.extend(before);
            statuses.used_up.retain(ConnectionStatus::connected);
        }
        if self.purpose == Purpose::Publish {
            self.health.publishing.set(true);
        }
        connection
    }

    /// In a task of its own, because a connection that does not answer would not answer the goodbye either.
    fn forget(&self, lost: Connection) {
        self.statuses().newest = None;
        if self.purpose == Purpose::Publish {
            self.health.publishing.set(false);
        }
        say_goodbye(lost);
    }

    /// Closes those used-up connections of which no channel is in use any more.
    fn close_unused(current: &mut Current) {
        let is_unused = |earlier: &mut UsedUp| !earlier.channels.iter().any(ChannelStatus::connected);
        for unused in current.used_up.extract_if(.., is_unused) {
            say_goodbye(unused.connection);
        }
    }

    fn trouble(&self) -> &Trouble {
        match self.purpose {
            Purpose::Consume => &self.health.connection_trouble,
            Purpose::Publish => &self.health.publishing_trouble,
        }
    }
}

fn say_goodbye(connection: Connection) {
    tokio::spawn(async move { timeout(CLOSE_TIMEOUT, connection.close(REPLY_SUCCESS, "OK".into())).await });
}

impl Channels for Link {
    async fn channel(&self) -> Option<Channel> {
        Some(Self::channel(self).await?.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::AmqpSettings;

    #[tokio::test(start_paused = true)]
    async fn the_return_of_one_connection_ends_the_wait_of_the_other() {
        let health = Arc::default();
        let link = |purpose| {
            Link::new(Dial::new(&AmqpSettings::default(), "test"), purpose, &health, CancellationToken::new())
        };
        let (consume, begun) = (link(Purpose::Consume), Instant::now());
        let back = async {
            sleep(Duration::from_secs(1)).await;
            health.broker_is_back.notify_waiters();
        };
        tokio::join!(consume.wait(Duration::from_secs(30)), back);
        assert_eq!(begun.elapsed(), Duration::from_secs(1));
        consume.wait(Duration::from_secs(30)).await;
        assert_eq!(begun.elapsed(), Duration::from_secs(31), "once for each return");
    }
}
