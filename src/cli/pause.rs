//! `pause` and `resume`: orders to the running service, over its endpoints.

use std::path::Path;
use std::process::ExitCode;

use super::exit::Failure;
use super::lane::Lane;
use super::paint::harmless;
use super::{admin_call, output, runtime};
use crate::config::Settings;

#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// The account: its portal id, or its place in the settings (0 is the first)
    #[arg(value_parser = account)]
    account: u64,
    /// Only this lane, as FROM/TO or as the log names it: contacts/companies; what removes labels is paused with it
    #[arg(long, value_name = "FROM/TO", value_parser = Lane::parse)]
    lane: Option<Lane>,
    /// The service's answer as JSON
    #[arg(long)]
    json: bool,
}

fn account(text: &str) -> Result<u64, String> {
    text.parse()
        .map_err(|_| "write the portal id, such as 4711, or the place in the settings, 0 for the first".to_owned())
}

#[derive(Clone, Copy)]
enum Order {
    Pause,
    Resume,
}

/// Jobs stay in the queue until it is resumed, or until the service starts anew.
pub fn pause(config: Option<&Path>, arguments: &Arguments) -> Result<ExitCode, Failure> {
    order(config, arguments, Order::Pause)
}

/// Ends an operator's pause. What stands for another reason is tried at once.
pub fn resume(config: Option<&Path>, arguments: &Arguments) -> Result<ExitCode, Failure> {
    order(config, arguments, Order::Resume)
}

fn order(config: Option<&Path>, arguments: &Arguments, order: Order) -> Result<ExitCode, Failure> {
    let settings = Settings::load(config)?;
    super::remark_on_settings(&settings);
    let admin = settings.admin;
    let Some(token) = admin.token()? else {
        return Err(Failure::Usage(
            "admin.token is not set, and without it nothing can be paused or resumed: set admin.token_file (or admin.token) for the service and here"
                .to_owned(),
        ));
    };
    let verb = match order {
        Order::Pause => "pause",
        Order::Resume => "resume",
    };
    let Arguments { account, lane, json } = arguments;
    let (path, subject) = match lane {
        None => (format!("/accounts/{account}/{verb}"), format!("account {account}")),
        Some(Lane { from, to }) => {
            let lane = format!("{}/{}", from.as_written(), to.as_written());
            (format!("/accounts/{account}/lanes/{lane}/{verb}"), format!("lane {lane} of account {account}"))
        }
    };
    let answer = runtime::block_on(admin_call::post(admin.listen, &path, &token))?;
    if answer.status != 200 {
        let said = answer.body.get("error").and_then(serde_json::Value::as_str).unwrap_or("it does not say why");
        return Err(Failure::Running(format!(
            "the service refuses to {verb} {subject} ({}): {}",
            answer.status,
            harmless(said)
        )));
    }
    if *json {
        return output::print(format!("{}\n", answer.body).as_bytes());
    }
    match order {
        Order::Pause => {
            output::remark(&format!(
                "{subject} is paused. The pause ends with the service's process; `paused = true` in the account's settings outlives it."
            ));
        }
        Order::Resume => {
            output::remark(&format!("{subject} is resumed. What stands for another reason is tried at once."))
        }
    }
    Ok(ExitCode::SUCCESS)
}
