//! 20,000 jobs through the worker and a simulated HubSpot, every answer checked.
//!
//! `demo` runs over a throwaway RabbitMQ, `demo embedded` without one; `demo keep` then goes on with some traffic. Exit 0
//! only if all is as it ought to be.
#![allow(clippy::cast_possible_truncation, reason = "counts and rates of a demo, shown to people")]

mod answers;
mod embedded;
mod keep;
mod live;
mod over_broker;
mod screen;
mod settings;
mod summary;
mod traffic;
mod way_back;

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use harness::SimulatorProcess;
use hubspot_simulator::State;

use crate::answers::Answers;
use crate::live::Live;
use crate::screen::{Screen, grouped};
use crate::settings::{CEILING, INTERVAL, Settings};
use crate::traffic::Traffic;

/// How long HubSpot takes to answer a batch, roughly.
const LATENCY: &str = "120ms";

enum Way {
    Broker,
    BrokerKept,
    Embedded,
}

#[tokio::main]
async fn main() -> ExitCode {
    let ended = match way() {
        Ok(way) => demo(&way).await,
        Err(error) => {
            eprintln!("demo: {error:#}");
            return ExitCode::from(2);
        }
    };
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("\ndemo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn way() -> Result<Way> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => Ok(Way::Broker),
        ["keep"] => Ok(Way::BrokerKept),
        ["embedded"] => Ok(Way::Embedded),
        _ => bail!("usage: demo [keep|embedded]"),
    }
}

/// Whether everything was right.
async fn demo(way: &Way) -> Result<bool> {
    let screen = Screen::of_stdout();
    let traffic = Traffic::new()?;
    let simulator = simulator(&traffic).await?;
    let settings = Settings::new(simulator.uri());
    let mut live = Live::new(screen);
    match way {
        Way::Broker | Way::BrokerKept => {
            println!("starting a throwaway RabbitMQ on a port of its own");
            let broker = over_broker::broker().await?;
            announce(&traffic);
            let answers = over_broker::run(&traffic, &broker, &settings, &mut live).await?;
            let right = report(screen, &traffic, &answers, &simulator, &live).await?;
            let right = way_back::show(screen).await? && right;
            if let Way::BrokerKept = way {
                keep::on(&broker, &settings).await?;
            }
            Ok(right)
        }
        Way::Embedded => {
            announce(&traffic);
            let answers = embedded::run(&traffic, &settings, &mut live).await?;
            let right = report(screen, &traffic, &answers, &simulator, &live).await?;
            Ok(way_back::show(screen).await? && right)
        }
    }
}

async fn simulator(traffic: &Traffic) -> Result<SimulatorProcess> {
    let limit = format!("{CEILING}/{}s", INTERVAL.as_secs());
    let portal = traffic::PORTAL.to_string();
    let mut flags = vec!["--limit", &limit, "--latency", LATENCY, "--portal", &portal];
    let refused: Vec<String> = traffic.refused().iter().map(u64::to_string).collect();
    flags.extend(refused.iter().flat_map(|id| ["--bad-id", id]));
    SimulatorProcess::start(&flags).await
}

fn announce(traffic: &Traffic) {
    println!(
        "sending {} jobs to archive associations; the account allows {CEILING} requests in {} s",
        grouped(traffic.submissions.len() as u64),
        INTERVAL.as_secs()
    );
}

async fn report(
    screen: Screen,
    traffic: &Traffic,
    answers: &Answers,
    simulator: &SimulatorProcess,
    live: &Live,
) -> Result<bool> {
    let state: State = serde_json::from_value(simulator.state().await?).context("the simulator's account")?;
    summary::print(screen, traffic, answers, &state, live.took());
    let faults = answers.faults(traffic, simulator).await?;
    summary::verdict(screen, answers, &faults);
    Ok(faults.is_empty())
}
