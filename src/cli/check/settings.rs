//! What can be said of the settings alone.

use std::time::Duration;

use super::finding::Finding;
use crate::config::{ApiVersion, Settings};
use crate::contract::as_set::AsSet;
use crate::contract::grouped::Grouped;
use crate::telemetry::log;

/// RabbitMQ's own, unless its operator has set another.
const USUAL_ACK_TIMEOUT: Duration = Duration::from_secs(30 * 60);

pub fn findings(settings: &Settings) -> Vec<Finding> {
    vec![
        Finding::right("settings", "all of them could be read, and they agree with each other"),
        variables(settings),
        log_filter(settings),
        prefetch(settings),
        hold(settings),
        fold(settings),
        api_version(settings),
        admin_token(settings),
    ]
}

fn variables(settings: &Settings) -> Finding {
    const SUBJECT: &str = "environment";
    match &settings.unread_variables {
        Some(warning) => Finding::warning(SUBJECT, warning.clone(), "correct the names, or unset the variables"),
        None => Finding::right(SUBJECT, "no variable looks like a setting and is none"),
    }
}

fn log_filter(settings: &Settings) -> Finding {
    match log::check(&settings.log) {
        Ok(()) => Finding::right("log.filter", settings.log.filter.clone()),
        Err(fault) => Finding::wrong("log.filter", fault.to_string(), "set log.filter to a level such as \"info\""),
    }
}

/// A batch is formed of the jobs in hand, and lanes share them.
fn prefetch(settings: &Settings) -> Finding {
    const SUBJECT: &str = "amqp.prefetch";
    let (prefetch, batch) = (u32::from(settings.amqp.prefetch.get()), settings.batch.max_pairs.get());
    let (is_less, lanes) = (prefetch < batch, prefetch / batch);
    let [prefetch, batch] = [prefetch, batch].map(|number| Grouped(number.into()));
    if is_less {
        return Finding::warning(
            SUBJECT,
            format!(
                "{prefetch} jobs are held at most, fewer than the {batch} pairs of one batch: jobs of one pair never fill a request"
            ),
            format!(
                "set amqp.prefetch to at least {batch} for each lane that is busy at the same time, or lower batch.max_pairs"
            ),
        );
    }
    let lanes = if lanes == 1 { "1 lane".to_owned() } else { format!("{lanes} lanes") };
    Finding::right(SUBJECT, format!("{prefetch} jobs: full batches of one-pair jobs for {lanes} at a time"))
}

/// AMQP has no question for the broker's timeout.
fn hold(settings: &Settings) -> Finding {
    const SUBJECT: &str = "amqp.max_hold";
    let (hold, usual) = (AsSet(settings.amqp.max_hold), AsSet(USUAL_ACK_TIMEOUT));
    if settings.amqp.max_hold >= USUAL_ACK_TIMEOUT {
        return Finding::warning(
            SUBJECT,
            format!(
                "{hold} is not below {usual}, the acknowledgement timeout of a broker whose operator set no other: it would close the channel"
            ),
            format!("set amqp.max_hold below {usual}, or raise consumer_timeout at the broker"),
        );
    }
    Finding::not_verified(
        SUBJECT,
        format!(
            "{hold} is below {usual}, the acknowledgement timeout of a broker whose operator set no other; a client cannot ask for it"
        ),
        "look at consumer_timeout in the broker's configuration and policies",
    )
}

/// Only an experiment shows whether a portal's associations are two-way.
fn fold(settings: &Settings) -> Finding {
    const SUBJECT: &str = "batch.fold";
    match settings.batch.fold.is_empty() {
        true => Finding::right(SUBJECT, "is empty: every pair is sent from its `from` record"),
        false => Finding::not_verified(
            SUBJECT,
            "some pairs may be sent from either of their records: that is right where associations are two-way",
            "run `probe` on two records of these types, once for each portal; it says whether folding suits",
        ),
    }
}

fn api_version(settings: &Settings) -> Finding {
    const SUBJECT: &str = "hubspot.api_version";
    match settings.hubspot.api_version {
        ApiVersion::V4 => Finding::warning(
            SUBJECT,
            "v4: HubSpot ends its support on 30 March 2027",
            "set hubspot.api_version = \"2026-09\" before that day",
        ),
        version @ (ApiVersion::March2026 | ApiVersion::September2026) => Finding::right(SUBJECT, version.as_str()),
    }
}

fn admin_token(settings: &Settings) -> Finding {
    const SUBJECT: &str = "admin.token";
    match settings.admin.token() {
        Ok(Some(_)) => Finding::right(SUBJECT, "is set: accounts can be paused and resumed"),
        Ok(None) => Finding::right(SUBJECT, "is not set: nothing can be paused or resumed at run time"),
        Err(error) => Finding::wrong(SUBJECT, error.to_string(), "mend the file, or drop the setting"),
    }
}
