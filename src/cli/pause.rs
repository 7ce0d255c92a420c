//! `pause`, `resume`, `approve` and `reject`: orders to the running service, over its endpoints.

use std::path::Path;
use std::process::ExitCode;

use super::exit::Failure;
use super::lane::LanePattern;
use super::paint::harmless;
use super::{admin_call, output, runtime};
use crate::config::Settings;
use crate::lease::order::Instruction;

#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// The account: its portal id, or its place in the settings (0 is the first)
    #[arg(value_parser = account)]
    account: u64,
    /// Only this lane, as FROM/TO or as the log names it: contacts/companies; what removes labels is paused with it
    #[arg(long, value_name = "FROM/TO", value_parser = LanePattern::parse)]
    lane: Option<LanePattern>,
    /// The service's answer as JSON
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args, Debug)]
pub struct GuardArguments {
    /// The account: its portal id, or its place in the settings (0 is the first)
    #[arg(value_parser = account)]
    account: u64,
    /// The service's answer as JSON
    #[arg(long)]
    json: bool,
}

fn account(text: &str) -> Result<u64, String> {
    text.parse()
        .map_err(|_| "write the portal id, such as 4711, or the place in the settings, 0 for the first".to_owned())
}

/// Jobs stay in the queue until it is resumed.
pub fn pause(config: Option<&Path>, arguments: &Arguments) -> Result<ExitCode, Failure> {
    order(config, arguments, Instruction::Pause)
}

/// Ends an operator's pause. What stands for another reason is tried at once.
pub fn resume(config: Option<&Path>, arguments: &Arguments) -> Result<ExitCode, Failure> {
    order(config, arguments, Instruction::Resume)
}

/// Lets everything through the guard of an account for one window.
pub fn approve(config: Option<&Path>, arguments: &GuardArguments) -> Result<ExitCode, Failure> {
    answer_guard(config, arguments, Instruction::Approve)
}

/// Fails the removals that an account's guard has stopped, and those that come until it is approved.
pub fn reject(config: Option<&Path>, arguments: &GuardArguments) -> Result<ExitCode, Failure> {
    answer_guard(config, arguments, Instruction::Reject)
}

fn answer_guard(config: Option<&Path>, arguments: &GuardArguments, wanted: Instruction) -> Result<ExitCode, Failure> {
    let GuardArguments { account, json } = *arguments;
    order(config, &Arguments { account, lane: None, json }, wanted)
}

fn order(config: Option<&Path>, arguments: &Arguments, order: Instruction) -> Result<ExitCode, Failure> {
    let settings = Settings::load(config)?;
    super::remark_on_settings(&settings);
    let admin = settings.admin;
    let Some(token) = admin.token()? else {
        return Err(Failure::Usage(
            "admin.token is not set, and without it the service takes no orders: set admin.token_file (or admin.token) for the service and here"
                .to_owned(),
        ));
    };
    let verb = order.as_str();
    let Arguments { account, lane, json } = arguments;
    let (path, subject) = match lane {
        None => (format!("/accounts/{account}/{verb}"), format!("account {account}")),
        Some(LanePattern { from, to }) => {
            let lane = format!("{}/{}", from.as_written(), to.as_written());
            (format!("/accounts/{account}/lanes/{lane}/{verb}"), format!("lane {lane} of account {account}"))
        }
    };
    let answer = runtime::block_on(admin_call::post(admin.listen, &path, &token))?;
    if !matches!(answer.status, 200 | 202) {
        let said = answer.body.get("error").and_then(serde_json::Value::as_str).unwrap_or("it does not say why");
        return Err(Failure::Running(format!(
            "the service refuses to {verb} {subject} ({}): {}",
            answer.status,
            harmless(said)
        )));
    }
    let shown = if *json { Some(output::result(&answer.body.to_string())?) } else { None };
    if let Some(note) = admin_call::give_again(&answer) {
        return Err(Failure::Running(format!("{verb} {subject}: {note}")));
    }
    if let Some(shown) = shown {
        return Ok(shown);
    }
    let told = match answer.status {
        202 => format!(
            "{subject}: the worker that was asked stands by, and has handed the order to {verb} on to the one that holds the lease."
        ),
        _ => match (order, answer.body.get("note").and_then(serde_json::Value::as_str)) {
            // Whether it goes on depends on why it stands, which the service knows.
            (Instruction::Resume, Some(note)) => format!("{subject}: {}", harmless(note)),
            (_, _) => format!("{subject} {}", consequence(order, lane.is_some())),
        },
    };
    output::result(&told)
}

/// What follows from an order, as a sentence whose subject is the account or the lane.
fn consequence(order: Instruction, of_lane: bool) -> &'static str {
    match order {
        Instruction::Pause if of_lane => {
            "is paused. A lane's pause ends with the service's process; longer than that only the whole account can be paused, by `pause` without --lane."
        }
        Instruction::Pause => {
            "is paused until it is resumed, also after a restart; with amqp.lease = false the pause ends with the service's process, which `paused = true` in the account's settings outlives."
        }
        Instruction::Resume => "is resumed. What stands for another reason is tried at once.",
        Instruction::Approve => {
            "is approved: everything passes its guard for one safety.max_pairs_window; then pairs are counted anew."
        }
        Instruction::Reject => {
            "is rejected: what waits to be removed, and what comes, ends with GUARD_REJECTED and a copy in the dead letters, until it is approved."
        }
    }
}
