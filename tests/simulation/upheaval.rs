//! What happens to the process, to its connections, and to the accounts while it runs.

use std::time::Duration;

use association_archiver::engine::access::CredentialKind;
use fastrand::Rng;

use crate::scenario::{Scenario, choose};

/// Each that breaks something has one that mends it, at the latest when the calm begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Upheaval {
    /// The process is gone at once; the next one starts after that time.
    Crash(Duration),
    /// SIGTERM; the next process starts that long after the end of this one.
    Stop(Duration),
    /// The connection to the broker is lost, and back after that time.
    ConnectionLost(Duration),
    /// A memory alarm: the broker takes no publication for this long.
    BrokerBlocked(Duration),
    /// No request reaches HubSpot for this long.
    Unreachable(Duration),
    /// Requests reach HubSpot, but for this long no answer comes back.
    NoAnswers(Duration),
    /// Too much is in hand: what was not started goes back.
    MemoryShort,
    TokenRevoked(u32),
    /// The file has the token of another account.
    TokenOfAnother(u32),
    /// The refresh token is refused, or the static one gone from HubSpot as well as from its file.
    RefreshTokenRevoked(u32),
    /// The token's file has a token that works.
    TokenMended(u32),
    ScopeTaken(u32),
    ScopeGiven(u32),
    LimitLowered(u32),
    LimitRaised(u32),
    OperatorPauses(u32),
    OperatorResumes(u32),
}

impl Upheaval {
    /// Also where another account's requests are sent with this one's token.
    pub fn lowers_a_limit(self) -> bool {
        matches!(self, Self::LimitLowered(_) | Self::TokenOfAnother(_))
    }
}

/// Adds some, and what mends them.
pub fn add(scenario: &mut Scenario, rng: &mut Rng) {
    let lasting = scenario.calm_from.max(Duration::from_secs(*choose(rng, &[10, 60, 600])));
    for _ in 0..rng.usize(0..5) {
        let at = lasting.mul_f64(rng.f64());
        let upheaval = upheaval(rng, scenario);
        let short = |rng: &mut Rng| Duration::from_millis(rng.u64(0..60_000));
        // In this order also where both come at the same time.
        scenario.upheavals.push((at, upheaval));
        if let Some(mend) = mend(upheaval) {
            scenario.upheavals.push((at + short(rng), mend));
        }
    }
    scenario.upheavals.sort_by_key(|&(at, _)| at);
    let last = scenario.upheavals.last().map_or(Duration::ZERO, |&(at, _)| at);
    scenario.calm_from = lasting.max(last) + LONGEST;
}

/// Longest time that an upheaval lasts by itself.
const LONGEST: Duration = Duration::from_secs(120);

fn upheaval(rng: &mut Rng, scenario: &Scenario) -> Upheaval {
    let account = rng.u32(..u32::try_from(scenario.portals.len()).unwrap_or(1));
    let oauth = scenario.portals[account as usize].policy.credentials == CredentialKind::OAuth;
    let named = scenario.portals[account as usize].policy.portal.is_some();
    let lasting = LONGEST.mul_f64(rng.f64());
    // Without a broker there is no connection to lose, and a process that ends takes its jobs with it.
    let first = if scenario.in_hand() { 8 } else { 0 };
    match rng.u8(first..18) {
        0..3 => Upheaval::Crash(lasting),
        3..5 => Upheaval::Stop(lasting),
        5 | 6 => Upheaval::ConnectionLost(lasting),
        7 => Upheaval::BrokerBlocked(lasting),
        8 => Upheaval::Unreachable(lasting),
        9 => Upheaval::NoAnswers(lasting),
        10 if !scenario.in_hand() => Upheaval::MemoryShort,
        10 | 11 => Upheaval::TokenRevoked(account),
        // What happens to an account without a portal id in the settings could not be noticed.
        12 if named && !oauth && scenario.portals.len() > 1 => Upheaval::TokenOfAnother(account),
        12 | 13 => Upheaval::RefreshTokenRevoked(account),
        14 => Upheaval::ScopeTaken(account),
        15 => Upheaval::LimitLowered(account),
        _ => Upheaval::OperatorPauses(account),
    }
}

fn mend(upheaval: Upheaval) -> Option<Upheaval> {
    match upheaval {
        Upheaval::TokenRevoked(account)
        | Upheaval::TokenOfAnother(account)
        | Upheaval::RefreshTokenRevoked(account) => Some(Upheaval::TokenMended(account)),
        Upheaval::ScopeTaken(account) => Some(Upheaval::ScopeGiven(account)),
        Upheaval::LimitLowered(account) => Some(Upheaval::LimitRaised(account)),
        Upheaval::OperatorPauses(account) => Some(Upheaval::OperatorResumes(account)),
        Upheaval::Crash(_)
        | Upheaval::Stop(_)
        | Upheaval::ConnectionLost(_)
        | Upheaval::BrokerBlocked(_)
        | Upheaval::Unreachable(_)
        | Upheaval::NoAnswers(_)
        | Upheaval::MemoryShort
        | Upheaval::TokenMended(_)
        | Upheaval::ScopeGiven(_)
        | Upheaval::LimitRaised(_)
        | Upheaval::OperatorResumes(_) => None,
    }
}
