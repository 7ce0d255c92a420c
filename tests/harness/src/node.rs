//! One Erlang VM with RabbitMQ in it: started, probed, signalled, killed.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Child;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::broker::Options;
use crate::deadline::eventually;
use crate::family::Family;
use crate::port::free_port;
use crate::process::cpu_micros;

/// A single node needs 4 to 10 s on two cores, three at once some 20 s; the rest is for a busy machine.
const START_LIMIT: Duration = Duration::from_secs(120);
const STOP_LIMIT: Duration = Duration::from_secs(30);
const KILL_LIMIT: Duration = Duration::from_secs(10);
const LOG_TAIL_BYTES: usize = 2_000;

/// Two schedulers that sleep rather than spin, so that the broker leaves the cores to what is tested; and a port table
/// that does not grow with the machine's limit of open files.
const ERLANG_ARGUMENTS: &str = "+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none +Q 65536 \
     -kernel inet_dist_use_interface {127,0,0,1} -start_epmd false";

/// A write-ahead log of 64 MiB instead of 512: its content is also held in memory, and that must not raise an alarm.
const SETTINGS: &str = "\
vm_memory_high_watermark.absolute = 1GiB
disk_free_limit.absolute = 50MB
raft.wal_max_size_bytes = 67108864
heartbeat = 10
log.console = false
";

#[derive(Debug)]
pub(crate) struct Node {
    name: String,
    directory: PathBuf,
    amqp_port: u16,
    distribution_port: u16,
    vm: Mutex<Option<Child>>,
    family: Arc<Family>,
}

impl Node {
    /// Lays out the directory; [`Node::start`] runs it. `name` is the part before `@localhost`.
    pub(crate) fn prepare(family: Arc<Family>, name: &str, options: &Options) -> Result<Self> {
        let directory = family.node_directory(name);
        for part in ["mnesia", "log", "generated"] {
            fs::create_dir_all(directory.join(part))?;
        }
        fs::write(directory.join("rabbitmq.conf"), format!("{SETTINGS}{}\n", options.conf))?;
        fs::write(directory.join("enabled_plugins"), format!("[{}].\n", options.plugins.join(",")))?;
        if let Some(terms) = &options.advanced {
            fs::write(directory.join("advanced.config"), terms)?;
        }
        let (amqp_port, distribution_port) = (free_port()?, free_port()?);
        Ok(Self { name: format!("{name}@localhost"), directory, amqp_port, distribution_port, vm: None.into(), family })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn family(&self) -> &Family {
        &self.family
    }

    pub(crate) fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.amqp_port).into()
    }

    /// Starts the VM without waiting for it.
    pub(crate) fn launch(&self) -> Result<()> {
        let log = self.directory.join("log");
        let mut command = self.family.script("rabbitmq-server");
        command
            // Makes the script become the VM instead of watching over it: the child's id is the VM's.
            .env("detached", "1")
            .env("RABBITMQ_NODENAME", &self.name)
            .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODE_PORT", self.amqp_port.to_string())
            .env("RABBITMQ_DIST_PORT", self.distribution_port.to_string())
            .env("RABBITMQ_MNESIA_BASE", self.directory.join("mnesia"))
            .env("RABBITMQ_LOG_BASE", &log)
            .env("RABBITMQ_PID_FILE", self.directory.join("vm.pid"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", self.directory.join("enabled_plugins"))
            .env("RABBITMQ_CONFIG_FILE", self.directory.join("rabbitmq.conf"))
            .env("RABBITMQ_ADVANCED_CONFIG_FILE", self.directory.join("advanced.config"))
            .env("RABBITMQ_GENERATED_CONFIG_DIR", self.directory.join("generated"))
            .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", ERLANG_ARGUMENTS)
            .stdout(File::create(log.join("stdout"))?)
            .stderr(File::create(log.join("stderr"))?);
        let mut vm = self.vm.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = vm.as_mut() {
            ensure!(running.try_wait()?.is_some(), "{} runs already", self.name);
        }
        *vm = Some(command.spawn().context("rabbitmq-server could not be started")?);
        Ok(())
    }

    /// Waits until the node speaks AMQP; an early death is reported with what it logged.
    pub(crate) async fn ready(&self) -> Result<()> {
        let what = format!("{} to speak AMQP on {}", self.name, self.address());
        let up = eventually(START_LIMIT, &what, async || {
            Ok(if self.ended()? {
                Some(false)
            } else {
                speaks_amqp(self.address()).await?;
                Some(true)
            })
        })
        .await;
        match up {
            Ok(true) => Ok(()),
            Ok(false) => bail!("{} ended while starting; it said: {}", self.name, self.last_words()),
            Err(error) => Err(error.context(format!("it said: {}", self.last_words()))),
        }
    }

    pub(crate) fn running(&self) -> Result<bool> {
        self.ended().map(|ended| !ended)
    }

    /// Sends a signal to the VM.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        let mut vm = self.vm.lock().unwrap_or_else(PoisonError::into_inner);
        let child = vm.as_mut().with_context(|| format!("{} was never started", self.name))?;
        // Once reaped, the id may belong to anybody.
        ensure!(child.try_wait()?.is_none(), "{} does not run", self.name);
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("a process id out of range")?;
        kill_process(pid, signal).with_context(|| format!("signal {signal:?} to {}", self.name))
    }

    /// User and system CPU time of the VM since its start, in microseconds.
    pub(crate) fn cpu_micros(&self) -> Result<u64> {
        let vm = self.vm.lock().unwrap_or_else(PoisonError::into_inner);
        let id = vm.as_ref().with_context(|| format!("{} was never started", self.name))?.id();
        cpu_micros(&fs::read_to_string(format!("/proc/{id}/stat"))?)
    }

    /// SIGKILL, and back when the VM is gone and its ports are free.
    pub(crate) async fn kill9(&self) -> Result<()> {
        self.signal(Signal::KILL)?;
        self.gone(KILL_LIMIT).await
    }

    /// SIGTERM: the orderly stop, which closes connections with a reason.
    pub(crate) async fn stop(&self) -> Result<()> {
        self.signal(Signal::TERM)?;
        self.gone(STOP_LIMIT).await
    }

    async fn gone(&self, limit: Duration) -> Result<()> {
        eventually(limit, &format!("{} to end", self.name), async || Ok(self.ended()?.then_some(()))).await
    }

    fn ended(&self) -> Result<bool> {
        let mut vm = self.vm.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(match vm.as_mut() {
            Some(child) => child.try_wait()?.is_some(),
            None => true,
        })
    }

    /// The ends of all its logs, for an error message.
    fn last_words(&self) -> String {
        let files = fs::read_dir(self.directory.join("log")).into_iter().flatten().flatten();
        let tails = files.filter_map(|file| fs::read(file.path()).ok()).map(|bytes| {
            let tail = bytes.get(bytes.len().saturating_sub(LOG_TAIL_BYTES)..).unwrap_or_default();
            String::from_utf8_lossy(tail).trim().to_owned()
        });
        tails.collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let vm = self.vm.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(child) = vm.as_mut() {
            // Both fail only when it is gone already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// An open port is not enough: it opens before the node takes connections. A method frame in answer to the protocol
/// header (its first byte is 1) is.
async fn speaks_amqp(address: SocketAddr) -> Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"AMQP\x00\x00\x09\x01").await?;
    let first = stream.read_u8().await?;
    ensure!(first == 1, "answered the AMQP header with byte {first}");
    Ok(())
}
