//! What to do about a standstill: a few sentences that name the file, the setting or the right, and where the runbook has
//! more. The same words stand on the page, in `/status` and `/readyz`, and in the log.

use std::sync::Arc;

use crate::config::{AccountSettings, Credentials};
use crate::contract::ids::AccountIndex;
use crate::engine::pause::PauseKind;
use crate::lease::view::LeaseView;

/// The runbook's page. Its sections are [`Mend::section`]; a test holds them against the document.
pub const RUNBOOK: &str = "https://github.com/association-archiver/association-archiver/blob/main/docs/operating.md";

/// What to do, and where to read on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mend {
    pub what: String,
    /// The anchor of a section of [`RUNBOOK`].
    pub section: &'static str,
}

impl Mend {
    pub fn runbook(&self) -> String {
        format!("{RUNBOOK}#{}", self.section)
    }
}

/// Knows of each account where its token comes from, and the broker's virtual host; cheap to clone. By default it knows
/// of none, and names the settings in general.
#[derive(Clone, Default, Debug)]
pub struct Mends {
    accounts: Arc<[Origin]>,
    virtual_host: Option<Arc<str>>,
    told_by: ToldBy,
}

/// Who tells the mend: what can be done about a command is not what can be done about the service.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum ToldBy {
    #[default]
    Service,
    /// It has no endpoints and no queues, and can be given again.
    Archive,
}

/// Where an account's credentials come from. It holds no secret.
#[derive(Clone, Debug)]
struct Origin {
    /// As the commands and the endpoints name it.
    name: String,
    token: TokenSource,
}

#[derive(Clone, Debug)]
enum TokenSource {
    /// `the file "/run/secrets/token" (hubspot.access_token_file)`: read again when it changes.
    File(String),
    /// `hubspot.access_token`: read at the start.
    Setting(String),
    /// The refresh token's file or setting.
    OAuth(String),
    Unknown,
}

impl Mends {
    /// `accounts` in the order of the settings.
    pub fn new(accounts: &[AccountSettings]) -> Self {
        let accounts = accounts.iter().zip(0..).map(|(account, index)| Origin::of(account, index)).collect();
        Self { accounts, virtual_host: None, told_by: ToldBy::Service }
    }

    #[must_use]
    pub fn told_by(self, told_by: ToldBy) -> Self {
        Self { told_by, ..self }
    }

    #[must_use]
    pub fn with_virtual_host(self, virtual_host: Option<String>) -> Self {
        Self { virtual_host: virtual_host.map(Arc::from), ..self }
    }

    /// The command that tells who holds these leases: the broker gives them to the holder alone, so no other worker
    /// knows. In the list the holder's consumer is `single_active`.
    pub fn who_holds(&self, leases: &[LeaseView]) -> String {
        let queues = match leases {
            [only] => format!("{}.lease", only.jobs_queue),
            [] | [_, ..] => ".lease".to_owned(),
        };
        format!(
            "rabbitmqctl --vhost {} list_consumers queue_name consumer_tag activity_status | grep -F {}",
            as_one_word(self.virtual_host.as_deref().unwrap_or("VHOST")),
            as_one_word(&queues)
        )
    }

    /// The mend for a pause of this account.
    pub fn of(&self, kind: PauseKind, account: AccountIndex) -> Mend {
        let general = Origin { name: account.0.to_string(), token: TokenSource::Unknown };
        let place = self.accounts.get(account.0 as usize).unwrap_or(&general);
        Mend { what: place.what(kind, self.told_by), section: section(kind) }
    }

    /// The mend for a pause of one of its lanes, such as `contacts/companies`. What an operator has ordered for a lane is
    /// taken back for that lane; `resume` of the account leaves it.
    pub fn of_lane(&self, kind: PauseKind, account: AccountIndex, lane: &str) -> Mend {
        let of_account = self.of(kind, account);
        if kind != PauseKind::Operator {
            return of_account;
        }
        let command = self.resume_lane(account, lane);
        Mend { what: format!("Resume it on the page, in `top`, or with `{command}`."), ..of_account }
    }

    /// The command that resumes one lane.
    pub fn resume_lane(&self, account: AccountIndex, lane: &str) -> String {
        let name = self.accounts.get(account.0 as usize).map_or_else(|| account.0.to_string(), |of| of.name.clone());
        format!("association-archiver resume {name} --lane {}", as_one_word(lane))
    }
}

impl Origin {
    fn of(account: &AccountSettings, index: u32) -> Self {
        let name = account.portal_id.map_or_else(|| index.to_string(), |portal| portal.0.to_string());
        let token = match &account.credentials {
            Credentials::AccessToken(source) if source.path().is_some() => TokenSource::File(source.place()),
            Credentials::AccessToken(source) => TokenSource::Setting(source.place()),
            Credentials::OAuth(oauth) => TokenSource::OAuth(oauth.refresh_token.place()),
        };
        Self { name, token }
    }

    fn what(&self, kind: PauseKind, told_by: ToldBy) -> String {
        let restart = match told_by {
            ToldBy::Service => "restart the worker",
            ToldBy::Archive => "give the command again",
        };
        match kind {
            PauseKind::Unauthorized => self.new_token(restart),
            PauseKind::RefreshRefused => self.install_again(),
            PauseKind::PortalMismatch => format!(
                "Correct portal_id in the settings of this account and {restart}. Is it right already? {}",
                self.new_token(restart)
            ),
            PauseKind::MissingScopes => match &self.token {
                TokenSource::OAuth(_) => {
                    "Add the scopes that HubSpot names to the OAuth app, and install the app again in this account. It \
                     is tried again by itself."
                        .to_owned()
                }
                TokenSource::File(_) | TokenSource::Setting(_) | TokenSource::Unknown => {
                    "Add the scopes that HubSpot names to the private app, in HubSpot under Settings, Integrations, \
                     Private Apps. The token stays the same, and it is tried again by itself."
                        .to_owned()
                }
            },
            PauseKind::Forbidden => "Ask the administrator of the HubSpot account for the right that HubSpot names. It \
                                     is tried again by itself."
                .to_owned(),
            PauseKind::WrongPath => format!(
                "Check hubspot.base_url and hubspot.api_version, and whether the object types of the lane exist in this \
                 account; then {restart}."
            ),
            PauseKind::Outage => "There is nothing to do if HubSpot is down (status.hubspot.com): it is tried again by itself. \
                                  Is it only here? Check name lookup, proxy and firewall, and hubspot.ca_file."
                .to_owned(),
            PauseKind::Journal => "Nothing is archived or restored while it cannot be recorded (safety.journal). Mend what keeps \
                                   the journal from being written: the reason is given with this pause. It is tried again \
                                   by itself."
                .to_owned(),
            PauseKind::DaySpent => {
                let try_now = match told_by {
                    ToldBy::Service => {
                        format!("`association-archiver resume {}` has the next request find out.", self.name)
                    }
                    ToldBy::Archive => "Then end this command with Ctrl-C, and give the one that it names: it tries at once.".to_owned(),
                };
                format!(
                    "There is nothing to do: it goes on by itself. Was HubSpot's limit raised, or is it wrong? {try_now} Is \
                     rate_limit.daily spent? Raise it, and {restart}."
                )
            }
            PauseKind::Throttled | PauseKind::PortalMoving => {
                "There is nothing to do: it goes on by itself at the time that HubSpot named.".to_owned()
            }
            PauseKind::Guard if told_by == ToldBy::Archive => {
                "Is it meant to be removed? Raise safety.max_pairs, or take it out of the settings, and give the command \
                 again: nobody can approve it here."
                    .to_owned()
            }
            PauseKind::Guard => format!(
                "Find out whether these pairs are meant to be removed: the groups and ids of the jobs behind the guard \
                 (`behind` in /status) tell who sent them. If yes, `association-archiver approve {0}` lets everything \
                 through for one window (safety.max_pairs_window). If no, `association-archiver reject {0}` ends these \
                 jobs with GUARD_REJECTED, with copies in the dead letters. Until then they wait in the jobs queue and \
                 in the delay queues (…delay.10s to …delay.10m); nothing is lost.",
                self.name
            ),
            PauseKind::Operator if told_by == ToldBy::Archive => {
                "Take `paused = true` out of the settings of this account, and give the command again.".to_owned()
            }
            PauseKind::Operator => format!(
                "Resume it on the page, in `top`, or with `association-archiver resume {}`. If `paused = true` is set for it, take that \
                 out of the settings as well.",
                self.name
            ),
        }
    }

    fn new_token(&self, restart: &str) -> String {
        match &self.token {
            TokenSource::File(place) => {
                format!("Put a valid token of this account into {place}; no restart is needed.")
            }
            TokenSource::Setting(place) => {
                format!("Set {place} to a valid token of this account, and {restart}.")
            }
            TokenSource::OAuth(_) => self.install_again(),
            TokenSource::Unknown => {
                "Set access_token, or the file of access_token_file, to a valid token of this account.".to_owned()
            }
        }
    }

    fn install_again(&self) -> String {
        let place = match &self.token {
            TokenSource::OAuth(place) | TokenSource::File(place) | TokenSource::Setting(place) => place,
            TokenSource::Unknown => "oauth.refresh_token",
        };
        format!("Install the OAuth app again in this account, and put the new refresh token into {place}.")
    }
}

/// As a shell reads it.
pub fn as_one_word(text: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-".contains(letter);
    match !text.is_empty() && text.chars().all(is_plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

/// Where [`RUNBOOK`] says more.
fn section(kind: PauseKind) -> &'static str {
    match kind {
        PauseKind::Unauthorized
        | PauseKind::RefreshRefused
        | PauseKind::PortalMismatch
        | PauseKind::MissingScopes
        | PauseKind::Forbidden
        | PauseKind::WrongPath
        | PauseKind::PortalMoving => "an-account-or-lane-stands-still",
        PauseKind::Outage => "hubspot-does-not-answer",
        PauseKind::Journal => "the-journal-cannot-be-written",
        PauseKind::DaySpent => "the-day-budget-is-nearly-spent",
        PauseKind::Throttled => "too-many-429s",
        PauseKind::Operator => "an-account-is-paused-by-hand",
        PauseKind::Guard => "the-guard-has-stopped-an-account",
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used)]

    use jiff::Timestamp;

    use super::*;
    use crate::config::Settings;
    use crate::lease::view::LeaseStanding;

    #[test]
    fn the_command_that_names_the_holder_can_be_typed_as_it_stands() {
        let lease = |jobs_queue: &str| LeaseView {
            jobs_queue: jobs_queue.to_owned(),
            standing: LeaseStanding::StandingBy,
            since: Timestamp::UNIX_EPOCH,
            holder: None,
        };
        let of = |host: Option<&str>, leases: &[LeaseView]| {
            Mends::default().with_virtual_host(host.map(str::to_owned)).who_holds(leases)
        };
        let list = "list_consumers queue_name consumer_tag activity_status | grep -F";
        assert_eq!(of(Some("/"), &[lease("jobs")]), format!("rabbitmqctl --vhost / {list} jobs.lease"));
        let two = [lease("jobs"), lease("jobs.4711")];
        assert_eq!(of(Some("it's"), &two), format!(r"rabbitmqctl --vhost 'it'\''s' {list} .lease"));
        assert_eq!(of(None, &[lease("a b")]), format!("rabbitmqctl --vhost VHOST {list} 'a b.lease'"));
    }

    #[test]
    fn the_mend_names_the_place_of_the_token_and_never_the_token() {
        let place = tempfile::tempdir().unwrap();
        let [settings, token, refresh] = ["settings.toml", "token", "refresh"].map(|name| place.path().join(name));
        for secret in [&token, &refresh] {
            std::fs::write(secret, "pat-na1-secret").unwrap();
        }
        let toml = format!(
            r#"
            [[hubspot.accounts]]
            portal_id = 4711
            access_token_file = {token:?}
            [[hubspot.accounts]]
            portal_id = 815
            access_token = "pat-na1-secret"
            [[hubspot.accounts]]
            portal_id = 99
            oauth = {{ client_id = "c", client_secret = "s3cret", refresh_token_file = {refresh:?} }}
            "#
        );
        std::fs::write(&settings, toml).unwrap();
        let settings = Settings::load(Some(&settings)).unwrap();
        let mends = Mends::new(settings.hubspot.accounts().unwrap());
        let what = |kind, account| mends.of(kind, AccountIndex(account)).what;

        assert_eq!(
            what(PauseKind::Unauthorized, 0),
            format!(
                "Put a valid token of this account into the file {token:?} \
                 (hubspot.accounts[0].access_token_file); no restart is needed."
            )
        );
        assert_eq!(
            what(PauseKind::Unauthorized, 1),
            "Set hubspot.accounts[1].access_token to a valid token of this account, and restart the worker."
        );
        assert!(
            what(PauseKind::RefreshRefused, 2)
                .contains(&format!("into the file {refresh:?} (hubspot.accounts[2].oauth"))
        );
        assert!(what(PauseKind::Operator, 1).contains("association-archiver resume 815"));
        assert_eq!(
            mends.of_lane(PauseKind::Operator, AccountIndex(1), "contacts/companies").what,
            "Resume it on the page, in `top`, or with `association-archiver resume 815 --lane contacts/companies`."
        );
        // Nobody resumes a whole account for one of its lanes: no other kind of a lane's pause names that command.
        for kind in [PauseKind::Operator, PauseKind::MissingScopes, PauseKind::Forbidden, PauseKind::WrongPath] {
            let what = mends.of_lane(kind, AccountIndex(1), "contacts/companies").what;
            assert!(!what.contains("resume 815`") && !what.contains("paused = true"), "{kind:?}: {what}");
        }
        let in_archive = mends.clone().told_by(ToldBy::Archive);
        for kind in PauseKind::ALL {
            for account in 0..4 {
                let Mend { what, .. } = in_archive.of(kind, AccountIndex(account));
                let service = ["worker", "association-archiver ", "/status", "queue", "Resume", "`top`"];
                assert!(!service.iter().any(|word| what.contains(word)), "there is no service: {what}");
                let Mend { what, section } = mends.of(kind, AccountIndex(account));
                assert!(!what.starts_with("Nothing:"), "{what}");
                assert!(what.ends_with('.') && !what.contains("pat-na1") && !what.contains("s3cret"), "{what}");
                assert!(!section.is_empty());
            }
        }
    }
}
