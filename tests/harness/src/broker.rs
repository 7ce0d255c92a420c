//! A private RabbitMQ node on loopback: own directory, ports, cookie and port mapper; gone with its owner.

use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use tokio::sync::OnceCell;

use crate::family::Family;
use crate::node::Node;
use crate::port::free_port;

const CTL_LIMIT: Duration = Duration::from_secs(60);
/// Another process may take a port between its choice and the node's bind.
const START_TRIES: usize = 3;

const LEADER_LIMIT: Duration = Duration::from_secs(15);
/// Erlang: the quorum queues whose leader does not answer within a second.
const LEADERLESS_QUEUES: &str = "[Name || Q <- rabbit_amqqueue:list(), amqqueue:is_quorum(Q), \
     Name <- [amqqueue:get_pid(Q)], element(1, ra:members(Name, 1000)) =/= ok].";

/// Erlang: the `Tag` of each consumer of a channel process `C`.
const CONSUMERS: &str =
    "{_, Channel, Tag} <- [element(1, Row) || Row <- ets:tab2list(consumer_created)], Channel =:= C";
/// Erlang: the client is told that the broker has cancelled the consumer `Tag` of `C`, unless the channel has ended. From
/// 4.3 on its state lacks the protocol, which stood before its number and its writer.
const TOLD_CANCELLED: &str = "State <- [catch sys:get_state(C)], tuple_size(State) > 4, \
     Conf <- [element(2, element(4, State))], \
     Writer <- [element(case is_integer(element(4, Conf)) of true -> 6; false -> 5 end, Conf)], \
     ok =:= rabbit_writer:send_command(Writer, {'basic.cancel', Tag, true})";

/// What a node is started with besides the harness's own settings.
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub(crate) plugins: Vec<String>,
    /// Lines of rabbitmq.conf; for a key given twice RabbitMQ takes the last, so these win.
    pub(crate) conf: String,
    pub(crate) advanced: Option<String>,
}

impl Options {
    /// Enables a plugin of the package, e.g. `rabbitmq_management` (see [`Broker::management_uri`]).
    #[must_use]
    pub fn plugin(mut self, name: &str) -> Self {
        self.plugins.push(name.to_owned());
        self
    }

    /// Adds a line to rabbitmq.conf, e.g. `consumer_timeout = 5000`. An unknown key keeps the node from starting.
    #[must_use]
    pub fn conf(mut self, line: &str) -> Self {
        self.conf.push_str(line);
        self.conf.push('\n');
        self
    }

    /// Sets advanced.config, Erlang terms with the final dot, e.g. `[{rabbit,[{channel_tick_interval,2000}]}].`
    #[must_use]
    pub fn advanced(mut self, terms: &str) -> Self {
        self.advanced = Some(terms.to_owned());
        self
    }

    /// Acknowledgement timeout of consumers, looked at by the broker twice as often as it needs.
    #[must_use]
    pub fn consumer_timeout(self, timeout: Duration) -> Self {
        let millis = timeout.as_millis();
        let tick = (millis / 2).max(500);
        self.conf(&format!("consumer_timeout = {millis}"))
            .advanced(&format!("[{{rabbit,[{{channel_tick_interval,{tick}}}]}}].\n"))
    }
}

/// A virtual host and how `guest` reaches it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vhost {
    pub name: String,
    pub uri: String,
}

/// A user's rights in a virtual host: RabbitMQ's three regular expressions.
#[derive(Clone, Copy, Debug)]
pub struct Rights<'a> {
    pub configure: &'a str,
    pub write: &'a str,
    pub read: &'a str,
}

impl Rights<'_> {
    pub const ALL: Self = Self { configure: ".*", write: ".*", read: ".*" };
}

/// Which of a user's channels [`Broker::close_channels`] closes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChannelUse {
    Consuming,
    /// All that have no consumer.
    Other,
}

static SHARED: OnceCell<Broker> = OnceCell::const_new();

/// A running node. Dropping it kills the VM and removes every trace; so does the end of the test process.
#[derive(Debug)]
pub struct Broker {
    node: Node,
    management_port: Option<u16>,
}

impl Broker {
    /// Starts a node and waits until it speaks AMQP (4 to 10 s on two cores).
    pub async fn start(options: Options) -> Result<Self> {
        let mut tries = 1;
        loop {
            match Self::start_once(options.clone()).await {
                Err(error) if tries < START_TRIES && format!("{error:#}").contains("eaddrinuse") => tries += 1,
                result => return result,
            }
        }
    }

    /// The one node that all tests of a process share; started by the first that asks. Use a [`Broker::vhost`] each, and
    /// a broker of your own for anything that disturbs the node itself.
    pub async fn shared() -> Result<&'static Self> {
        SHARED.get_or_try_init(|| Self::start(Options::default())).await
    }

    async fn start_once(mut options: Options) -> Result<Self> {
        let management_port = if options.plugins.iter().any(|plugin| plugin == "rabbitmq_management") {
            let port = free_port()?;
            options = options.conf("management.tcp.ip = 127.0.0.1").conf(&format!("management.tcp.port = {port}"));
            Some(port)
        } else {
            None
        };
        let broker = Self::prepare(Arc::new(Family::start()?), "solo", &options, management_port)?;
        broker.launch()?;
        broker.ready().await?;
        Ok(broker)
    }

    pub(crate) fn prepare(
        family: Arc<Family>,
        name: &str,
        options: &Options,
        management_port: Option<u16>,
    ) -> Result<Self> {
        Ok(Self { node: Node::prepare(family, name, options)?, management_port })
    }

    pub(crate) fn launch(&self) -> Result<()> {
        self.node.launch()
    }

    pub(crate) async fn ready(&self) -> Result<()> {
        self.node.ready().await
    }

    /// User and system CPU time of the node since its start, in microseconds; the kernel counts in steps of 10,000.
    pub fn cpu_micros(&self) -> Result<u64> {
        self.node.cpu_micros()
    }

    /// The node's name as `rabbitmqctl` knows it.
    pub fn name(&self) -> &str {
        self.node.name()
    }

    /// Where AMQP is spoken.
    pub fn address(&self) -> SocketAddr {
        self.node.address()
    }

    /// The default virtual host `/` as `guest`.
    pub fn uri(&self) -> String {
        self.uri_as("guest", "guest", "%2f")
    }

    /// An AMQP URI of this node; `vhost` as it stands in a URI, so `/` is `%2f`.
    pub fn uri_as(&self, user: &str, password: &str, vhost: &str) -> String {
        format!("amqp://{user}:{password}@{}/{vhost}", self.address())
    }

    /// Base of the HTTP API, when the management plugin is enabled.
    pub fn management_uri(&self) -> Option<String> {
        self.management_port.map(|port| format!("http://127.0.0.1:{port}"))
    }

    /// Adds a virtual host in which `guest` may do everything. Letters, digits, `-`, `_` and `.` only.
    pub async fn vhost(&self, name: &str) -> Result<Vhost> {
        let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        ensure!(
            plain && !name.is_empty(),
            "a virtual host called {name:?} would need quoting: use letters, digits, -_."
        );
        // One call of the control tool instead of two: each starts an Erlang VM (0.6 s).
        self.ctl(&[
            "eval",
            &format!(
                "ok = rabbit_vhost:add(<<\"{name}\">>, <<\"harness\">>), \
                 ok = rabbit_auth_backend_internal:set_permissions(<<\"guest\">>, <<\"{name}\">>, \
                 <<\".*\">>, <<\".*\">>, <<\".*\">>, <<\"harness\">>)."
            ),
        ])
        .await?;
        Ok(Vhost { name: name.to_owned(), uri: self.uri_as("guest", "guest", name) })
    }

    /// Runs `rabbitmqctl` on the node and returns what it printed.
    pub async fn ctl(&self, arguments: &[&str]) -> Result<String> {
        let mut command = self.node.family().script("rabbitmqctl");
        command.args(["-n", self.node.name(), "-q"]).args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut command = tokio::process::Command::from(command);
        let output = tokio::time::timeout(CTL_LIMIT, command.kill_on_drop(true).output())
            .await
            .with_context(|| format!("rabbitmqctl {arguments:?} gave no answer within {CTL_LIMIT:?}"))??;
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            bail!("rabbitmqctl {arguments:?}: {printed}{}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(printed)
    }

    /// Adds a user with these rights in one virtual host.
    pub async fn add_user(&self, name: &str, password: &str, vhost: &str, rights: Rights<'_>) -> Result<()> {
        self.ctl(&["add_user", name, password]).await?;
        self.set_rights(name, vhost, rights).await
    }

    /// Replaces a user's rights in one virtual host.
    pub async fn set_rights(&self, user: &str, vhost: &str, rights: Rights<'_>) -> Result<()> {
        let Rights { configure, write, read } = rights;
        self.ctl(&["set_permissions", "-p", vhost, user, configure, write, read]).await.map(drop)
    }

    /// Takes away all of a user's rights in one virtual host.
    pub async fn clear_rights(&self, user: &str, vhost: &str) -> Result<()> {
        self.ctl(&["clear_permissions", "-p", vhost, user]).await.map(drop)
    }

    pub async fn delete_user(&self, name: &str) -> Result<()> {
        self.ctl(&["delete_user", name]).await.map(drop)
    }

    /// The broker closes every client's connection, as an operator would; back when it has begun to.
    pub async fn close_all_connections(&self) -> Result<()> {
        self.ctl(&["close_all_connections", "closed by the test"]).await.map(drop)
    }

    /// The broker finds fault with these channels and closes them alone, as it does after an acknowledgement of what it
    /// never delivered; their connections stay. Returns how many there were.
    pub async fn close_channels(&self, user: &str, of: ChannelUse) -> Result<usize> {
        self.with_channels(
            user,
            of,
            "ok =:= gen_server2:cast(C, {method, {'basic.ack', 1 bsl 40, false}, none, noflow})",
        )
        .await
    }

    /// The broker cancels this user's consumers, tells them so, and takes back what they have in hand, as RabbitMQ 4.3
    /// does when an acknowledgement is late. Returns how many consumers there were.
    ///
    /// 4.3 passes over acknowledgements that come after that; earlier versions close the channel.
    pub async fn take_jobs_back(&self, user: &str) -> Result<usize> {
        let steps = format!(
            "{CONSUMERS}, ok =:= gen_server2:cast(C, {{method, {{'basic.cancel', Tag, true}}, none, noflow}}), \
             ok =:= gen_server2:cast(C, {{method, {{'basic.recover_async', true}}, none, noflow}}), {TOLD_CANCELLED}"
        );
        self.with_channels(user, ChannelUse::Consuming, &steps).await
    }

    /// The broker tells this user's consumers that they are cancelled, and keeps them all the same, as RabbitMQ 4.3 does
    /// with a consumer whose acknowledgement is late. Returns how many there were.
    pub async fn call_consumers_cancelled(&self, user: &str) -> Result<usize> {
        let steps = format!("{CONSUMERS}, {TOLD_CANCELLED}");
        self.with_channels(user, ChannelUse::Consuming, &steps).await
    }

    /// Does something to each channel `C` of a user; `steps` are qualifiers of an Erlang list comprehension.
    async fn with_channels(&self, user: &str, of: ChannelUse, steps: &str) -> Result<usize> {
        let consuming = of == ChannelUse::Consuming;
        let expression = format!(
            "length([C || C <- rabbit_channel:list(), \
             I <- [catch rabbit_channel:info(C, [user, consumer_count])], is_list(I), \
             proplists:get_value(user, I) =:= <<\"{user}\">>, \
             (proplists:get_value(consumer_count, I) > 0) =:= {consuming}, {steps}])."
        );
        let number = self.ctl(&["eval", &expression]).await?;
        number.trim().parse().with_context(|| format!("the number of channels is {number:?}"))
    }

    /// From now on publishing connections are blocked. The settings of the node are not changed.
    pub async fn raise_memory_alarm(&self) -> Result<()> {
        self.ctl(&["set_vm_memory_high_watermark", "absolute", "1MB"]).await.map(drop)
    }

    pub async fn clear_memory_alarm(&self) -> Result<()> {
        self.ctl(&["set_vm_memory_high_watermark", "absolute", "1GB"]).await.map(drop)
    }

    /// SIGKILL, as a power cut of the node; back when it is gone. Its data and ports wait for [`Broker::restart`].
    ///
    /// RabbitMQ 3.10 loses quorum queues declared less than about a second before: wait 2 s after declaring.
    pub async fn kill9(&self) -> Result<()> {
        self.node.kill9().await
    }

    /// Orderly stop by SIGTERM; back when it is gone. Dropping the broker needs no stop before.
    pub async fn stop(&self) -> Result<()> {
        self.node.stop().await
    }

    /// Starts the node again on its data and ports; stops it in good order first if it still runs.
    ///
    /// Back when it speaks AMQP and its quorum queues have leaders: until then they seem empty. A queue that finds none
    /// within 15 s, for lack of other nodes perhaps, is left as it is.
    pub async fn restart(&self) -> Result<()> {
        if self.node.running()? {
            self.node.stop().await?;
        }
        self.node.launch()?;
        self.node.ready().await?;
        let end = Instant::now() + LEADER_LIMIT;
        while self.ctl(&["eval", LEADERLESS_QUEUES]).await?.trim() != "[]" && Instant::now() < end {}
        Ok(())
    }

    /// SIGSTOP: connections stay open and nothing answers.
    pub fn freeze(&self) -> Result<()> {
        self.node.signal(Signal::STOP)
    }

    /// SIGCONT.
    pub fn thaw(&self) -> Result<()> {
        self.node.signal(Signal::CONT)
    }
}
