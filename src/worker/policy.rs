//! The engine's policy, from the settings.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::config::{AccountSettings, Credentials, RateLimit, SafetySettings, Settings};
use crate::engine::access::CredentialKind;
use crate::engine::account::{AccountPolicy, Safety};
use crate::engine::guard::GuardPolicy;
use crate::engine::pace::Ceiling;
use crate::engine::pack::Caps;
use crate::engine::retry::RetryPolicy;
use crate::engine::{EnginePolicy, Waiting};

/// A timer may wake the loop too late by this much: the runtime's timers and the system's wait both count in
/// milliseconds, and both round up.
const LATEST_ALARM: Duration = Duration::from_millis(2);

/// What the engine works by. `waiting`: whether there is a broker to wait in.
pub fn of_engine(settings: &Settings, waiting: Waiting) -> EnginePolicy {
    let retry = &settings.retry;
    EnginePolicy {
        caps: Caps { from: count(settings.batch.max_from), pairs: count(settings.batch.max_pairs) },
        // The setting is the longest wait, which a late timer must not lengthen.
        linger: settings.batch.linger.saturating_sub(LATEST_ALARM),
        retry: RetryPolicy {
            max_attempts: retry.max_attempts.get(),
            base_delay: retry.base_delay,
            max_delay: retry.max_delay,
            max_age: retry.max_age,
        },
        isolation_requests: settings.isolation.max_requests,
        fold: settings.batch.fold.clone().into(),
        max_pairs: usize::try_from(settings.jobs.max_pairs.get()).unwrap_or(usize::MAX),
        max_in_flight: count(settings.hubspot.max_in_flight_total),
        waiting,
    }
}

/// A job waits in the broker, and is held no longer than `amqp.max_hold`, its last request included.
pub fn in_broker(settings: &Settings) -> Waiting {
    Waiting::Outside {
        longest_hold: settings.amqp.max_hold.saturating_sub(settings.hubspot.request_timeout),
        prefetch: settings.amqp.prefetch.get().into(),
    }
}

pub fn of_account(account: &AccountSettings, max_in_flight: NonZeroU32) -> AccountPolicy {
    let RateLimit { requests, interval, daily } = account.rate_limit;
    let SafetySettings { max_pairs, max_pairs_window: window, .. } = account.safety;
    AccountPolicy {
        portal: account.portal_id,
        credentials: match &account.credentials {
            Credentials::AccessToken(_) => CredentialKind::Static,
            Credentials::OAuth(_) => CredentialKind::OAuth,
        },
        ceiling: Ceiling { requests, interval },
        daily: daily.map(|daily| daily.get().into()),
        time_zone: account.time_zone.clone(),
        max_in_flight: count(max_in_flight),
        paused: account.paused,
        safety: Safety { journal: account.safety.journal.is_on(), verify: account.safety.verify },
        guard: max_pairs.map(|max_pairs| GuardPolicy { max_pairs, window }),
    }
}

fn count(setting: NonZeroU32) -> usize {
    usize::try_from(setting.get()).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engines_defaults_are_those_of_the_settings() {
        let settings = Settings::default();
        let linger = settings.batch.linger;
        let policy = EnginePolicy { linger, ..of_engine(&settings, in_broker(&settings)) };
        assert_eq!(policy, EnginePolicy::default());
    }
}
