//! A pause: why nothing is sent for an account or a lane, when it is tried again, and where its jobs wait meanwhile.

use std::time::Duration;

use jiff::Timestamp;

use super::clock::{Now, Tick};

/// Why nothing is sent. The words on the wire, in logs and metrics are [`PauseKind::as_str`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum PauseKind {
    /// 401: the token is refused.
    Unauthorized,
    /// The OAuth refresh token is refused.
    RefreshRefused,
    /// The token belongs to another portal than the settings say.
    PortalMismatch,
    /// 477: HubSpot is moving the portal.
    PortalMoving,
    /// The day's requests are spent.
    DaySpent,
    /// 429 that names a time far away.
    Throttled,
    /// The breaker: too many failures in a row.
    Outage,
    /// What is about to be changed cannot be recorded.
    Journal,
    /// The operator's wish, by setting, command or endpoint.
    Operator,
    /// `safety.max_pairs` is reached: a person must approve or reject.
    Guard,
    /// 403 naming scopes.
    MissingScopes,
    /// Any other 403.
    Forbidden,
    /// 404, 405, 415 or a redirect: the path does not exist as we call it.
    WrongPath,
}

impl PauseKind {
    pub const ALL: [Self; 13] = [
        Self::Unauthorized,
        Self::RefreshRefused,
        Self::PortalMismatch,
        Self::PortalMoving,
        Self::DaySpent,
        Self::Throttled,
        Self::Outage,
        Self::Journal,
        Self::Operator,
        Self::Guard,
        Self::MissingScopes,
        Self::Forbidden,
        Self::WrongPath,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unauthorized => "unauthorized",
            Self::RefreshRefused => "refresh_refused",
            Self::PortalMismatch => "portal_mismatch",
            Self::PortalMoving => "portal_moving",
            Self::DaySpent => "day_spent",
            Self::Throttled => "throttled",
            Self::Outage => "outage",
            Self::Journal => "journal",
            Self::Operator => "operator",
            Self::Guard => "guard",
            Self::MissingScopes => "missing_scopes",
            Self::Forbidden => "forbidden",
            Self::WrongPath => "wrong_path",
        }
    }

    /// The longest time between two probes; `None` if no probe can find out whether the pause is over.
    fn longest_probe_interval(self) -> Option<Duration> {
        match self {
            Self::Outage | Self::Journal => Some(Duration::from_secs(15)),
            Self::Unauthorized
            | Self::RefreshRefused
            | Self::PortalMismatch
            | Self::MissingScopes
            | Self::Forbidden
            | Self::WrongPath => Some(Duration::from_secs(20)),
            Self::PortalMoving | Self::DaySpent | Self::Throttled | Self::Operator | Self::Guard => None,
        }
    }

    /// How long jobs are kept in hand before they are parked: an outage is often over in seconds.
    fn patience(self) -> Duration {
        match self {
            Self::Outage | Self::Journal => Duration::from_secs(10),
            Self::Unauthorized
            | Self::RefreshRefused
            | Self::PortalMismatch
            | Self::PortalMoving
            | Self::DaySpent
            | Self::Throttled
            | Self::Operator
            | Self::Guard
            | Self::MissingScopes
            | Self::Forbidden
            | Self::WrongPath => Duration::ZERO,
        }
    }

    /// Which success, while the pause lasts, proves that it is over.
    pub fn disproved_by(self) -> Disproof {
        match self {
            Self::Unauthorized | Self::RefreshRefused | Self::PortalMismatch | Self::Outage => Disproof::Account,
            Self::MissingScopes | Self::Forbidden | Self::WrongPath => Disproof::Lane,
            Self::PortalMoving | Self::DaySpent | Self::Throttled | Self::Journal | Self::Operator | Self::Guard => {
                Disproof::Nothing
            }
        }
    }

    /// What an operator's order to resume does to it.
    pub fn on_order(self) -> OnOrder {
        match self {
            Self::Unauthorized
            | Self::RefreshRefused
            | Self::PortalMismatch
            | Self::Outage
            | Self::Journal
            | Self::MissingScopes
            | Self::Forbidden
            | Self::WrongPath => OnOrder::Probes,
            Self::DaySpent | Self::PortalMoving | Self::Operator => OnOrder::Ends,
            Self::Throttled | Self::Guard => OnOrder::Stays,
        }
    }

    /// Whether only a person can end it: what ends the `archive` command, too.
    pub fn needs_a_person(self) -> bool {
        match self {
            Self::Unauthorized
            | Self::RefreshRefused
            | Self::PortalMismatch
            | Self::Journal
            | Self::Operator
            | Self::Guard
            | Self::MissingScopes
            | Self::Forbidden
            | Self::WrongPath => true,
            Self::PortalMoving | Self::DaySpent | Self::Throttled | Self::Outage => false,
        }
    }
}

/// What becomes of a pause when an operator resumes what is paused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnOrder {
    /// A request finds out at once whether it is over.
    Probes,
    /// It is over; its reason shows itself again where it still holds.
    Ends,
    /// HubSpot named the time, or a person must answer otherwise.
    Stays,
}

/// What must have been served, after the pause began, to prove that there is no reason for it any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Disproof {
    /// Any request of the account.
    Account,
    /// A request of the lane.
    Lane,
    /// Success proves nothing: the pause ends at its time, or when the operator says so.
    Nothing,
}

/// Nothing is sent, from the first sign of trouble until something was sent with success again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pause {
    pub kind: PauseKind,
    /// Since when this worker knows of it: what follows from the pause is counted from then on.
    pub since: Tick,
    /// When it began, which may be with another worker: what people are told.
    pub since_wall: Timestamp,
    /// When it ends by itself; `None` where only a probe or an operator can tell.
    pub until: Option<Timestamp>,
    /// What HubSpot said, or the operator must know: never a secret.
    pub detail: String,
    /// The connection is not trusted: an outage that only a person can end.
    pub is_distrust: bool,
    /// When the next request may find out; `None` where none may.
    probe_at: Option<Tick>,
}

/// Stands in the detail of an outage's pause between how it began and what the latest request met with.
const LATEST: &str = "; the latest: ";

/// The detail of an outage's pause.
pub fn outage_detail(began: &str, latest: &str) -> String {
    format!("{began}{LATEST}{latest}")
}

/// Without a broker to wait in, jobs fail after an outage of a day.
const LONGEST_OUTAGE: Duration = Duration::from_secs(24 * 60 * 60);

/// The first probe is sent this long after the pause began, and two probes are at least this far apart.
const FIRST_PROBE: Duration = Duration::from_secs(1);

impl Pause {
    pub fn new(kind: PauseKind, until: Option<Timestamp>, detail: String, now: Now) -> Self {
        let probe_at = match until {
            Some(until) => Some(now.tick_of(until)),
            None => kind.longest_probe_interval().map(|_| now.tick + FIRST_PROBE),
        };
        Self { kind, since: now.tick, since_wall: now.wall, until, detail, is_distrust: false, probe_at }
    }

    /// Another request has failed. What HubSpot suffers from may not be what it began with, so people are told the latest.
    pub fn goes_on(&mut self, latest: &str) {
        if self.kind == PauseKind::Outage
            && let Some((began, _)) = self.detail.split_once(LATEST)
        {
            self.detail = outage_detail(began, latest);
        }
    }

    /// For how long nothing was sent, as people are told: as far as this worker knows, or another one wrote.
    pub fn lasted(&self, now: Now) -> Duration {
        now.tick.since(self.since).max(Duration::try_from(now.wall.duration_since(self.since_wall)).unwrap_or_default())
    }

    /// Whether it stays as it is though there is another reason to pause: a person must end it, and the other reason shows
    /// itself again after that.
    pub fn outlasts(&self, other: PauseKind) -> bool {
        self.kind == PauseKind::Operator || (self.kind == PauseKind::Guard && other != PauseKind::Operator)
    }

    /// When a request may be sent to find out whether the pause is over.
    pub fn probe_at(&self) -> Option<Tick> {
        self.probe_at
    }

    /// A probe was sent: the next one comes later by a third of the time that the pause has lasted.
    pub fn probed(&mut self, now: Tick) {
        if let Some(longest) = self.kind.longest_probe_interval() {
            self.probe_at = Some(now + (now.since(self.since) / 3).clamp(FIRST_PROBE, longest));
        }
    }

    /// The next request that may find out waits until then at least.
    pub fn not_before(&mut self, at: Tick) {
        self.probe_at = self.probe_at.map(|probe_at| probe_at.max(at));
    }

    /// Something changed that may have mended it: try at once.
    pub fn probe_now(&mut self, now: Tick) {
        if self.kind.longest_probe_interval().is_some() {
            self.probe_at = Some(now);
        }
    }

    /// Whether a request that was sent at `sent` and served `by` HubSpot proves that the pause is over.
    pub fn is_disproved(&self, by: Disproof, sent: Tick) -> bool {
        self.kind.disproved_by() == by && sent >= self.since
    }

    /// How long it lasts until its jobs fail where there is no broker to wait in. `needs_a_person`: where only a person
    /// can end it. `None`: it ends by itself.
    pub fn given_up_after(&self, needs_a_person: Duration) -> Option<Duration> {
        if self.kind.needs_a_person() || self.is_distrust {
            return Some(needs_a_person);
        }
        (self.kind == PauseKind::Outage).then_some(LONGEST_OUTAGE)
    }

    /// From when on its jobs wait in the broker rather than in hand; `None` where it ends too soon for that.
    pub fn parks_from(&self, now: Now) -> Option<Tick> {
        let from = self.since + self.kind.patience();
        match self.until {
            Some(until) => (now.tick_of(until).since(now.tick) >= Tier::TenSeconds.wait()).then_some(from),
            None => Some(from),
        }
    }

    /// The delay queue for a job of this pause. Where the end is known, the job waits for most of the rest of the pause;
    /// else no longer than the pause has lasted.
    pub fn tier(&self, now: Now) -> Tier {
        match self.until {
            Some(until) => Tier::within(now.tick_of(until).since(now.tick)),
            None => Tier::within(now.tick.since(self.since)).min(Tier::TenMinutes),
        }
    }
}

/// The delay queues of the broker.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Tier {
    TenSeconds,
    OneMinute,
    TenMinutes,
    OneHour,
}

impl Tier {
    pub const ALL: [Self; 4] = [Self::TenSeconds, Self::OneMinute, Self::TenMinutes, Self::OneHour];

    pub fn wait(self) -> Duration {
        match self {
            Self::TenSeconds => Duration::from_secs(10),
            Self::OneMinute => Duration::from_secs(60),
            Self::TenMinutes => Duration::from_secs(600),
            Self::OneHour => Duration::from_secs(3_600),
        }
    }

    /// The suffix of the queue's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TenSeconds => "10s",
            Self::OneMinute => "1m",
            Self::TenMinutes => "10m",
            Self::OneHour => "1h",
        }
    }

    /// The longest tier that fits into `wait`, the shortest where none does.
    pub fn within(wait: Duration) -> Self {
        Self::ALL.into_iter().rev().find(|tier| tier.wait() <= wait).unwrap_or(Self::TenSeconds)
    }

    /// For a job that was parked for failures `parks` times before: longer each time, at most ten minutes.
    pub fn after_parks(parks: u32) -> Self {
        match parks {
            0 => Self::TenSeconds,
            1 => Self::OneMinute,
            2.. => Self::TenMinutes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Now {
        let wall = Timestamp::from_second(1_800_000_000 + i64::try_from(seconds).unwrap_or(0)).unwrap_or_default();
        Now { tick: Tick::from_micros(seconds * 1_000_000), wall }
    }

    #[test]
    fn probes_come_at_growing_intervals_of_at_most_twenty_seconds() {
        let mut pause = Pause::new(PauseKind::Unauthorized, None, String::new(), at(0));
        let mut times = Vec::new();
        while let Some(due) = pause.probe_at()
            && due < Tick::from_micros(200_000_000)
        {
            times.push(due.as_micros() / 1_000);
            pause.probed(due);
        }
        assert!(times.iter().filter(|&&milli| milli <= 5_000).count() <= 4, "{times:?}");
        assert!(times.windows(2).all(|pair| pair[1] - pair[0] <= 20_000), "{times:?}");
    }

    #[test]
    fn an_unknown_end_never_waits_longer_than_the_pause_has_lasted() {
        let pause = Pause::new(PauseKind::MissingScopes, None, String::new(), at(0));
        assert_eq!(pause.tier(at(0)), Tier::TenSeconds);
        assert_eq!(pause.tier(at(59)), Tier::TenSeconds);
        assert_eq!(pause.tier(at(60)), Tier::OneMinute);
        assert_eq!(pause.tier(at(10_000)), Tier::TenMinutes, "an hour is for known ends");
    }

    #[test]
    fn a_known_end_waits_as_long_as_fits() {
        let until = at(4_000).wall;
        let pause = Pause::new(PauseKind::DaySpent, Some(until), String::new(), at(0));
        assert_eq!(pause.tier(at(0)), Tier::OneHour);
        assert_eq!(pause.tier(at(1_000)), Tier::TenMinutes);
        assert_eq!(pause.tier(at(3_990)), Tier::TenSeconds);
        assert!(pause.parks_from(at(3_995)).is_none());
    }
}
