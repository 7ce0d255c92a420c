//! The conductor, for credentials: what a refused token, a new one, or the portal it belongs to means for an account.

use std::num::NonZeroU64;

use super::access::{Refused, portal_matches};
use super::backlog::LaneKey;
use super::calls::Call;
use super::clock::Now;
use super::command::{CallKey, Command, IdentityReply, Notice, RefreshReply};
use super::engine::Engine;
use super::pause::{PauseKind, Tier};
use super::verdict::{AccountPause, AccountPauseKind};
use crate::contract::ids::AccountIndex;

impl Engine {
    /// The answer to a [`Command::Refresh`].
    pub fn refreshed(&mut self, key: CallKey, reply: RefreshReply, now: Now) {
        let Some(call) = self.end_call(key) else { return };
        let index = call.account;
        let access = &mut self.accounts[index].access;
        match reply {
            RefreshReply::Granted { expires_in, portal } => {
                access.granted(expires_in, now.tick);
                if let Some(portal) = portal {
                    self.portal_told(index, portal.0, now);
                } else if self.pauses.account_is_paused_for(index, PauseKind::RefreshRefused) {
                    self.resume_account(index, now);
                }
            }
            RefreshReply::Refused { detail } => {
                access.refresh_refused();
                self.credentials_are_no_good(index, PauseKind::RefreshRefused, detail, now);
            }
            RefreshReply::Failed { detail: _, wait } => access.refresh_failed(wait, now.tick),
        }
        self.turns.mark_ready(index);
        self.pump(now);
    }

    /// The answer to a [`Command::Identify`].
    pub fn identified(&mut self, key: CallKey, reply: IdentityReply, now: Now) {
        let Some(call) = self.end_call(key) else { return };
        let index = call.account;
        let account = &mut self.accounts[index];
        self.windows.zone_may_have_changed();
        match reply {
            IdentityReply::Told { portal, time_zone } => {
                if let Some(zone) = time_zone.filter(|_| account.policy.time_zone.is_none()) {
                    account.day.move_to(zone, now.wall);
                    self.day_has_moved(index, now);
                }
                let account = &mut self.accounts[index];
                match account.access.epoch() == call.epoch {
                    true => self.portal_told(index, portal, now),
                    // Said of an earlier token.
                    false => account.access.identity_differs(),
                }
            }
            IdentityReply::WillNotTell { detail } => {
                account.access.identity_settled();
                self.command(Command::Notice(Notice::Unidentified { account: index, detail }));
            }
            IdentityReply::Failed { detail, wait } => {
                if account.access.identity_failed(wait, now.tick) {
                    self.command(Command::Notice(Notice::Unidentified { account: index, detail }));
                }
            }
        }
        self.mind_windows(now);
        self.turns.mark_ready(index);
        self.pump(now);
    }

    /// The account's time zone is known now. If the account is paused because the day's requests are spent, the pause
    /// now ends at another time, or at once.
    fn day_has_moved(&mut self, index: AccountIndex, now: Now) {
        if !self.pauses.account_is_paused_for(index, PauseKind::DaySpent) {
            return;
        }
        match self.accounts[index].day.spent_until(now.wall) {
            Some(until) => self.pause_for_day(index, until, now),
            None => self.resume_account(index, now),
        }
    }

    /// HubSpot said whose token it is: archiving in another portal than the one configured must be impossible.
    fn portal_told(&mut self, index: AccountIndex, told: NonZeroU64, now: Now) {
        let account = &mut self.accounts[index];
        let configured = account.policy.portal;
        if portal_matches(configured, told) {
            account.access.identity_settled();
            let paused_for = |kind| self.pauses.account_is_paused_for(index, kind);
            if paused_for(PauseKind::PortalMismatch) || paused_for(PauseKind::RefreshRefused) {
                self.resume_account(index, now);
            } else if paused_for(PauseKind::Unauthorized) {
                // This question was the probe, and HubSpot has accepted the token: a batch need not wait for another
                // probe.
                self.pauses.probe_account_now(index, now.tick);
            }
            return;
        }
        account.access.identity_differs();
        let configured = configured.map_or_else(|| "none".to_owned(), |portal| portal.to_string());
        let detail = format!("the token belongs to portal {told}, the settings say {configured}: mend one of them");
        self.credentials_are_no_good(index, PauseKind::PortalMismatch, detail, now);
    }

    /// The account has other credentials than before.
    pub fn credentials_changed(&mut self, index: AccountIndex, now: Now) {
        let Some(account) = self.accounts.get_mut(index) else { return };
        account.access.changed();
        self.pauses.probe_account_now(index, now.tick);
        let paused: Vec<LaneKey> = self.pauses.paused_lanes(index).iter().copied().collect();
        for lane in paused {
            self.probe_lane_now(lane, now);
        }
        self.turns.mark_ready(index);
        self.pump(now);
    }

    /// HubSpot, or a proxy on the way to it, will not serve the account with these credentials, or not now.
    pub(super) fn account_refused(&mut self, call: &Call, pause: &AccountPause, now: Now) {
        let index = call.account;
        let detail = pause.refusal.message.to_string();
        match pause.kind {
            AccountPauseKind::Moving(retry_after) => {
                let wait = retry_after.map_or(Tier::OneMinute.wait(), |after| after.wait(now.wall));
                let until = now.wall_at(now.tick + wait);
                self.pause_account(index, PauseKind::PortalMoving, Some(until), detail, now);
            }
            // Another token would not help.
            AccountPauseKind::ProxyRefused => self.pause_account(index, PauseKind::Unauthorized, None, detail, now),
            AccountPauseKind::TokenExpired | AccountPauseKind::TokenInvalid | AccountPauseKind::TokenRefused => {
                match self.accounts[index].access.refused(call.epoch) {
                    Refused::Outdated | Refused::Refresh => {}
                    Refused::Stays => self.credentials_are_no_good(index, PauseKind::Unauthorized, detail, now),
                }
            }
        }
    }

    /// The account pauses until its credentials are mended: the shell looks whether they have been already.
    fn credentials_are_no_good(&mut self, index: AccountIndex, kind: PauseKind, detail: String, now: Now) {
        self.pause_account(index, kind, None, detail, now);
        self.command(Command::RereadCredentials { account: index });
    }
}
