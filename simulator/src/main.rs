//! The simulator as a process: flags in, one line with its address out, until it is told to stop.

mod association_flags;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Parser, ValueEnum};
use hubspot_simulator::account::Tokens;
use hubspot_simulator::behaviour::Success;
use hubspot_simulator::duration::parse as parse_duration;
use hubspot_simulator::refusal::BadMode;
use hubspot_simulator::settings::{AccountSettings, LimitSetting, RetryAfterSetting};
use hubspot_simulator::world::DEFAULT_PORTAL;
use hubspot_simulator::{Account, Rule, Settings, Simulator, World};
use jiff::Timestamp;
use tokio::signal::unix::{SignalKind, signal};

use crate::association_flags::AssociationFlags;

/// HubSpot's association endpoints, to test and try against: nothing here is ever sent to HubSpot.
///
/// Prints `listening on http://…` as its first line when it is ready, and serves until SIGTERM or SIGINT.
/// While it runs, GET /_sim/state tells what it has seen; PUT /_sim/faults and POST /_sim/config change it.
#[derive(Parser, Debug)]
#[command(version, max_term_width = 100)]
struct Flags {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: SocketAddr,

    /// Port on 127.0.0.1, instead of --listen
    #[arg(long, value_name = "N", conflicts_with = "listen")]
    port: Option<u16>,

    /// Requests in every rolling interval, for each account; `off` for no limit
    #[arg(long, value_name = "N/TIME", default_value = "100/10s")]
    limit: LimitSetting,

    /// Requests in every rolling second, for each account
    #[arg(long, value_name = "N")]
    secondly: Option<usize>,

    /// Requests a day, for each account; the day ends at midnight in --time-zone
    #[arg(long, value_name = "N")]
    daily: Option<u64>,

    /// Time zone of every account
    #[arg(long, value_name = "NAME", default_value = "UTC")]
    time_zone: String,

    /// Do not send X-HubSpot-RateLimit-* headers
    #[arg(long)]
    no_headers: bool,

    /// Send Retry-After with a 429
    #[arg(long, value_name = "FORM")]
    retry_after: Option<RetryAfter>,

    /// Time until an answer
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    latency: Option<Duration>,

    /// Up to this much more, at random
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    jitter: Option<Duration>,

    /// A record that is refused wherever it stands; may be given often
    #[arg(long = "bad-id", value_name = "ID")]
    bad_ids: Vec<u64>,

    /// What a refused record does to its request
    #[arg(long, value_name = "MODE", default_value = "207-named")]
    bad_mode: BadMode,

    /// Category of a refused record
    #[arg(long, value_name = "CATEGORY", default_value = "VALIDATION_ERROR")]
    bad_category: String,

    /// Status of a success: 204 without a body, 200 or 207 with one
    #[arg(long, value_name = "STATUS", default_value = "204", value_parser = success)]
    success: Success,

    /// A portal and a token for it; may be given often. Without any, every bearer token is accepted
    #[arg(long = "token", value_name = "PORTAL=TOKEN", value_parser = portal_token)]
    tokens: Vec<(u64, String)>,

    /// Portal id of the account that accepts every token
    #[arg(long, value_name = "ID", default_value_t = DEFAULT_PORTAL)]
    portal: u64,

    /// Answer requests with more pairs than this 413
    #[arg(long, value_name = "N")]
    max_pairs: Option<usize>,

    /// Count each archived pair; costs memory for each
    #[arg(long, value_name = "WHETHER", default_value = "on")]
    record: Switch,

    /// JSON file with fault rules, as for PUT /_sim/faults: [{"when": {"from": "deals"}, "then": {"answer": {"status":
    /// 502}}}]; a wrong name is answered with those that there are
    #[arg(long, value_name = "FILE")]
    faults: Option<PathBuf>,

    /// JSON file with settings, as for POST /_sim/config; its settings win over flags
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Seed of everything random
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,

    #[command(flatten)]
    associations: AssociationFlags,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Switch {
    On,
    Off,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum RetryAfter {
    Seconds,
    Date,
}

// All work is under one lock, and a second thread would only pass it to and fro.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let flags = Flags::parse();
    let addr = flags.port.map_or(flags.listen, |port| (Ipv4Addr::LOCALHOST, port).into());
    let ended = match flags.world() {
        Ok(world) => serve(world, addr).await.map_err(|error| (1, error)),
        Err(error) => Err((2, error)),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err((code, error)) => {
            eprintln!("hubspot-simulator: {error:#}");
            ExitCode::from(code)
        }
    }
}

async fn serve(world: World, addr: SocketAddr) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let simulator = Simulator::listen(world, addr)
        .await
        .with_context(|| format!("cannot listen on {addr}; choose another with --listen or --port"))?;
    let mut stdout = std::io::stdout();
    writeln!(stdout, "listening on {}", simulator.base_url())
        .and_then(|()| stdout.flush())
        .context("stdout is closed")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    simulator.stop().await;
    Ok(())
}

impl Flags {
    fn world(self) -> anyhow::Result<World> {
        let account = Account { tokens: Tokens::Any, ..Account::new(self.portal) };
        let mut world = World::with_accounts(self.seed, Timestamp::now(), vec![account]);
        if let Some(path) = &self.faults {
            let rules: Vec<Rule> = read_json(path, "--faults")?;
            world.faults.install(rules, Duration::ZERO);
        }
        let more: Option<Settings> = self.config.as_ref().map(|path| read_json(path, "--config")).transpose()?;
        self.settings()?.apply(&mut world);
        if let Some(settings) = more {
            settings.apply(&mut world);
        }
        Ok(world)
    }

    fn settings(self) -> anyhow::Result<Settings> {
        let time_zone = jiff::tz::TimeZone::get(&self.time_zone).with_context(|| {
            format!("--time-zone {:?} is unknown; give a name such as Europe/Berlin", self.time_zone)
        })?;
        let mut accounts: BTreeMap<u64, AccountSettings> = BTreeMap::new();
        for (portal, token) in self.tokens {
            accounts.entry(portal).or_default().tokens.get_or_insert_default().insert(token);
        }
        let every_account = AccountSettings {
            time_zone: Some(time_zone),
            limit: Some(self.limit),
            secondly: self.secondly,
            daily: self.daily,
            rate_headers: Some(!self.no_headers),
            retry_after: self.retry_after.map(|form| match form {
                RetryAfter::Seconds => RetryAfterSetting::Seconds,
                RetryAfter::Date => RetryAfterSetting::Date,
            }),
            bad_ids: Some(self.bad_ids),
            bad_mode: Some(self.bad_mode),
            bad_category: Some(self.bad_category),
            record: Some(self.record == Switch::On),
            ..AccountSettings::default()
        };
        let settings = Settings {
            latency: self.latency,
            jitter: self.jitter,
            success: Some(self.success),
            max_pairs: self.max_pairs,
            every_account,
            accounts,
            ..Settings::default()
        };
        Ok(self.associations.settings(settings))
    }
}

fn read_json<T: serde::de::DeserializeOwned>(path: &PathBuf, flag: &str) -> anyhow::Result<T> {
    let text = std::fs::read(path).with_context(|| format!("{flag} {} cannot be read", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("{flag} {} is not understood", path.display()))
}

fn success(text: &str) -> Result<Success, String> {
    let status: u16 = text.parse().map_err(|_| format!("{text:?} is no status"))?;
    Success::try_from(status)
}

fn portal_token(text: &str) -> Result<(u64, String), String> {
    let wrong = || "write PORTAL=TOKEN, the portal as a number".to_owned();
    let (portal, token) = text.split_once('=').ok_or_else(wrong)?;
    if token.is_empty() { Err(wrong()) } else { Ok((portal.parse().map_err(|_| wrong())?, token.to_owned())) }
}
